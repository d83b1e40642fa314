//! The tables of `waveoff.toml` and of threshold files.

use std::time::Duration;

use super::{
    Key, Table, Takes,
    Unsaid::{Is, Means, Required},
    receiver::RECEIVER,
};
use crate::config::presets;

const fn span(least: u64, most: u64) -> Takes {
    Takes::Span { least: Duration::from_secs(least), most: Duration::from_secs(most) }
}

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

pub(in crate::config) static SETTINGS: Table = Table {
    keys: &[
        Key {
            name: "organization",
            takes: Takes::Text,
            unsaid: Is("required, here or as `WAVEOFF_ORGANIZATION`"),
            doc: "slug of the Fly organization, as `fly orgs list` shows it",
        },
        Key {
            name: "listen",
            takes: Takes::Text,
            unsaid: Means(r#""127.0.0.1:8080""#),
            doc: "address of the status page, API and own metrics; `fly.toml` sets `[::]:8080`",
        },
        Key {
            name: "page_url",
            takes: Takes::Text,
            unsaid: Is(
                "on Fly `http://APP.internal:PORT`, the daemon's own; elsewhere none: no links",
            ),
            doc: "where people reach the status page, such as `\"https://waveoff.example.com\"`: messages link to it",
        },
        Key {
            name: "data_dir",
            takes: Takes::Text,
            unsaid: Means(r#""data""#),
            doc: "directory of the journal; on Fly, the volume",
        },
        Key {
            name: "keep_history",
            takes: span(DAY, 3650 * DAY),
            unsaid: Means(r#""90d""#),
            doc: "how long finished history is kept: 1 day to 10 years",
        },
        Key {
            name: "per_organization_max",
            takes: Takes::Whole { least: 1, most: 100_000 },
            unsaid: Means("20"),
            doc: "rollbacks of all apps in 24 hours; beyond them a human is asked",
        },
        Key {
            name: "freeze",
            takes: Takes::Many(&FREEZE),
            unsaid: Is("none"),
            doc: "[times](#freeze) in which nothing is rolled back by itself",
        },
        Key {
            name: "heartbeat_url_env",
            takes: Takes::Text,
            unsaid: Is("none"),
            doc: "the variable that holds a URL to be called (GET) each minute while rounds turn, the platform answers and the journal can be written, so that the daemon's own death or blindness is noticed elsewhere; never logged",
        },
        Key {
            name: "receiver",
            takes: Takes::Many(&RECEIVER),
            unsaid: Is("none"),
            doc: "who is told; see below",
        },
        Key {
            name: "metrics_server",
            takes: Takes::Many(&METRICS_SERVER),
            unsaid: Is("Fly's own"),
            doc: "Prometheus and VictoriaMetrics servers that thresholds are read from; see below",
        },
    ],
};

pub(super) static METRICS_SERVER: Table = Table {
    keys: &[
        Key {
            name: "name",
            takes: Takes::Text,
            unsaid: Required,
            doc: r#"letters, digits, `-`, `_`; `"fly"` changes what holds for Fly's own"#,
        },
        Key {
            name: "url",
            takes: Takes::Text,
            unsaid: Is(r#"required, but for `"fly"`"#),
            doc: r#"where it is, without `/api/v1/query`, such as `"http://victoria.internal:8428"`"#,
        },
        Key {
            name: "token_env",
            takes: Takes::Text,
            unsaid: Is("none"),
            doc: "the variable that holds a token, sent as `Bearer` (Fly's as `FlyV1`; with another scheme in front, that is used). Without it an own server is shown nothing, and Fly's own at its own address the daemon's token",
        },
        Key {
            name: "scrape_every",
            takes: span(1, 5 * MINUTE),
            unsaid: Means(r#""15s""#),
            doc: "how often it reads its targets, as it is set up: 1 second to 5 minutes",
        },
        Key {
            name: "app_label",
            takes: Takes::Text,
            unsaid: Means(r#""app""#),
            doc: "the label that holds the app's name",
        },
        Key {
            name: "machine_label",
            takes: Takes::Text,
            unsaid: Means(r#""instance""#),
            doc: "the label that holds the machine's id",
        },
    ],
};

pub(in crate::config) static POLICY: Table = Table {
    keys: &[
        Key {
            name: "apps",
            takes: Takes::Texts,
            unsaid: Required,
            doc: "names and globs: `*` any characters, `?` one, `[ab]` one of these, `{api,web}` either",
        },
        Key {
            name: "exclude",
            takes: Takes::Texts,
            unsaid: Means("[]"),
            doc: "apps that this policy does not watch, whatever `apps` says",
        },
        Key {
            name: "mode",
            takes: Takes::Words(&["observe", "approve", "rollback"]),
            unsaid: Means(r#""observe""#),
            doc: r#"`"observe"`: say what would be rolled back; `"approve"`: ask, and do it when a person says yes in time; `"rollback"`: do it"#,
        },
        Key {
            name: "use",
            takes: Takes::Several(presets),
            unsaid: Means("[]"),
            doc: r#"presets, which need nothing from the app: `"fly-http"` and `"hang"` ([its requests](#presets), by Fly's proxy), `"checks"`, `"crashes"` (as `checks = {}` and `crashes = {}` below). The file that ships uses all four"#,
        },
        Key {
            name: "watch",
            takes: Takes::One(&WATCH),
            unsaid: Is("its defaults"),
            doc: "how releases are watched; see below",
        },
        Key {
            name: "rollback",
            takes: Takes::One(&ROLLBACK),
            unsaid: Is("its defaults"),
            doc: "how a rollback is done; see below",
        },
        Key {
            name: "threshold",
            takes: Takes::Thresholds,
            unsaid: Is("none"),
            doc: "by what releases are judged; see below",
        },
        Key {
            name: "freeze",
            takes: Takes::Many(&FREEZE),
            unsaid: Is("none"),
            doc: "[times](#freeze) in which nothing is rolled back by itself",
        },
        Key {
            name: "metrics",
            takes: Takes::One(&METRICS),
            unsaid: Is("the machine's own"),
            doc: "where the apps' metrics pages are; see below",
        },
    ],
};

pub(super) static WATCH: Table = Table {
    keys: &[
        Key {
            name: "scrape_every",
            takes: span(1, 5 * MINUTE),
            unsaid: Means(r#""2s""#),
            doc: "how often metrics and checks are read while a release is watched: 1 second to 5 minutes",
        },
        Key {
            name: "idle_scrape_every",
            takes: span(1, HOUR),
            unsaid: Means(r#""15s""#),
            doc: "the same while nothing is watched; not shorter than `scrape_every`. Beside more than 300 apps it is longer, 50 ms for each app, so that no more than 20 apps are looked at in a second: a minute beside 1200. A new release is noticed as soon as ever",
        },
        Key {
            name: "warm_up",
            takes: span(0, HOUR),
            unsaid: Means(r#""0s""#),
            doc: "a machine's first moments after it is ready, which are not judged; shorter than `bake`",
        },
        Key {
            name: "bake",
            takes: span(1, 7 * DAY),
            unsaid: Means(r#""10m""#),
            doc: "for how long a settled release has to be seen healthy before it is baked, and with requests during all of it, where a threshold can count any, before it is trusted; what could not be seen does not count, and a breach begins it anew; at least two blocks",
        },
        Key {
            name: "block",
            takes: span(1, 10 * MINUTE),
            unsaid: Means(r#""5s""#),
            doc: "what happens inside one block is one vote, in whole readings (4 s of pages that are read every 2 s); longer rides out longer hiccups and decides later: 1 second to 10 minutes",
        },
        Key {
            name: "false_rollbacks",
            takes: Takes::Odds,
            unsaid: Means(r#""1 in 1000""#),
            doc: "how often a healthy release may be rolled back, over all counting thresholds together, in the half hour (or `bake`, if longer) that a watch usually lasts; a release that is watched longer, for want of traffic, is judged anew each half hour",
        },
        Key {
            name: "countdown",
            takes: span(0, DAY),
            unsaid: Means(r#""0s""#),
            doc: "time between decision and rollback; a recovery meanwhile calls it off: at most a day. Releases of several apps that degrade at the same time count down for 30 seconds at least",
        },
        Key {
            name: "unvouched_countdown",
            takes: span(0, 10 * MINUTE),
            unsaid: Means(r#""30s""#),
            doc: "the least of it while nothing [vouches](#who-vouches) that it is the release and no trouble that passes: at most 10 minutes",
        },
        Key {
            name: "floor",
            takes: Takes::Flag,
            unsaid: Means("true"),
            doc: "whether a limit that the app [always stood above](#a-limit-that-is-never-met) is raised; `false`: the limit is the one that is written",
        },
        Key {
            name: "late",
            takes: Takes::Words(&["alert", "rollback"]),
            unsaid: Means(r#""alert""#),
            doc: r#"what is done when a release degrades [after it was trusted](#after-trust): `"alert"`: tell people; `"rollback"`: go back to the release that it replaced as well, within 24 hours, while two apps beside it are well"#,
        },
        Key {
            name: "false_late_alarms",
            takes: Takes::Odds,
            unsaid: Means(r#""1 in 1000""#),
            doc: "how often an app that is well may be told of as degraded after trust, over all counting thresholds together, in 30 days, however many releases it has in them",
        },
        Key {
            name: "approve_within",
            takes: span(MINUTE, 7 * DAY),
            unsaid: Means(r#""30m""#),
            doc: r#"in mode `"approve"`: how long a yes (`waveoff approve APP`) is waited for, 1 minute to 7 days. When it is over nothing is done, and that is told; a later yes is still taken"#,
        },
    ],
};

pub(super) static ROLLBACK: Table = Table {
    keys: &[
        Key {
            name: "order",
            takes: Takes::Either(&[Takes::Words(&["worst-first"]), Takes::Texts]),
            unsaid: Means(r#""worst-first""#),
            doc: r#"or a list of regions such as `["iad", "lhr", "*"]`, `"*"` for all others. The first region must be confirmed before another is touched"#,
        },
        Key {
            name: "confirm",
            takes: Takes::Either(&[Takes::Words(&["auto"]), span(1, HOUR), Takes::One(&CONFIRM)]),
            unsaid: Means(r#""auto""#),
            doc: r#"how long a region is watched on the known-good release, from its first machine that is back: until the requests say clearly that it is better, at most so long. With little traffic the whole time is used, and checks and exits decide; the first region, which has to prove that it helps, is given it up to three times. `"auto"` is 30 s, or six readings of the metrics server that counted what speaks against the release, if that is longer (of Fly's: 90 s). `{ at_least = "2s", at_most = "30s" }` gives both ends; the most is at least a block"#,
        },
        Key {
            name: "regions_at_once",
            takes: Takes::Either(&[
                Takes::Words(&["doubling", "all"]),
                Takes::Whole { least: 1, most: 100 },
            ]),
            unsaid: Means(r#""doubling""#),
            doc: r#"how many regions are begun together once the first is confirmed: one, then two, then four…, a number, or `"all"` (the default of `strategy = "immediate"`)"#,
        },
        Key {
            name: "overlap",
            takes: Takes::Flag,
            unsaid: Means("true"),
            doc: "begin the next regions when the machines of those before are updated, the first of each are back and nothing speaks against it; they are confirmed meanwhile. `false`: each only when those before are confirmed",
        },
        Key {
            name: "strategy",
            takes: Takes::Words(&["rolling", "immediate"]),
            unsaid: Means(r#""rolling""#),
            doc: r#"inside a region: a few machines at a time, or `"immediate"`: all of them"#,
        },
        Key {
            name: "max_unavailable",
            takes: Takes::Either(&[Takes::Share, Takes::Whole { least: 1, most: 10_000 }]),
            unsaid: Means(r#""33%""#),
            doc: r#"machines of a process group that may be down because of the rollback, in a region and over all regions together: a share (`"33%"`, `0.33`, rounded up) or a count (`2`); the very first machine goes alone"#,
        },
        Key {
            name: "escalate",
            takes: Takes::Flag,
            unsaid: Means("true"),
            doc: "undo a total outage (nine of ten requests since it rose, or all checks) everywhere at once after one healthy machine, even when rolling",
        },
        Key {
            name: "only_breaching_regions",
            takes: Takes::Flag,
            unsaid: Means("false"),
            doc: "leave regions alone that show nothing bad",
        },
        Key {
            name: "migrations",
            takes: Takes::Words(&["hold", "rollback"]),
            unsaid: Means(r#""hold""#),
            doc: r#"a release that ran a `release_command`: ask a human, or `"rollback"`: the old code runs on the new schema"#,
        },
        Key {
            name: "first_target",
            takes: Takes::Words(&["trusted", "previous-complete"]),
            unsaid: Means(r#""trusted""#),
            doc: r#"while nothing was ever trusted: ask a human, or `"previous-complete"`: go back to what ran before"#,
        },
        Key {
            name: "per_day_max",
            takes: Takes::Whole { least: 1, most: 1000 },
            unsaid: Means("3"),
            doc: "rollbacks of one app in 24 hours; beyond them a human is asked",
        },
        Key {
            name: "ready_timeout",
            takes: span(10, HOUR),
            unsaid: Means(r#""3m""#),
            doc: "how long an updated machine may take to start and pass its checks: 10 seconds to 1 hour",
        },
        Key {
            name: "mirror",
            takes: Takes::Text,
            unsaid: Means(r#""""#),
            doc: r#"where trusted images are copied to, such as `"ghcr.io/acme/{app}"`, `{app}` for the app's name; `""`: nowhere. See below"#,
        },
        Key {
            name: "config",
            takes: Takes::Words(&["keep", "restore"]),
            unsaid: Means(r#""keep""#),
            doc: r#"`"keep"`: the rest of a machine's configuration stays as it is, and the messages say what changed in it; `"restore"`: [environment, services, checks and init](#putting-the-configuration-back) are put back with the image"#,
        },
    ],
};

pub(super) static FREEZE: Table = Table {
    keys: &[
        Key {
            name: "at",
            takes: Takes::Text,
            unsaid: Required,
            doc: r#"when it begins, as in a crontab: minute, hour, day of the month, month, day of the week: `"0 18 * * fri"`"#,
        },
        Key {
            name: "for",
            takes: span(MINUTE, 31 * DAY),
            unsaid: Required,
            doc: "how long it lasts: 1 minute to 31 days",
        },
        Key {
            name: "zone",
            takes: Takes::Text,
            unsaid: Means(r#""UTC""#),
            doc: r#"the time zone of `at`, such as `"Europe/Berlin"`"#,
        },
        Key {
            name: "reason",
            takes: Takes::Text,
            unsaid: Means(r#""a freeze""#),
            doc: "what people are told",
        },
    ],
};

pub(super) static METRICS: Table = Table {
    keys: &[
        Key {
            name: "port",
            takes: Takes::Whole { least: 1, most: 65_535 },
            unsaid: Is("the machine's own"),
            doc: "port of the metrics page, when it differs from `[metrics]` in the app's `fly.toml`",
        },
        Key {
            name: "path",
            takes: Takes::Text,
            unsaid: Is("the machine's own"),
            doc: "path of the metrics page, likewise",
        },
        Key {
            name: "https",
            takes: Takes::Flag,
            unsaid: Is("the machine's own"),
            doc: "whether the page is asked for by https, likewise; the certificate is not looked at",
        },
    ],
};

/// `confirm` with both of its ends.
static CONFIRM: Table = Table {
    keys: &[
        Key {
            name: "at_least",
            takes: span(0, HOUR),
            unsaid: Means(r#""2s""#),
            doc: "the shortest time",
        },
        Key {
            name: "at_most",
            takes: Takes::Either(&[Takes::Words(&["auto"]), span(1, HOUR)]),
            unsaid: Means(r#""auto""#),
            doc: "the longest time; at least a block",
        },
    ],
};

fn presets() -> Vec<String> {
    presets::all().into_iter().map(|(word, _)| word.to_owned()).collect()
}
