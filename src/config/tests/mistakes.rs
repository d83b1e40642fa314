//! Every mistake we know of, and the line that it gets.

use super::*;

/// A threshold file with one threshold, whose lines begin at line 4.
pub(super) fn threshold(lines: &str) -> String {
    format!("apps = [\"web\"]\nuse = [\"checks\"]\n[[threshold]]\n{lines}")
}

fn ratio(lines: &str) -> String {
    threshold(&format!("name = \"5xx\"\nratio = {{ bad = 'r{{s=\"5\"}}', total = 'r' }}\n{lines}"))
}

/// Each case is a policy and the one problem it has, without the file's name.
#[track_caller]
pub(super) fn each(cases: &[(String, &str)]) {
    for (text, want) in cases {
        let problems = Place::policy(text).problems();
        let want = format!("thresholds/web.toml:{want}");
        assert_eq!(problems, [want], "of\n{text}");
    }
}

pub(super) fn plain(line: &str) -> String {
    format!("{PLAIN}{line}\n")
}

#[test]
fn a_key_that_does_not_exist_gets_the_nearest_that_does() {
    each(&[
        (
            plain("[watch]\nbakee = \"1m\""),
            "4: watch.bakee: is not a known key; did you mean `bake`?",
        ),
        (plain("moed = \"observe\""), "3: moed: is not a known key; did you mean `mode`?"),
        (
            plain("[metrics]\nadress = \"x\""),
            "4: metrics.adress: is not a known key; known here: port, path, https",
        ),
        (
            ratio("max = \"2%\"\nno-data = \"hold\""),
            "7: threshold \"5xx\".no-data: is not a known key; did you mean `no_data`?",
        ),
        (
            threshold("name = \"c\"\nchecks = { consecutiv = 3 }"),
            "5: threshold \"c\".checks.consecutiv: is not a known key; did you mean `consecutive`?",
        ),
        (
            plain("bake = \"1m\""),
            "3: bake: does not belong here; `bake` stands in [watch] of a threshold file",
        ),
        (
            ratio("max = \"2%\"\nmode = \"rollback\""),
            "7: threshold \"5xx\".mode: does not belong here; `mode` stands at the top of a \
             threshold file, before the first [table]",
        ),
    ]);
}

#[test]
fn a_value_of_another_type_gets_an_example() {
    each(&[
        (
            threshold("name = \"x\"\nratio = \"a / b\"\nmax = \"2%\""),
            "5: threshold \"x\".ratio: must be a table, and is a text; write ratio = { bad = …, \
             total = … }, each a counter",
        ),
        (
            plain("[rollback]\nmigrations = true"),
            "4: rollback.migrations: must be a word in quotes, and is true or false; write \
             \"hold\" or \"rollback\"",
        ),
        (
            plain("[rollback]\nmax_unavailable = \"2\""),
            "4: rollback.max_unavailable: `2` in quotes could be machines or per cent; write 2 \
             for machines, \"2%\" for a share",
        ),
        (
            plain("[watch]\nwarm_up = 10"),
            "4: watch.warm_up: `10` has no unit; say \"10s\" for seconds",
        ),
        (
            "apps = [\"web\"]\nthreshold = [1]\n".to_owned(),
            "2: threshold: must be a list of tables, and is a list; write [[threshold]]",
        ),
        (
            plain("mode = \"observe\"\nmode = \"rollback\""),
            "4: is not TOML: duplicate key `mode`, in `mode =`; it stands in line 3 already: leave one out",
        ),
        (
            plain("[threshold]\nname = \"5xx\"\n[threshold]\nname = \"p95\""),
            "5: is not TOML: invalid table header, duplicate key `threshold`, in `[threshold]`; \
             write [[threshold]], with two brackets, here and in line 3: each is one of a list",
        ),
        (
            plain("[watch]\nbake = \"5m\"\n[rollback]\n[watch]\nblock = \"2s\""),
            "6: is not TOML: invalid table header, duplicate key `watch`, in `[watch]`; [watch] stands in line 3 already: put its keys there",
        ),
        (
            "# [all\napps = [\"web\", \"a[bc]\"\nmode = \"observe\"\n".to_owned(),
            "3: is not TOML: invalid array, expected `]`, in `mode =`; end the list that begins in line 2 (`apps =`) with ]",
        ),
        (
            plain(
                "[[threshold]]\nname = \"5xx\"\nmax = \"2%\"\nratio = { bad = \"r{status=~'5\\d\\d'}\", total = \"r\" }",
            ),
            "6: is not TOML: invalid escape sequence, expected `b`, `f`, `n`, `r`, `t`, `u`, `U`, `\\`, `\"`, in `ratio =`; write the text in single quotes, '…', in which a backslash is only that",
        ),
        (
            plain(
                "[[threshold]]\nname = \"5xx\"\nmax = \"2%\"\nratio = { bad = 'r{status=~\"5\\d\\d\"}', total = 'r' }",
            ),
            "6: threshold \"5xx\".ratio.bad: is not a selector: unknown escape sequence 'd', at character 14: `r{status=~\"5\\⟨here⟩d\\d\"}`; in a pattern a backslash is written twice, \"5\\\\d\\\\d\"; or do without: \"5..\", \"[0-9]\"",
        ),
    ]);
}

#[test]
fn a_mirror_is_a_registry_and_a_repository() {
    for (mirror, want) in [
        ("https://ghcr.io/acme/{app}", "is a URL; write \"ghcr.io/acme/{app}\""),
        ("ghcr.io", "names no repository; write a registry and a repository in it"),
        ("acme/{app}", "names no registry; write its host first, such as \"docker.io/acme/{app}\""),
        (
            "ghcr.io/acme/{app}:latest",
            "has a tag or a digest; copies get their own; write \"ghcr.io/acme/{app}\"",
        ),
        ("ghcr.io/acme/{APP}", "has a placeholder that is not known; write {app} for"),
        (
            "ghcr.io/Acme/{app}",
            "has capitals, which no repository has; write \"ghcr.io/acme/{app}\"",
        ),
        ("ghcr.io/acme//{app}", "is not a place for images"),
        ("ghcr.io/../{app}", "is not a place for images"),
        ("u:p@ghcr.io/x", "is not a place for images"),
    ] {
        let problems =
            Place::policy(&plain(&format!("[rollback]\nmirror = \"{mirror}\""))).problems();
        let want = format!("thresholds/web.toml:4: rollback.mirror: `{mirror}` {want}");
        assert!(problems.len() == 1 && problems[0].starts_with(&want), "{problems:?}");
    }
    for fine in ["ghcr.io/acme/{app}", "127.0.0.1:5000/api", "docker.io/acme/mirror-of-{app}"] {
        let place = Place::policy(&plain(&format!("[rollback]\nmirror = \"{fine}\"")));
        let warnings = place.warnings();
        let anonymous =
            |line: &String| line.contains("WAVEOFF_MIRROR_USER and WAVEOFF_MIRROR_TOKEN");
        assert!(warnings.iter().any(anonymous), "{warnings:?}");
        let place = place.set("WAVEOFF_MIRROR_USER", "bot").set("WAVEOFF_MIRROR_TOKEN", "t");
        assert!(!place.warnings().iter().any(|line| line.contains("WAVEOFF_MIRROR")));
    }
}

#[test]
fn what_does_not_exist_yet_is_refused_by_name() {
    let problems = Place::policy(&threshold("name = \"p\"\nquery = \"x\"")).problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    let want =
        "thresholds/web.toml:5: threshold \"p\".query: `query` is not available in this version; ";
    assert!(problems[0].starts_with(want), "{problems:?}");
}

#[test]
fn words_are_checked_against_the_words_there_are() {
    each(&[
        (plain("mode = \"rolback\""), "3: mode: there is no `rolback`; did you mean \"rollback\"?"),
        (
            plain("mode = \"on\""),
            "3: mode: there is no `on`; write \"observe\", \"approve\" or \"rollback\"",
        ),
        (
            plain("[rollback]\nstrategy = \"canary\""),
            "4: rollback.strategy: there is no `canary`; write \"rolling\" or \"immediate\"",
        ),
        (
            plain("[rollback]\nregions_at_once = \"two\""),
            "4: rollback.regions_at_once: there is no `two`; write \"doubling\" or \"all\"",
        ),
        (
            PLAIN.replace("checks", "crash"),
            "2: use: there is no `crash`; did you mean \"crashes\"?",
        ),
        (
            plain("[rollback]\norder = \"worst\""),
            "4: rollback.order: there is no `worst`; write \"worst-first\"",
        ),
        (
            plain("[rollback]\nescalate = \"true\""),
            "4: rollback.escalate: must be true or false, and is a text; write true without quotes",
        ),
        (
            plain("[rollback]\nper_day_max = \"3\""),
            "4: rollback.per_day_max: must be a whole number, and is a text; write 3 without quotes",
        ),
        (
            "apps = \"web\"\nuse = [\"checks\"]\n".to_owned(),
            "1: apps: must be a list of texts, and is a text; write [\"web\"]",
        ),
        (
            "apps = [3]\nuse = [\"checks\"]\n".to_owned(),
            "1: apps: must be a text in quotes, and is a number; write \"3\"",
        ),
        (
            plain("[threshold]\nname = \"x\""),
            "3: threshold: must be a list of tables, and is a table; write [[threshold]] instead of [threshold]",
        ),
    ]);
}

#[test]
fn units_are_never_guessed() {
    each(&[
        (
            plain("[watch]\nbake = \"5 sec\""),
            "4: watch.bake: `5 sec` is not how a duration is written; write \"5s\"",
        ),
        (
            plain("[watch]\nbake = 600"),
            "4: watch.bake: `600` has no unit; say \"600s\" for seconds",
        ),
        (
            plain("[watch]\nbake = \"ten\""),
            "4: watch.bake: `ten` is not a duration; write a number with ms, s, m, h or d, such as \"500ms\", \"30s\" or \"1h30m\"",
        ),
        (
            plain("[watch]\nfalse_rollbacks = 0.001"),
            "4: watch.false_rollbacks: `0.001` could be read as a chance, a share or a count; write \"1 in 1000\"",
        ),
        (
            plain("[watch]\nfalse_rollbacks = 500"),
            "4: watch.false_rollbacks: `500` could be read as a chance, a share or a count; write \"1 in 500\"",
        ),
        (
            ratio("max = \"2\""),
            "6: threshold \"5xx\".max: `2` would be 200 %; did you mean \"2%\"?",
        ),
        (ratio("max = 2"), "6: threshold \"5xx\".max: `2` would be 200 %; did you mean \"2%\"?"),
        (
            ratio("max = \"120%\""),
            "6: threshold \"5xx\".max: `120%` is more than everything; 100% is the most",
        ),
        (
            ratio("max = 0"),
            "6: threshold \"5xx\".max: a limit of nothing cannot be told from bad luck; write the share that is still fine, such as \"0.1%\"",
        ),
        (
            ratio("max = \"50%\""),
            "6: threshold \"5xx\".max: 50% is no limit: half of all requests would have to fail; write less than 50%, such as \"2%\"",
        ),
        (
            threshold("name = \"m\"\ngauge = 'm'\nmax = \"400mb\""),
            "6: threshold \"m\".max: `400mb` is not a value for a gauge; did you mean \"400MB\"?",
        ),
        (
            plain("[rollback]\nmax_unavailable = 1.5"),
            "4: rollback.max_unavailable: `1.5` is neither a share nor a number of machines; write a share such as \"33%\" or 0.33, or a count such as 2",
        ),
        (
            plain("[rollback]\nmax_unavailable = 0"),
            "4: rollback.max_unavailable: with none down, no machine could be updated; write \"33%\", or 1",
        ),
    ]);
}

#[test]
fn a_latency_bound_is_a_time_that_an_answer_may_take() {
    let bound = |max: &str, quantile: &str| {
        threshold(&format!(
            "name = \"p95\"\nlatency = {{ histogram = 'h', quantile = {quantile} }}\nmax = {max}"
        ))
    };
    each(&[
        (
            bound("500", "0.95"),
            "6: threshold \"p95\".max: `500` has no unit; say \"500ms\" or \"0.5s\"",
        ),
        (
            bound("0.5", "0.95"),
            "6: threshold \"p95\".max: `0.5` has no unit; say \"500ms\" or \"0.5s\"",
        ),
        (
            bound("\"500\"", "0.95"),
            "6: threshold \"p95\".max: `500` has no unit; say \"500ms\" or \"0.5s\"",
        ),
        (
            bound("\"500us\"", "0.95"),
            "6: threshold \"p95\".max: `500us`: the smallest unit is ms; write \"1ms\" or more",
        ),
        (
            bound("\"5000s\"", "0.95"),
            "6: threshold \"p95\".max: `5000s` is far from what an answer may take; did you mean \"5000ms\"?",
        ),
        (
            bound("\"1h\"", "0.95"),
            "6: threshold \"p95\".max: `1h` is far from what an answer may take; write 1ms to 2m, such as \"500ms\" or \"1.5s\"",
        ),
        (
            bound("\"1s\"", "95"),
            "5: threshold \"p95\".latency.quantile: `95` is not between 0 and 1; did you mean 0.95?",
        ),
        (
            bound("\"1s\"", "\"p99\""),
            "5: threshold \"p95\".latency.quantile: must be a number such as 0.95, and is a text; write 0.99",
        ),
        (
            bound("\"1s\"", "1.0"),
            "5: threshold \"p95\".latency.quantile: `1.0` is not between 0 and 1; write 0.5, 0.95 or 0.99",
        ),
        (
            bound("\"1s\"", "0.05"),
            "5: threshold \"p95\".latency.quantile: `0.05`: most requests could be slower than the bound; write 0.5 or more; did you mean 0.95?",
        ),
        (
            bound("\"1s\"", "0.95").replace("'h'", "'h_bucket'"),
            "5: threshold \"p95\".latency.histogram: `h_bucket` is a part of a histogram; write the histogram's own name: \"h\"",
        ),
        (
            bound("\"1s\"", "0.95").replace("'h'", "'h{le=\"1\"}'"),
            "5: threshold \"p95\".latency.histogram: `h{le=\"1\"}` has a condition on `le`; leave it out: the bucket is chosen by `max`",
        ),
    ]);
}

#[test]
fn a_threshold_measures_exactly_one_thing() {
    each(&[
        (
            threshold("name = \"x\"\nmax = \"2%\""),
            "3: threshold \"x\": measures nothing; give it one of ratio, latency, gauge, promql, probe, checks or crashes",
        ),
        (
            threshold("name = \"x\"\ngauge = 'm'\nchecks = {}\nmax = 1"),
            "3: threshold \"x\": has 2 kinds: gauge and checks; write a [[threshold]] for each",
        ),
        (
            threshold("name = \"x\"\ngauge = 'm'"),
            "3: threshold \"x\".max: is missing; write the largest value that is still fine, such as max = \"400MB\"",
        ),
        (
            threshold("checks = {}"),
            "3: threshold.name: is missing; give it one, such as name = \"5xx\": evidence and messages are kept under it",
        ),
        (
            threshold("name = \"x\"\nchecks = {}\nmax = \"30%\""),
            "6: threshold \"x\".max: a `checks` threshold has no `max`; write checks = { failing = \"30%\", consecutive = 3 }",
        ),
        (
            ratio("max = \"2%\"\nfor = \"1m\""),
            "7: threshold \"5xx\".for: a `ratio` threshold has no `for`; leave it out",
        ),
        (
            threshold("name = \"checks\"\nchecks = {}"),
            "4: threshold \"checks\".name: there is another threshold `checks` in this file; give it another name, or leave the preset out of `use`",
        ),
        (
            format!("{}\n[[threshold]]\nname = \"5xx\"\nchecks = {{}}", ratio("max = \"2%\"")),
            "8: threshold \"5xx\".name: there is another threshold `5xx` in this file; give it another name: evidence is kept under it",
        ),
        (
            ratio("max = \"2%\"").replace("'r{s=\"5\"}'", "' r{}'"),
            "5: threshold \"5xx\".ratio.bad: selects the same series as `total`: every request would be bad; select only the bad ones, such as {status=~\"5..\"}",
        ),
        (
            ratio("max = \"2%\"").replace("{s=\"5\"}", "{s=5}"),
            "5: threshold \"5xx\".ratio.bad: is not a selector: unexpected character inside braces: '5', at character 5: `r{s=⟨here⟩5}`; compare a label with a value in quotes: =\"500\", !=\"500\", =~\"5..\" or !~\"5..\"",
        ),
        (
            threshold("name = \"m\"\ngauge = 'm'\nmax = 1\nfor = \"10m\""),
            "7: threshold \"m\".for: `for` takes 10m, and does not end before `bake` of 10m: the release would be trusted first; write a shorter time, or bake longer",
        ),
    ]);
    let none = Place::policy("apps = [\"web\"]\n").problems();
    assert_eq!(
        none,
        [
            "thresholds/web.toml: the file sets no threshold; write use = [\"checks\", \"crashes\"], which need nothing from the app, or a [[threshold]]"
        ]
    );
}

#[test]
fn times_have_to_fit_together() {
    each(&[
        (
            plain("[watch]\nblock = \"1m\""),
            "4: watch.block: `confirm` of 30s is shorter than a block of 1m: nothing could be \
             confirmed; write confirm = \"3m\" or more in [rollback]",
        ),
        (
            plain("[watch]\nscrape_every = \"20s\""),
            "4: watch.scrape_every: `idle_scrape_every` of 15s is more often than `scrape_every`, \
             as if a quiet app needed more attention; write the same or a longer time",
        ),
        (
            threshold("name = \"m\"\ngauge = 'm'\nmax = 1\n[watch]\nbake = \"25s\""),
            "3: threshold \"m\": `for` takes 30s, and does not end before `bake` of 25s: the release \
             would be trusted first; write a shorter time, or bake longer",
        ),
        (
            plain("[watch]\nbake = \"7s\""),
            "4: watch.bake: `bake` of 7s ends before two blocks of 4s are over: nothing could be judged; bake for at least some minutes, such as \"10m\"",
        ),
        (
            plain("[watch]\nblock = \"6m\"\n[rollback]\nconfirm = \"7m\""),
            "4: watch.block: `bake` of 10m ends before two blocks of 6m are over: nothing could be judged; bake for at least some minutes, such as \"10m\"",
        ),
        (
            plain("[watch]\nscrape_every = \"500ms\""),
            "4: watch.scrape_every: `500ms` is outside the sensible range; write 1s to 5m",
        ),
        (
            plain("[watch]\nidle_scrape_every = \"1s\""),
            "4: watch.idle_scrape_every: `idle_scrape_every` of 1s is more often than `scrape_every`, as if a quiet app needed more attention; write the same or a longer time",
        ),
        (
            plain("[watch]\nwarm_up = \"10m\""),
            "4: watch.warm_up: no machine would be judged before `bake` of 10m is over; write some seconds, such as \"10s\"",
        ),
        (
            plain("[rollback]\nconfirm = \"2s\""),
            "4: rollback.confirm: `confirm` of 2s is shorter than a block of 4s: nothing could be confirmed; write confirm = \"12s\" or more in [rollback]",
        ),
        (
            plain("[rollback]\nconfirm = { at_least = \"40s\" }"),
            "4: rollback.confirm.at_least: at least 40s is longer than at most 30s; write at_least = \"2s\"",
        ),
        (
            plain("[rollback]\nconfirm = { most = \"40s\" }"),
            "4: rollback.confirm.most: is not a known key; known here: at_least, at_most",
        ),
        (
            plain("[rollback]\nregions_at_once = 0"),
            "4: rollback.regions_at_once: `0` is outside 1 to 100",
        ),
        (
            plain("[rollback]\nper_day_max = 0"),
            "4: rollback.per_day_max: would never allow a rollback; write mode = \"observe\" at the top of the file instead",
        ),
    ]);
}

#[test]
fn regions_are_codes_each_named_once() {
    each(&[
        (
            plain("[rollback]\norder = [\"IAD\", \"*\"]"),
            "4: rollback.order: `IAD` is not a region; write \"iad\"",
        ),
        (
            plain("[rollback]\norder = [\"iad\", \"iad\"]"),
            "4: rollback.order: `iad` is named twice; leave one out",
        ),
        (
            plain("[rollback]\norder = [\"*\", \"*\"]"),
            "4: rollback.order: `*` is named twice; leave one out",
        ),
        (
            plain("[rollback]\norder = []"),
            "4: rollback.order: names no region; write \"worst-first\", or regions such as [\"iad\", \"*\"]",
        ),
        (
            plain("[rollback]\norder = [\n\"iad\",\n\"london\"]"),
            "6: rollback.order: `london` is not a region; write codes such as \"iad\", and \"*\" for all others",
        ),
    ]);
}

#[test]
fn patterns_have_to_be_able_to_win() {
    let apps = |apps: &str| format!("apps = {apps}\nuse = [\"checks\"]\n");
    each(&[
        (apps("[]"), "1: apps: names no app; write apps = [\"*\"] for every app"),
        (apps("[\"a\", \"a\"]"), "1: apps: `a` is listed twice; leave one out"),
        (
            apps("[\"My_App\"]"),
            "1: apps: `My_App` can never match: names of Fly apps have no `M`, only small letters, digits and dashes; did you mean \"my-app\"?",
        ),
        (
            apps("[\"a-[\"]"),
            "1: apps: `a-[` is not a glob: unclosed character class; missing ']'; use * for any characters, ? for one, [ab] for one of these, {api,web} for either",
        ),
        (
            apps("[\"web-a\"]\nexclude = [\"web-*\"]"),
            "1: apps: `web-a` can never win: exclude = [\"web-*\"] takes all of it; leave one of them out",
        ),
        (
            "use = [\"checks\"]\n".to_owned(),
            " apps: is missing; name the apps, such as apps = [\"api-*\", \"web\"]",
        ),
    ]);
    let tie = Place::new(ACME, &[("a.toml", PLAIN), ("b.toml", PLAIN)]);
    let text = tie.problems().join("\n");
    assert!(text.starts_with("thresholds/b.toml:1: apps: `web` is in "), "{text}");
    assert!(text.contains("thresholds/a.toml too: a tie"), "{text}");
}
