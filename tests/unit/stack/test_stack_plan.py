"""Stacks against what a host has: which runtime, what is a change, what is drift, what goes."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from novafleet.app.plan import Planned
from novafleet.app.status import resource_state
from novafleet.capability.stack import bundle
from novafleet.capability.stack.actions import _DIRECTORIES, starter
from novafleet.capability.stack.plan import plan_down, plan_up
from novafleet.capability.stack.runtime import Runner, choose
from novafleet.errors import ConfigError, GuardError, Location
from novafleet.model.environment import (
    Artifact,
    Condition,
    Dependency,
    Environment,
    Gate,
    GateKind,
    Stack,
    StackFile,
    Vm,
)
from novafleet.model.facts import ContainerFact, Engine, FleetFacts, HostFacts, StackFact
from novafleet.model.plan import Change, Impact, Plan, PlanOptions, ResourceChange
from novafleet.model.secret import Secret

HERE = Location("env.yml", 7)
COMPOSE = """
services:
  web: {image: app, restart: always}
  init: {image: app}
  debug: {image: app, profiles: [debug]}
  off: {image: app, scale: 0}
"""
POD = """
kind: Deployment
spec:
  replicas: 2
  template:
    spec: {containers: [{name: a}, {name: b}]}
---
kind: PersistentVolumeClaim
metadata: {name: data, labels: {mine: "1"}}
"""
DOCKER = Engine("docker", "26.1", ("docker compose", "docker-compose"))
PODMAN = Engine("podman", "4.3.1", ("podman-compose", "podman kube play"))
BARE = Engine("podman", "4.3.1", ("podman kube play",))


def files(**texts: str) -> tuple[StackFile, ...]:
    return tuple(StackFile(path, Secret.of(text)) for path, text in texts.items())


EDGE = Stack(
    "edge",
    "kvm3",
    "lab-edge",
    "compose",
    "c.yaml",
    files(**{"c.yaml": COMPOSE, "app.env": "PASSWORD=x"}),
    "digest-1",
    images={"app": Artifact(path="/a.tar", sha256="a" * 64)},
    ready=(Gate(GateKind.COMPOSE),),
    depends_on=(Dependency("vm.db", Condition.HEALTHY),),
    source=HERE,
)
DB = Vm("db", "db", "lab-db", "0", "kvm1", 1, ready=(Gate(GateKind.TCP, {"port": 22}),))
RIGHT = (
    ContainerFact("lab-edge-web-1", "web", "app", "running", "healthy", 0),
    ContainerFact("lab-edge-init-1", "init", "app", "exited", "", 0),
)


def environment(*stacks: Stack) -> Environment:
    return Environment("lab", HERE, vms={"db": DB}, stacks={stack.name: stack for stack in stacks})


def host(*stacks: StackFact, engines: tuple[Engine, ...] = (DOCKER,)) -> HostFacts:
    return HostFacts(
        "kvm3",
        0.0,
        stacks={stack.project: stack for stack in stacks},
        engines={engine.name: engine for engine in engines},
    )


def facts(*stacks: StackFact, engines: tuple[Engine, ...] = (DOCKER,)) -> FleetFacts:
    return FleetFacts({"kvm3": host(*stacks, engines=engines)})


def running(containers: tuple[ContainerFact, ...] = RIGHT, **changed: str) -> StackFact:
    fact = StackFact("lab-edge", "lab", bundle.digest(EDGE, "docker"), "docker", "compose", containers)
    return replace(fact, **changed)


def up(seen: FleetFacts, *stacks: Stack) -> tuple[ResourceChange, ...]:
    return plan_up(environment(*(stacks or (EDGE,))), seen, PlanOptions())


def test_a_new_stack_is_pushed_loaded_and_started_after_what_it_needs() -> None:
    [change] = up(facts())
    steps = {step.id: step for step in change.steps}
    assert list(steps) == ["stack.edge/push", "stack.edge/images", "stack.edge/start", "stack.edge/ready.0"]
    assert "image.edge.app@kvm3/fetch" in steps["stack.edge/images"].after
    assert {"stack.edge/images", "vm.db/ready.0"} <= set(steps["stack.edge/start"].after)
    assert "x" not in json.dumps([dict(step.args) for step in change.steps]).split('"')


def test_what_runs_needs_only_its_gate() -> None:
    [change] = up(facts(running()))
    assert change.change is Change.NONE
    assert [step.id for step in change.steps] == ["stack.edge/ready.0"]


DRIFT = {
    "missing": (RIGHT[1:], "web has no container"),
    "crashed job": ((RIGHT[0], replace(RIGHT[1], exit_code=3)), "lab-edge-init-1 is exited"),
    "stopped by hand": ((replace(RIGHT[0], state="exited"), RIGHT[1]), "lab-edge-web-1 is exited"),
    "paused": ((replace(RIGHT[0], state="paused"), RIGHT[1]), "lab-edge-web-1 is paused"),
}


@pytest.mark.parametrize("name", DRIFT)
def test_drift_is_started_again_without_making_anew(name: str) -> None:
    containers, text = DRIFT[name]
    [change] = up(facts(running(containers)))
    assert (change.change, change.impact) == (Change.UPDATE, Impact.LIVE)
    assert [reason.text for reason in change.reasons] == [text]
    assert [step.action for step in change.steps] == ["stack.start", "gate.wait"]
    assert change.steps[0].args["recreate"] is False


@pytest.mark.parametrize(
    "stack",
    [replace(EDGE, digest="digest-2"), replace(EDGE, images={"app": Artifact(path="/a.tar", sha256="b" * 64)})],
    ids=["files", "images"],
)
def test_a_new_bundle_makes_the_containers_anew(stack: Stack) -> None:
    [change] = up(facts(running()), stack)
    assert (change.change, change.impact) == (Change.UPDATE, Impact.RECREATE)
    assert next(step for step in change.steps if step.action == "stack.start").args["recreate"] is True


def test_another_runtime_replaces() -> None:
    [change] = up(facts(running(), engines=(DOCKER, PODMAN)), replace(EDGE, runtime="podman"))
    assert change.change is Change.REPLACE
    assert change.steps[0].args["engine"] == "docker"
    assert "stack.edge/stop" in change.steps[1].after


def test_one_that_is_no_longer_in_the_file_goes_with_its_volumes_kept() -> None:
    old = StackFact("lab-old", "lab", "x", "podman", "kube")
    [change] = up(facts(old), replace(EDGE, host="elsewhere"))
    assert (change.address, change.change) == ("stack.old", Change.DELETE)
    assert [step.id for step in change.steps] == ["stack.old/stop", "stack.old/delete"]
    assert change.steps[0].args == {"project": "lab-old", "engine": "podman", "kind": "kube", "volumes": False}


def test_one_that_moved_is_removed_where_it_was() -> None:
    seen = FleetFacts({"kvm3": host(running()), "kvm2": replace(host(), host="kvm2")})
    created, removed = up(seen, replace(EDGE, host="kvm2"))
    assert (created.change, created.host) == (Change.CREATE, "kvm2")
    assert (removed.address, removed.host) == ("stack.edge@kvm3", "kvm3")


def test_anothers_stack_is_not_touched() -> None:
    with pytest.raises(GuardError) as caught:
        up(facts(running(environment="other")))
    assert caught.value.code == "NF-STK-003"
    assert plan_down(environment(EDGE), facts(running(environment="other")), PlanOptions()) == ()


def test_down_waits_for_dependants() -> None:
    dependant = replace(EDGE, name="top", project="lab-top", depends_on=(Dependency("stack.edge", Condition.STARTED),))
    [change] = plan_down(environment(EDGE, dependant), facts(running()), PlanOptions(volumes=True))
    assert change.impact is Impact.DATA_LOSS
    assert change.steps[0].after == ("stack.top/stop",)


CHOICES = {
    "auto takes docker": (EDGE, (PODMAN, DOCKER), Runner("docker", "docker compose")),
    "asked for podman": (replace(EDGE, runtime="podman"), (PODMAN, DOCKER), Runner("podman", "podman-compose")),
    "only podman": (EDGE, (PODMAN,), Runner("podman", "podman-compose")),
    "pods": (replace(EDGE, kind="kube"), (DOCKER, PODMAN), Runner("podman", "podman kube play")),
    "no compose": (EDGE, (BARE,), None),
    "pods on docker": (replace(EDGE, kind="kube", runtime="docker"), (DOCKER,), None),
    "nothing": (EDGE, (), None),
}


@pytest.mark.parametrize("name", CHOICES)
def test_choice(name: str) -> None:
    stack, engines, expected = CHOICES[name]
    if expected:
        assert choose(stack, host(engines=engines)) == expected
        return
    with pytest.raises(ConfigError) as caught:
        choose(stack, host(engines=engines))
    assert caught.value.code == "NF-STK-002"
    assert caught.value.hints


def test_what_runs_on_podman_stays_there_when_docker_is_installed() -> None:
    assert choose(EDGE, host(running(runtime="podman"), engines=(DOCKER, PODMAN))).engine == "podman"


COMMANDS = {
    "docker compose": "docker compose --project-name lab-edge --project-directory D --file D/c.yaml "
    "up --detach --remove-orphans --force-recreate",
    "docker-compose": "docker-compose --project-name lab-edge --project-directory D --file D/c.yaml "
    "up --detach --remove-orphans --force-recreate",
    "podman-compose": "podman-compose --project-name lab-edge --file D/c.yaml "
    "up --detach --remove-orphans --force-recreate",
}


@pytest.mark.parametrize("provider", COMMANDS)
def test_command(provider: str) -> None:
    command = starter(EDGE, provider, recreate=True)
    assert " ".join(command.argv).replace("/var/lib/novafleet/stacks/lab-edge", "D") == COMMANDS[provider]
    assert command.become
    assert command.mutates


def test_pods_carry_the_project_and_keep_their_own_labels() -> None:
    stack = replace(EDGE, kind="kube", entry="p.yaml", files=files(**{"p.yaml": POD}))
    labelled = next(file for file in bundle.files(stack) if file.path == bundle.KUBE_FILE)
    deployment, claim = yaml.safe_load_all(labelled.content.reveal())
    assert labelled.mode == 0o600
    assert deployment["spec"]["template"]["metadata"]["labels"] == {"com.docker.compose.project": "lab-edge"}
    assert claim["metadata"]["labels"] == {"mine": "1", "com.docker.compose.project": "lab-edge"}
    assert bundle.expected(stack).count == 4


STRANGE = """\
kind: Pod
metadata:
  name: a
  labels:
spec:
  containers: [{name: a, args: [1:22, 0644, =]}]
---
kind: Job
metadata:
spec:
---
kind: ConfigMap
data: {schedule: 2:30, on: 1.10}
---
x-any: &any {labels: {mine: a}}
kind: Pod
metadata: {<<: *any, name: b}
"""


def test_pods_stay_as_they_were_written() -> None:
    stack = replace(EDGE, kind="kube", entry="p.yaml", files=files(**{"p.yaml": STRANGE}))
    labelled = next(file for file in bundle.files(stack) if file.path == bundle.KUBE_FILE).content.reveal().decode()
    pod, job, settings, merged = yaml.load_all(labelled, Loader=yaml.BaseLoader)
    assert pod["spec"]["containers"][0]["args"] == ["1:22", "0644", "="]
    assert pod["metadata"]["labels"] == job["metadata"]["labels"] == {"com.docker.compose.project": "lab-edge"}
    assert settings["data"] == {"schedule": "2:30", "on": "1.10"}
    assert merged["metadata"]["labels"] == {"mine": "a", "com.docker.compose.project": "lab-edge"}
    assert "*id001:" not in labelled


def test_only_units_are_labelled_whatever_their_line_ends() -> None:
    made = files(**{"web.container": "[Container]\r\nImage=a\r\n", "app.ini": "[Network]\n"})
    stack = replace(EDGE, kind="quadlet", entry="", files=(*made, StackFile("logo", Secret.of(b"[\xff"))))
    unit, settings, logo = (file.content.reveal() for file in bundle.files(stack))
    assert b"Label=com.docker.compose.project=lab-edge" in unit
    assert (settings, logo) == (b"[Network]\n", b"[\xff")


def test_folders_that_containers_mount_are_for_all_the_way_there_is_not(tmp_path: Path) -> None:
    root = tmp_path / "stacks" / "lab-edge"
    subprocess.run(["sh", "-c", _DIRECTORIES, "sh", str(root), f"{root}/www", f"{root}/www/js"], check=True)
    modes = [oct(folder.stat().st_mode & 0o777) for folder in (root.parent, root, root / "www", root / "www" / "js")]
    assert modes == ["0o700", "0o700", "0o755", "0o755"]


def test_units_carry_the_project() -> None:
    stack = replace(EDGE, kind="quadlet", entry="", files=files(**{"web.container": "[Unit]\n[Container]\nImage=a\n"}))
    [unit] = bundle.files(stack)
    assert unit.content.reveal().decode().splitlines()[1:4] == [
        "[Container]",
        "Label=com.docker.compose.project=lab-edge",
        "Label=com.docker.compose.service=web",
    ]


def test_env_files_are_for_root_alone() -> None:
    assert {file.path: file.mode for file in bundle.files(EDGE)} == {"c.yaml": 0o644, "app.env": 0o600}


def test_a_record_tells_what_was_pushed_and_nothing_outside() -> None:
    text = bundle.record("lab", EDGE, "docker", "d")
    assert bundle.recorded_files(text) == ("app.env", "c.yaml")
    evil = json.dumps({"files": ["../../etc/passwd", "/etc/passwd", "", 3, "fine"]}).encode()
    assert bundle.recorded_files(evil) == ("fine",)
    assert bundle.recorded_files(b"not json") == ()


@pytest.mark.parametrize("text", ["a: [", "- 1", ""])
def test_an_entry_that_is_no_mapping_is_said_to_be(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        up(facts(running()), replace(EDGE, files=files(**{"c.yaml": text}), digest="digest-1"))
    assert caught.value.code == "NF-STK-005"


@pytest.mark.parametrize(
    ("containers", "state"),
    [
        (RIGHT, "running"),
        ((replace(RIGHT[0], state="exited"), RIGHT[1]), "0/1 running"),
        ((RIGHT[0], replace(RIGHT[1], exit_code=3)), "1/2 running"),
        (RIGHT[1:], "0/1 running"),
        ((), "stopped"),
    ],
)
def test_a_job_that_is_done_is_not_missing_from_the_status(containers: tuple[ContainerFact, ...], state: str) -> None:
    seen = facts(running(containers))
    [change] = up(seen)
    planned = Planned(environment(EDGE), seen, Plan("lab", "up", (change,)))
    assert resource_state(planned, change) == state


def test_what_only_yaml_1_1_reads_as_more_than_text() -> None:
    text = "x-built: 2024-02-30\nservices: {web: {image: a, command: [test, a, =, b]}}\n"
    assert bundle.expected(replace(EDGE, files=files(**{"c.yaml": text}))).count == 1
