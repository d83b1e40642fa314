//! The workflow files, as far as they can be looked at without running them.

use std::{fs, path::Path, process::Command};

/// What is wrong with the workflows under `root`.
fn problems(root: &Path) -> Vec<String> {
    let python = std::env::var("WAVEOFF_TEST_PYTHON").expect("run scripts/test, which sets it");
    let source = env!("CARGO_MANIFEST_DIR");
    let output = Command::new(python)
        .arg(format!("{source}/tests/config/workflows.py"))
        .args([root.as_os_str(), source.as_ref()])
        .output()
        .expect("Python runs");
    let trouble = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{trouble}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn the_workflows_can_be_read_and_all_that_they_call_is_there() {
    assert_eq!(problems(Path::new(env!("CARGO_MANIFEST_DIR"))), Vec::<String>::new());
}

#[test]
fn each_mistake_in_a_workflow_is_noticed() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/workflows/release.yml");
    let shipped = fs::read_to_string(shipped).expect("it is there");
    let mistakes = [
        ("scripts/dist", "scripts/dits", "scripts/dits cannot be run"),
        ("x86_64-unknown-linux-musl", "x86_64-unknown-linux-muslin", "is no target"),
        ("needs: build", "needs: bulid", "is no job"),
        ("11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2", "v4.2.2", "is not pinned"),
        ("af683 # v4.2.2", "af683", "does not stand beside its commit"),
        ("permissions:\n  contents: read\n", "permissions: write-all\n", "not a list"),
        ("  contents: read\n\nenv", "  contents: write\n\nenv", "contents may be written"),
        ("    timeout-minutes: 15\n", "", "it has no end"),
        ("${{ vars.IMAGE_REGISTRY }}/", "registry.example.io/", "names a host"),
        ("          test \"$TAG\" = \"v$version\"", "          if true", "syntax error"),
        ("    needs: build\n", "    needs: build\n    needs: build\n", "stands twice"),
        ("run: cosign sign --yes \"$IMAGE@$DIGEST\"", "run: echo ${{ github.event.x }}", "pasted"),
    ];
    for (right, wrong, said) in mistakes {
        assert!(shipped.contains(right), "{right}");
        let dir = tempfile::tempdir().expect("a directory can be made");
        let workflows = dir.path().join(".github/workflows");
        fs::create_dir_all(&workflows).expect("a directory can be made");
        fs::write(workflows.join("release.yml"), shipped.replacen(right, wrong, 1))
            .expect("a file can be written");
        let found = problems(dir.path());
        assert!(found.iter().any(|problem| problem.contains(said)), "{wrong}: {found:?}");
    }
}

#[test]
fn each_mistake_in_the_action_is_noticed() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github");
    let read = |name: &str| fs::read_to_string(shipped.join(name)).expect("it is there");
    let action = read("actions/check/action.yml");
    let mistakes = [
        ("      shell: bash\n", "", "a step without a shell"),
        ("--config \"$CONFIG\"", "--config ${{ inputs.config }}", "pasted into a command"),
        ("inputs.config", "inputs.directory", "directory is no input"),
        ("          exit 1\n        fi", "          exit 1", "syntax error"),
    ];
    for (right, wrong, said) in mistakes {
        assert!(action.contains(right), "{right}");
        let dir = tempfile::tempdir().expect("a directory can be made");
        for (name, text) in [
            ("workflows/ci.yml", read("workflows/ci.yml")),
            ("actions/check/action.yml", action.replacen(right, wrong, 1)),
        ] {
            let path = dir.path().join(".github").join(name);
            fs::create_dir_all(path.parent().expect("a directory")).expect("it can be made");
            fs::write(path, text).expect("a file can be written");
        }
        let found = problems(dir.path());
        assert!(found.iter().any(|problem| problem.contains(said)), "{wrong}: {found:?}");
    }
}

/// A profile's own keys, and those of the one it comes from.
fn profile(cargo: &toml_edit::DocumentMut, name: &str, of: Option<&str>, key: &str) -> String {
    let own = cargo.get("profile").and_then(|all| all.get(name)).expect("the profile is there");
    let table = of.map_or(Some(own), |of| own.get("package")?.get(of));
    match table.and_then(|table| table.get(key)) {
        Some(value) => value.to_string().trim().to_owned(),
        None if name != "release" => profile(cargo, "release", of, key),
        None => "unsaid".to_owned(),
    }
}

#[test]
fn what_ships_and_what_is_measured_is_optimized_whatever_the_release_profile_leaves_out() {
    let cargo = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let cargo: toml_edit::DocumentMut =
        fs::read_to_string(cargo).expect("it is there").parse().expect("it is TOML");
    let packages = cargo["profile"]["release"]["package"].as_table_like().expect("a table");
    for name in ["dist", "bench"] {
        assert_eq!(profile(&cargo, name, None, "lto"), "\"thin\"");
        let all = std::iter::once(None).chain(packages.iter().map(|(of, _)| Some(of)));
        for of in all {
            for (key, wanted) in [("opt-level", "3"), ("codegen-units", "1")] {
                assert_eq!(profile(&cargo, name, of, key), wanted, "{name} {of:?} {key}");
            }
        }
    }
}
