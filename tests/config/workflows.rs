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
        ("actions/checkout@v4.2.2", "actions/checkout@main", "is not pinned"),
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
