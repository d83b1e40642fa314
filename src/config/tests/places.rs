//! Mistakes in `waveoff.toml`, in the environment, and with the files themselves.

use super::*;

#[test]
fn receivers_are_told_apart_and_keep_their_secrets_outside() {
    let receiver = |lines: &str| format!("{ACME}[[receiver]]\nname = \"ops\"\n{lines}");
    let web = "format = \"standard\"\nurl = \"https://a.b\"\n";
    let cases = [
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
            "4: receiver \"ops\".format: `discord` is not available in this version; use \"standard\" and translate it in a small receiver of your own",
        ),
        (
            receiver("format = \"slack\"\nurl = \"https://a.b\""),
            "5: receiver \"ops\".url: a Slack URL is a secret, and does not belong in a file; put it into an environment variable and name that: url_env = \"OPS_URL\"",
        ),
        (
            receiver("format = \"standard\"\nurl = \"a.b\""),
            "5: receiver \"ops\".url: is no usable URL: relative URL without a base; write one such as \"https://example.com/hook\"",
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
    ];
    for (text, want) in cases {
        let problems = Place::new(&text, &[("web.toml", PLAIN)]).set("BAD", "nothing").problems();
        assert_eq!(problems, [format!("waveoff.toml:{want}")], "of\n{text}");
    }
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
            "waveoff.toml:2: listen: must be a text in quotes, and is a number; write \"8080\"",
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
            "waveoff.toml:2: is not TOML: invalid array, expected `]`, in `listen =`",
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
