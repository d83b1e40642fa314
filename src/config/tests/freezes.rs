//! `[[freeze]]`, in either file.

use super::{
    mistakes::{each, plain},
    *,
};

/// Those of the organization hold for every policy, besides its own.
#[test]
fn a_freeze_of_the_organization_is_one_of_every_policy() {
    let freeze = |reason: &str| {
        format!("\n[[freeze]]\nat = \"0 18 * * fri\"\nfor = \"61h\"\nreason = \"{reason}\"\n")
    };
    let settings = format!("organization = \"acme\"\nper_organization_max = 7\n{}", freeze("all"));
    let web = plain(&freeze("web"));
    let api = plain("").replace("web", "api");
    let config = Place::new(&settings, &[("web.toml", &web), ("api.toml", &api)]).valid();
    let of = |app: &str| {
        let policy = config.policy_for(&app.into()).unwrap();
        assert_eq!(policy.per_organization_max, 7);
        policy.freezes.iter().map(|one| one.reason.clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("web"), ["web", "all"]);
    assert_eq!(of("api"), ["all"]);
}

#[test]
fn a_freeze_has_a_beginning_a_length_and_a_zone() {
    let freeze = |text: &str| plain(&format!("[[freeze]]\n{text}"));
    each(&[
        (
            freeze("for = \"1h\""),
            "3: freeze.at: is missing; write when it begins as in a crontab, such as at = \"0 18 * * fri\"",
        ),
        (
            freeze("at = \"0 18 * * fri\""),
            "3: freeze.for: is missing; write how long it lasts, such as for = \"61h\"",
        ),
        (
            freeze("at = \"0 18 * *\"\nfor = \"1h\""),
            "4: freeze.at: has 4 fields instead of five: minute, hour, day of the month, month, \
             day of the week; write minute, hour, day, month, day of the week: \"0 18 * * fri\"",
        ),
        (
            freeze("at = \"0 25 * * *\"\nfor = \"1h\""),
            "4: freeze.at: `25` is no hour: write 0 to 23, or *; write minute, hour, day, month, day of the week: \"0 18 * * fri\"",
        ),
        (
            freeze("at = \"0 18 * * *\"\nfor = \"1h\"\nzone = \"Berlin\""),
            "6: freeze.zone: `Berlin` is no time zone that is known; write one such as \"Europe/Berlin\", or leave it out for UTC",
        ),
        (
            freeze("at = \"0 18 * * *\"\nfor = \"60d\""),
            "5: freeze.for: `60d` is outside the sensible range; write 1m to 31d",
        ),
    ]);
}
