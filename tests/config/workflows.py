"""Says what is wrong with the workflow files of the repository whose root is given.

They run elsewhere, so what can be known here is looked at here: that they are YAML without doubled keys, that
what they call is there, that actions are pinned, and that nothing may more than it has to.
"""

import pathlib
import re
import subprocess
import sys
import tomllib

import yaml

ROOT = pathlib.Path(sys.argv[1])
SOURCE = pathlib.Path(sys.argv[2])  # where scripts and Cargo.toml are
WRITES = {"contents", "packages", "id-token", "attestations"}
# A tag can be moved by whoever may push there; the version stands beside it for people.
PINNED = re.compile(r"^[\w.-]+/[\w./-]+@[0-9a-f]{40}$")
NAMED = re.compile(r"uses: \S+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", re.MULTILINE)
HOST = re.compile(r"\b[a-z0-9-]+\.(?:io|com|dev|org|net)/[\w$]")
PROGRAM = re.compile(r"(?<![\w/.-])((?:scripts|\.ci)/[\w-]+)")


class Strict(yaml.SafeLoader):
    """A key that stands twice is a mistake that YAML keeps to itself."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


cargo = tomllib.loads((SOURCE / "Cargo.toml").read_text())
profiles = {"dev", "release", "test", "bench", *cargo.get("profile", {})}
targets = set(subprocess.run(
    ["rustc", "--print", "target-list"], check=True, capture_output=True, text=True
).stdout.split())
problems = []


def permissions(where, given, job):
    if not isinstance(given, dict):
        problems.append(f"{where}: permissions are {given!r}, not a list of what it may")
        return
    for right, may in given.items():
        if may == "write" and not (job and right in WRITES):
            problems.append(f"{where}: {right} may be written")


def command(where, text):
    plain = re.sub(r"\$\{\{.*?\}\}", "x", text)
    shell = subprocess.run(["bash", "-n"], input=plain, capture_output=True, text=True)
    if shell.returncode:
        problems.append(f"{where}: {shell.stderr.strip()}")
    if "${{" in text and re.search(r"\$\{\{[^}]*github\.(event|head_ref|ref_name)", text):
        problems.append(f"{where}: what others wrote is pasted into a command")
    for program in PROGRAM.findall(text):
        path = SOURCE / program
        if not path.is_file() or not path.stat().st_mode & 0o100:
            problems.append(f"{where}: {program} cannot be run")
    for profile in re.findall(r"--profile[ =]([\w-]+)", text):
        if profile not in profiles | {"minimal"}:
            problems.append(f"{where}: no profile {profile} in Cargo.toml")


def workflow(path):
    name = path.name
    text = path.read_text()
    try:
        content = yaml.load(text, Loader=Strict)
    except yaml.YAMLError as error:
        problems.append(f"{name}: {error}")
        return
    for host in HOST.findall(re.sub(r"https?://\S+", "", text)):
        problems.append(f"{name}: names a host: {host}")
    if len(NAMED.findall(text)) != len(re.findall(r"uses: ", text)):
        problems.append(f"{name}: an action's version does not stand beside its commit")
    # YAML reads a bare `on` as true.
    if not content.get("on", content.get(True)):
        problems.append(f"{name}: it never runs")
    permissions(name, content.get("permissions"), job=False)
    jobs = content.get("jobs") or {}
    for label, job in jobs.items():
        where = f"{name}: {label}"
        if "permissions" in job:
            permissions(where, job["permissions"], job=True)
        if "timeout-minutes" not in job:
            problems.append(f"{where}: it has no end")
        needs = job.get("needs") or []
        for other in [needs] if isinstance(needs, str) else needs:
            if other not in jobs:
                problems.append(f"{where}: needs {other}, which is no job")
        for row in job.get("strategy", {}).get("matrix", {}).get("include", []):
            if row.get("target") not in targets:
                problems.append(f"{where}: {row.get('target')} is no target")
        for step in job.get("steps") or []:
            if "uses" in step and not PINNED.match(step["uses"]):
                problems.append(f"{where}: {step['uses']} is not pinned to a commit")
            if "run" in step:
                command(where, step["run"])
            if not {"uses", "run"} & set(step):
                problems.append(f"{where}: a step that does nothing")


def action(path):
    """An action of ours: others give it a directory, and nothing that they say may become a command."""
    name = path.parent.name
    content = yaml.load(path.read_text(), Loader=Strict)
    inputs = content.get("inputs") or {}
    for step in content["runs"]["steps"]:
        text = step.get("run", "")
        if not step.get("shell"):
            problems.append(f"action {name}: a step without a shell")
        if "${{" in text:
            problems.append(f"action {name}: what others wrote is pasted into a command")
        command(f"action {name}", text)
        for used in re.findall(r"inputs\.([\w-]+)", str(step.get("env", ""))):
            if used not in inputs:
                problems.append(f"action {name}: {used} is no input")


found = sorted((ROOT / ".github/workflows").glob("*.yml"))
for path in found:
    workflow(path)
for path in sorted((ROOT / ".github/actions").glob("*/action.yml")):
    action(path)
if not found:
    problems.append("there is no workflow")
for problem in problems:
    print(problem)
