//! Mistakes in thresholds of one kind, and the line that each gets.

use super::{
    Place,
    mistakes::{each, threshold},
};
use crate::model::{Relative, ThresholdKind};

#[test]
fn a_comparison_that_cannot_be_meant_says_what_to_write() {
    let ratio = |keys: &str| {
        threshold(&format!("name = \"p\"\nratio = {{ bad = 'r{{s=\"5\"}}', total = 'r' }}\n{keys}"))
    };
    each(&[
        (
            ratio(""),
            "3: threshold \"p\".max: is missing; write the share that is still fine, such as max = \"2%\", or relative = { times = 1.5, plus = \"0.2%\" }",
        ),
        (
            ratio("relative = 1.5"),
            "6: threshold \"p\".relative: must be a table, and is a number; write relative = { times = 1.5, plus = \"0.2%\" }",
        ),
        (
            ratio("relative = { times = 0.5 }"),
            "6: threshold \"p\".relative.times: `0.5` is outside 1 to 100; write how many times as bad as the known-good release is still fine, such as 1.5",
        ),
        (
            ratio("relative = { times = \"2x\" }"),
            "6: threshold \"p\".relative.times: must be a number such as 1.5, and is a text; write 2 without quotes",
        ),
        (
            ratio("relative = { plus = \"60%\" }"),
            "6: threshold \"p\".relative.plus: `\"60%\"` is no room that can be told from bad luck; write what comes on top of that, such as \"0.2%\"",
        ),
        (
            threshold("name = \"m\"\ngauge = 'g'\nmax = 1\nrelative = { times = 2 }"),
            "7: threshold \"m\".relative: a `gauge` threshold has no `relative`; leave it out",
        ),
    ]);
}

#[test]
fn a_comparison_needs_no_limit_of_its_own_and_may_have_one() {
    let read = |keys: &str| {
        let text = format!(
            "apps = [\"web\"]\nuse = [\"checks\"]\n[[threshold]]\nname = \"p\"\n\
             ratio = {{ bad = 'r{{s=\"5\"}}', total = 'r' }}\n{keys}"
        );
        let config = Place::policy(&text).valid();
        let ThresholdKind::Ratio(ratio) = config.policies[0].policy.thresholds[1].kind.clone()
        else {
            panic!()
        };
        (ratio.max, ratio.relative)
    };
    assert_eq!(read("relative = { times = 2 }"), (0.5, Some(Relative { times: 2.0, plus: 0.002 })));
    assert_eq!(
        read("relative = { plus = \"1%\" }\nmax = \"3%\""),
        (0.03, Some(Relative { times: 1.5, plus: 0.01 }))
    );
}

#[test]
fn a_probe_that_cannot_be_meant_says_what_to_write() {
    let probe = |keys: &str| threshold(&format!("name = \"p\"\nprobe = {keys}"));
    each(&[
        (
            probe("\"/healthz\""),
            "5: threshold \"p\".probe: must be a table, and is a text; write probe = { path = \"/healthz\" }",
        ),
        (
            probe("{}"),
            "5: threshold \"p\".probe.path: is missing; write what to ask for, such as path = \"/healthz\"",
        ),
        (
            probe("{ path = \"healthz\" }"),
            "5: threshold \"p\".probe.path: `healthz` does not begin with a slash; write \"/healthz\"",
        ),
        (
            probe("{ path = \"https://acme.com/up?x\" }"),
            "5: threshold \"p\".probe.path: is a URL: every machine is asked at its own address; write the path alone, \"/up?x\"",
        ),
        (
            probe("{ path = \"/\", expect = [\"2xx\", \"ok\"] }"),
            "5: threshold \"p\".probe.expect: `ok` is no status of an answer; write a class such as \"2xx\", or a number from 100 to 599",
        ),
        (
            probe("{ path = \"/\", method = \"POST\" }"),
            "5: threshold \"p\".probe.method: there is no `POST`; write \"GET\" or \"HEAD\"",
        ),
        (
            probe("{ path = \"/\", method = \"HEAD\", body = \"ok\" }"),
            "5: threshold \"p\".probe.body: an answer to HEAD has no body; leave it out, or write method = \"GET\"",
        ),
        (
            probe("{ path = \"/\", timeout = \"30s\" }"),
            "5: threshold \"p\".probe.timeout: `30s` is outside the sensible range; write 100ms to 5s",
        ),
        (
            probe("{ path = \"/\" }\nfrom = \"fly\""),
            "6: threshold \"p\".from: a `probe` threshold has no `from`; leave it out: the machines are asked over the private network",
        ),
    ]);
}

#[test]
fn a_metrics_server_that_nobody_made_one_is_said_to_be_made_one() {
    each(&[(
        threshold(
            "name = \"5xx\"\nfrom = \"victoria\"\nmax = \"2%\"\n\
             ratio = { bad = 'r{s=\"5\"}', total = 'r' }",
        ),
        "5: threshold \"5xx\".from: there is no `victoria`; write \"machine\" or \"fly\", or make it \
         one: a [[metrics_server]] with name = \"victoria\" in waveoff.toml",
    )]);
}
