//! Mistakes in `waveoff.toml`, in the environment, and with the files themselves.

use super::*;

const WEB: &str = "format = \"standard\"\nurl = \"https://a.b\"\n";

fn receiver(lines: &str) -> String {
    format!("{ACME}[[receiver]]\nname = \"ops\"\n{lines}")
}

/// Each of these is wrong at one place of `waveoff.toml`.
fn are_wrong(cases: &[(String, &str)]) {
    for (text, want) in cases {
        let place = Place::new(text, &[("web.toml", PLAIN)]).set("BAD", "nothing");
        let place = place.set("BOT", "xoxb-1").set("URL", "https://a.b/secret");
        assert_eq!(place.problems(), [format!("waveoff.toml:{want}")], "of\n{text}");
    }
}

#[test]
fn receivers_are_told_apart_and_keep_their_secrets_outside() {
    let web = WEB;
    are_wrong(&[
        (
            format!("{}[[receiver]]\nname = \"ops\"\n{web}", receiver(web)),
            "7: receiver.name: there is another receiver `ops`; give it another name: deliveries are kept under it",
        ),
        (
            receiver("format = \"slak\"\nurl = \"https://a.b\""),
            "4: receiver \"ops\".format: there is no `slak`; did you mean \"slack\"?",
        ),
        (
            receiver("format = \"discord\"\nurl = \"https://a.b\""),
            "5: receiver \"ops\".url: a Discord URL is a secret, and does not belong in a file; put it into an environment variable and name that: url_env = \"OPS_URL\"",
        ),
        (
            receiver("format = \"teams\"\nurl = \"https://a.b\""),
            "5: receiver \"ops\".url: a Teams URL is a secret, and does not belong in a file; put it into an environment variable and name that: url_env = \"OPS_URL\"",
        ),
        (
            receiver("format = \"slack\"\ntoken_env = \"BAD\"\nchannel = \"C1\""),
            "5: receiver \"ops\".token_env: the variable BAD holds no bot's token: it does not begin with `xoxb-`; set BAD to the Bot User OAuth Token",
        ),
        (
            receiver("format = \"slack\"\ntoken_env = \"BOT\""),
            "2: receiver \"ops\".channel: is missing; name the channel, such as channel = \"C0123456789\"",
        ),
        (
            receiver("format = \"slack\"\nchannel = \"C1\""),
            "2: receiver \"ops\".token_env: is missing; name the variable that holds the bot's token, such as token_env = \"SLACK_BOT_TOKEN\"",
        ),
        (
            receiver("format = \"slack\"\ntoken_env = \"BOT\"\nchannel = \"de ploys\""),
            "6: receiver \"ops\".channel: `de ploys` is no channel; write its id, such as \"C0123456789\", or its name",
        ),
        (
            receiver("format = \"discord\"\nurl_env = \"URL\"\nchannel = \"C1\""),
            "6: receiver \"ops\".channel: only a Slack bot writes into a channel; leave it out",
        ),
        (
            receiver("format = \"standard\"\nurl = \"https://a.b\"\ntoken_env = \"BOT\""),
            "6: receiver \"ops\".token_env: only Slack and Grafana take a token; leave it out",
        ),
        (
            receiver("format = \"grafana\"\nurl = \"https://a.b\""),
            "2: receiver \"ops\".token_env: is missing; name the variable that holds a service account's token, such as token_env = \"GRAFANA_TOKEN\"",
        ),
        (
            receiver(
                "format = \"grafana\"\nurl = \"https://a.b\"\ntoken_env = \"BOT\"\nsecrets_env = [\"BAD\"]",
            ),
            "7: receiver \"ops\".secrets_env: Grafana checks no signatures; leave it out",
        ),
    ]);
}

#[test]
fn what_a_receiver_lacks_or_has_too_much_is_named() {
    let web = WEB;
    are_wrong(&[
        (
            receiver("format = \"pagerduty\""),
            "2: receiver \"ops\".routing_key_env: is missing; name the variable that holds the integration key, such as routing_key_env = \"PAGERDUTY_KEY\"",
        ),
        (
            receiver("format = \"pagerduty\"\nrouting_key_env = \"BAD\""),
            "5: receiver \"ops\".routing_key_env: the variable BAD holds no integration key: it has not 32 letters and digits; set BAD to the key of an Events API v2 integration of the service",
        ),
        (
            receiver(&format!("{web}severity = \"bad\"")),
            "6: receiver \"ops\".severity: there is no `bad`; write \"info\", \"warning\", \"error\" or \"critical\"",
        ),
        (
            receiver(&format!("{web}apps = [\"a[\"]")),
            "6: receiver \"ops\".apps: `a[` is not a glob: unclosed character class; missing ']'; use * for any characters, ? for one, [ab] for one of these, {api,web} for either",
        ),
        (
            receiver("format = \"slack\"\nurl = \"https://a.b\""),
            "5: receiver \"ops\".url: a Slack URL is a secret, and does not belong in a file; put it into an environment variable and name that: url_env = \"OPS_URL\"",
        ),
        (
            receiver("format = \"standard\"\nurl = \"a.b\""),
            "5: receiver \"ops\".url: is no usable URL: it begins with neither https:// nor http://; write \"https://a.b\"",
        ),
        (
            receiver("format = \"standard\""),
            "2: receiver \"ops\".url_env: is missing; name the variable that holds the URL, such as url_env = \"OPS_URL\"",
        ),
        (
            receiver(&format!("{web}events = [\"rollback.finished\"]")),
            "6: receiver \"ops\".events: there is no `rollback.finished`; did you mean \"rollback.failed\"?",
        ),
        (
            receiver(&format!("{web}max_age = \"1s\"")),
            "6: receiver \"ops\".max_age: `1s` is outside the sensible range; write 1m to 30d",
        ),
        (
            receiver(&format!("{web}secrets_env = [\"BAD\"]")),
            "6: receiver \"ops\".secrets_env: the variable BAD holds no signing secret: it does not begin with `whsec_`; set BAD to whsec_ and the base64 of 24 to 64 random bytes, as `echo whsec_$(openssl rand -base64 32)` makes it",
        ),
        (
            receiver(&format!("{web}secret = \"x\"")),
            "6: receiver \"ops\".secret: secrets do not belong in a file; put it into an environment variable and name that: secrets_env = [\"OPS_WEBHOOK_SECRET\"]",
        ),
    ]);
}

#[test]
fn settings_are_checked_too() {
    let cases = [
        (
            "",
            "waveoff.toml: organization: is missing; write the slug that `fly orgs list` shows, or set WAVEOFF_ORGANIZATION",
        ),
        (
            "organization = \"Acme Inc\"",
            "waveoff.toml:1: organization: `Acme Inc` is not the slug of an organization; did you mean \"acme-inc\"? write the slug that `fly orgs list` shows",
        ),
        (
            "organization = \"a\"\nlisten = 8080",
            "waveoff.toml:2: listen: `8080` is a port, and an address is needed before it; write \"127.0.0.1:8080\" for this machine only, \"[::]:8080\" for all addresses",
        ),
        (
            "organization = \"a\"\nlisten = \"localhost:80\"",
            "waveoff.toml:2: listen: `localhost:80` is not an address with a port; write \"127.0.0.1:80\"",
        ),
        (
            "organization = \"a\"\nkeep_history = \"5m\"",
            "waveoff.toml:2: keep_history: `5m` is outside the sensible range; write 1d to 3650d, such as \"90d\"",
        ),
        (
            "organization = \"a\"\nbake = \"5m\"",
            "waveoff.toml:2: bake: does not belong here; `bake` stands in [watch] of a threshold file",
        ),
        (
            "organization = \"a\"\nlisten = [::]:80",
            "waveoff.toml:2: is not TOML: invalid array, expected `]`, in `listen =`; put texts and values with units into quotes",
        ),
        (
            "organization = “acme”",
            "waveoff.toml:1: is not TOML: invalid string, expected `\"`, `'`, in `organization =`; write straight quotes: \"…\"",
        ),
        (
            "organization = \"acme",
            "waveoff.toml:1: is not TOML: invalid basic string, in `organization =`; end the text with the quote that it begins with, in the same line",
        ),
        (
            "organization: \"acme\"",
            "waveoff.toml:1: is not TOML: expected `.`, `=`; write = between a key and its value: key = \"value\"",
        ),
        (
            "organization = \"a\"\n[[receiver]]\nname = \"x\"\nformat = \"standard\"\nurl = \"example.com/hook\"",
            "waveoff.toml:5: receiver \"x\".url: is no usable URL: it begins with neither https:// nor http://; write \"https://example.com/hook\"",
        ),
        (
            "organization = a",
            "waveoff.toml:1: is not TOML: invalid string, expected `\"`, `'`, in `organization =`; put texts and values with units into quotes",
        ),
        (
            "organization = \"a\"\nkeep_history = 90d",
            "waveoff.toml:2: is not TOML: expected newline, `#`, in `keep_history =`; put texts and values with units into quotes",
        ),
    ];
    for (text, want) in cases {
        let problems = Place::new(text, &[("web.toml", PLAIN)]).problems();
        assert_eq!(problems, [want], "of\n{text}");
    }
}

#[test]
fn a_link_to_nowhere_is_called_one() {
    let place = Place::policy(PLAIN);
    let link = place.path().join("thresholds/old.toml");
    std::os::unix::fs::symlink("/nowhere/old.toml", link).unwrap();
    let want = "thresholds/old.toml: is a link to /nowhere/old.toml, which does not exist; make that file, or remove the link";
    assert_eq!(place.problems(), [want]);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let nowhere = load(Path::new("/nowhere/at/all"), |_| None).unwrap_err().to_string();
    assert!(nowhere.starts_with("/nowhere/at/all: is not a directory that can be read; name"));

    let place = Place::policy(PLAIN);
    fs::remove_file(place.path().join("waveoff.toml")).unwrap();
    fs::remove_dir_all(place.path().join("thresholds")).unwrap();
    let text = place.problems().join("\n");
    assert!(text.contains("waveoff.toml: does not exist; make one"), "{text}");
    assert!(text.contains("thresholds: does not exist; make it"), "{text}");

    let place = Place::new(ACME, &[]);
    assert!(place.problems()[0].contains("thresholds: has no threshold files"));

    let place = Place::policy(PLAIN);
    fs::write(place.path().join("thresholds/web.toml"), b"apps = [\"\xff\"]").unwrap();
    assert_eq!(
        place.problems(),
        ["thresholds/web.toml: is not UTF-8 text, from byte 9 on; save it as UTF-8"]
    );

    let place = Place::new(
        ACME,
        &[("Web.toml", PLAIN), ("web.toml", "apps = [\"b\"]\nuse = [\"checks\"]")],
    );
    assert!(place.problems()[0].contains("has the same name as"), "{:?}", place.problems());
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let place = Place::new(
        "organisation = \"acme\"\nlisten = \"x\"\n",
        &[
            ("a.toml", "apps = [\"a\"]\nmode = \"off\"\n[watch]\nbake = 5\nblok = \"5s\"\n"),
            ("b.toml", "apps = ["),
        ],
    );
    let errors = place.load().unwrap_err();
    let keys: Vec<&str> = errors.problems().iter().map(|p| p.key.as_str()).collect();
    assert_eq!(
        keys,
        ["", "mode", "watch.bake", "watch.blok", "", "organization", "organisation", "listen"]
    );
    assert!(errors.to_string().ends_with("\n8 problems in 3 places"), "{errors}");
}

#[test]
fn a_file_that_looks_meant_and_is_not_read_is_a_warning() {
    let place = Place::new(
        ACME,
        &[("web.toml", PLAIN), ("api.yaml", "x"), ("B.TOML", "x"), ("web.toml.example", "x")],
    );
    fs::write(place.path().join("api.toml"), "x").unwrap();
    let strays: Vec<String> =
        place.warnings().into_iter().filter(|line| line.contains("is not read")).collect();
    let want = "is not read; threshold files are thresholds/*.toml";
    assert_eq!(
        strays,
        ["api.toml", "thresholds/B.TOML", "thresholds/api.yaml"]
            .map(|file| format!("{file}: {want}"))
    );
}

#[test]
fn metrics_servers_are_told_apart_and_keep_their_tokens_outside() {
    let server = |lines: &str| format!("{ACME}[[metrics_server]]\nname = \"own\"\n{lines}");
    let url = "url = \"http://victoria.internal:8428\"\n";
    let cases = [
        (
            format!("{}[[metrics_server]]\nname = \"own\"\n{url}", server(url)),
            "6: metrics_server.name: there is another metrics server `own`; give it another name: thresholds name it by that",
        ),
        (
            server(""),
            "2: metrics_server \"own\".url: is missing; write where it is, such as url = \"http://victoria.internal:8428\"",
        ),
        (
            server("url = \"victoria\""),
            "4: metrics_server \"own\".url: is no usable URL: relative URL without a base; write one such as \"http://victoria.internal:8428\"",
        ),
        (
            server("url = \"http://victoria:8428/api/v1/query\""),
            "4: metrics_server \"own\".url: `/api/v1` is appended to it; write \"http://victoria:8428\"",
        ),
        (
            server("url = \"http://me:secret@victoria\""),
            "4: metrics_server \"own\".url: a URL with a password does not belong in a file; name a variable with a token instead: token_env",
        ),
        (
            server(&format!("{url}scrape_every = \"1h\"")),
            "5: metrics_server \"own\".scrape_every: `1h` is outside the sensible range; write 1s to 5m",
        ),
        (
            server(&format!("{url}machine_label = \"fly instance\"")),
            "5: metrics_server \"own\".machine_label: `fly instance` is not the name of a label; write one such as \"instance\"",
        ),
        (
            format!("{ACME}[[metrics_server]]\nname = \"machine\"\n{url}"),
            "3: metrics_server.name: `machine` means what the machines tell themselves; give it another name",
        ),
        (
            server(&format!("{url}token_env = \"NOT_SET\"")),
            "5: metrics_server \"own\".token_env: the environment variable NOT_SET is not set; set it to the token: fly secrets set NOT_SET=…",
        ),
    ];
    for (text, want) in cases {
        let problems = Place::new(&text, &[("web.toml", PLAIN)]).problems();
        assert_eq!(problems, [format!("waveoff.toml:{want}")], "of\n{text}");
    }
}

#[test]
fn a_threshold_is_read_from_a_server_by_its_name() {
    let settings = format!(
        "{ACME}[[metrics_server]]\nname = \"own\"\nurl = \"http://victoria.internal:8428/\"\n\
         token_env = \"OWN_TOKEN\"\nscrape_every = \"30s\"\nmachine_label = \"fly_instance\"\n"
    );
    let policy = |from: &str| {
        format!(
            "apps = [\"web\"]\n[[threshold]]\nname = \"memory\"\ngauge = 'bytes'\nmax = \"1MB\"\n\
             from = \"{from}\"\n"
        )
    };
    let place = |from: &str| {
        Place::new(&settings, &[("web.toml", &policy(from))]).set("OWN_TOKEN", "very-secret")
    };
    let config = place("own").valid();
    let own = &config.metrics_servers["own"];
    assert_eq!(own.url.as_deref(), Some("http://victoria.internal:8428"));
    assert_eq!(own.token.as_ref().map(Secret::expose), Some("very-secret"));
    assert_eq!((own.app_label.as_str(), own.machine_label.as_str()), ("app", "fly_instance"));
    let threshold = &config.policies[0].policy.thresholds[0];
    assert_eq!(threshold.source(), Some(&SourceName::Server("own".to_owned())));
    assert_eq!(threshold.room().origin().unwrap().every, Duration::from_secs(30));
    assert!(!format!("{config:?}").contains("very-secret"));
    // The platform's own is there without being named.
    let config = place("fly").valid();
    assert_eq!(config.metrics_servers[FLY], MetricsServer::fly());
    assert_eq!(config.policies[0].policy.wants(&SourceName::Server("fly".to_owned())).len(), 1);
    assert_eq!(
        place("victoria").problems(),
        [
            "thresholds/web.toml:6: threshold \"memory\".from: there is no `victoria`; write \"machine\", \"fly\" or \"own\", \
             or make it one: a [[metrics_server]] with name = \"victoria\" in waveoff.toml"
        ]
    );
}

#[test]
fn a_token_that_would_cross_the_open_network_is_a_warning() {
    let settings = format!(
        "{ACME}[[metrics_server]]\nname = \"own\"\nurl = \"http://example.com\"\ntoken_env = \"T\"\n"
    );
    let place = Place::new(&settings, &[("web.toml", PLAIN)]).set("T", "t");
    let warnings = place.warnings().join("\n");
    assert!(warnings.contains("the token goes out unencrypted over http://"), "{warnings}");
}

#[test]
fn an_expression_that_cannot_work_is_refused_before_it_is_asked() {
    let policy = |promql: &str| {
        format!(
            "apps = [\"web\"]\nuse = [\"checks\"]\n[[threshold]]\nname = \"q\"\nmax = 1\npromql = '{promql}'\n"
        )
    };
    for (promql, want) in [
        (
            "up",
            "names no app: every app would be judged by all of them; write app=\"$app\" in its selectors",
        ),
        (
            "a{app=\"$app\"} > 5",
            "compares, and is empty while all is well; write what is compared alone: `max` is the limit",
        ),
        (
            "a{app=\"$app\"}[5m]",
            "is no number at one moment; write a function over the range, such as rate(…[1m])",
        ),
        (
            "rate(a{app=\"$app\"}[1h])",
            "`promql` takes 1h30s, and does not end before `bake` of 10m: the release would be trusted first; write a shorter time, or bake longer",
        ),
    ] {
        let problems = Place::policy(&policy(promql)).problems();
        let want = format!("thresholds/web.toml:6: threshold \"q\".promql: {want}");
        assert_eq!(problems, [want], "{promql}");
    }
    let odd = Place::policy(&policy("median(a{app=\"$app\"})"));
    assert!(odd.warnings().iter().any(|one| one.contains("it is taken for MetricsQL")));
    let threshold = odd.valid().policies[0].policy.thresholds[1].clone();
    assert_eq!(threshold.source(), Some(&SourceName::Server("fly".to_owned())));
}
