//! Mistakes in thresholds of one kind, and the line that each gets.

use super::mistakes::{each, threshold};

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
