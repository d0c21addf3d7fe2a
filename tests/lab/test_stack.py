"""The sample stacks on real engines: Docker's Compose, podman-compose, and pods."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from novafleet.capability.image import plan as image
from novafleet.capability.stack.plan import plan_down, plan_up
from novafleet.errors import GateError, Location, StackError
from novafleet.model.environment import Artifact, Environment, Gate, GateKind, Stack, StackFile
from novafleet.model.plan import Impact, PlanOptions
from novafleet.model.secret import Secret
from novafleet.render.environment import Templates
from tests.lab.slices import HTTPD, Bench, bench

pytestmark = pytest.mark.lab
HERE = Location("env.yml", 5)
VOLUMES = PlanOptions(volumes=True)
SAMPLES = Path(__file__).parents[2] / "playbooks" / "stacks"
VARIABLES = {
    "environment": "nfstk",
    "domain": "lab.test",
    "backends": "127.0.0.1",
    "stack": {"name": "edge", "project": "nfstk-edge"},
}
REFERENCE = "localhost/novafleet/httpd:1"
HEALTHY = Gate(GateKind.COMPOSE, timeout=60.0, interval=0.5)
POD = """
apiVersion: v1
kind: ConfigMap
metadata: {name: nfstk-site}
data: {index.html: "from a pod"}
---
apiVersion: v1
kind: Pod
metadata: {name: nfstk-pod}
spec:
  restartPolicy: Always
  containers:
  - name: web
    image: localhost/novafleet/httpd:1
    command: [httpd, -f, -p, "80", -h, /srv/site]
    livenessProbe: {exec: {command: [wget, -q, -O, /dev/null, "http://127.0.0.1/index.html"]}, periodSeconds: 1}
    ports: [{containerPort: 80, hostPort: 8999}]
    volumeMounts: [{name: site, mountPath: /srv/site}]
  volumes:
  - name: site
    configMap: {name: nfstk-site}
"""
QUADLET = """
[Container]
Image=localhost/novafleet/httpd:1
Exec=httpd -f -p 80 -h /srv/www
PublishPort=8998:80

[Install]
WantedBy=multi-user.target
"""


def sample(name: str, port: str) -> tuple[StackFile, ...]:
    """The bundle of a sample stack as the playbook renders it, on a port of our own."""
    files = [path for path in (SAMPLES / name).rglob("*") if path.is_file()]
    texts = {path.relative_to(SAMPLES / name).as_posix(): path.read_text() for path in files}
    templates = Templates(SAMPLES / name, texts)
    rendered = {path: templates.render(path, VARIABLES) if path.endswith(".j2") else texts[path] for path in texts}
    moved = {path.removesuffix(".j2"): text.replace(port, "8997:80") for path, text in rendered.items()}
    return bundle(**moved)


def bundle(**texts: str) -> tuple[StackFile, ...]:
    return tuple(StackFile(path, Secret.of(text)) for path, text in sorted(texts.items()))


def environment(host: str, kind: str, entry: str, files: tuple[StackFile, ...], **changed: object) -> Environment:
    if not HTTPD.exists():
        pytest.skip(f"no {HTTPD}: run `novafleet lab up`")
    digest = hashlib.sha256(b"".join(file.content.reveal() for file in files)).hexdigest()
    archive = Artifact(path=str(HTTPD), sha256=hashlib.sha256(HTTPD.read_bytes()).hexdigest())
    stack = Stack(
        "app", host, "nfstk-app", kind, entry, files, digest, images={REFERENCE: archive}, ready=(HEALTHY,), source=HERE
    )
    return Environment("nfstk", HERE, stacks={"app": replace(stack, **changed)})  # type: ignore[arg-type]


async def up(lab: Bench, wanted: Environment) -> tuple[str, ...]:
    """Bring it up, gates and all; what was planned."""
    _, changes = await lab.apply(wanted, image.plan_up, plan_up)
    return tuple(f"{change.change.value} {change.address} {change.impact.value}" for change in changes)


async def clean(lab: Bench, wanted: Environment, engine: str) -> None:
    await lab.apply(wanted, plan_down, options=VOLUMES)
    left = await lab.sh(
        '"$1" ps -aq --filter label=com.docker.compose.project=nfstk-app; "$1" volume ls -q | grep nfstk; '
        '"$1" network ls | grep nfstk; cd / && ls -d var/lib/novafleet/stacks/nfstk* etc/containers/systemd/nfstk*',
        engine,
    )
    assert left == ""


CASES = {
    "docker-compose": ("kvm2", "docker", "compose", "compose.yaml", lambda: sample("edge", "8080:80")),
    "podman-compose": ("kvm1", "podman", "compose", "compose.yaml", lambda: sample("metrics", "9100:80")),
    "pod": ("kvm1", "podman", "kube", "pod.yaml", lambda: bundle(**{"pod.yaml": POD})),
    "quadlet": ("kvm2", "podman", "quadlet", "", lambda: bundle(**{"nfstkweb.container": QUADLET})),
}


@pytest.mark.parametrize("case", CASES)
async def test_up_noop_drift_change_down(case: str) -> None:
    host, engine, kind, entry, files = CASES[case]
    async with bench(host) as lab:
        if kind == "kube" and not await lab.sh("command -v catatonit"):
            pytest.skip(f"{host} has no catatonit, which podman's pods need")
        wanted = environment(host, kind, entry, files())
        await lab.apply(wanted, plan_down, options=VOLUMES)
        try:
            assert any("+ stack.app" in each for each in await up(lab, wanted))
            assert await up(lab, wanted) == ()
            ids = await lab.sh('"$1" ps -q --filter label=com.docker.compose.project=nfstk-app', engine)
            assert ids

            await lab.sh('"$1" rm -f $2', engine, ids.split()[0])
            assert await up(lab, wanted) == ("~ stack.app live",)
            assert await up(lab, wanted) == ()

            stack = wanted.stacks["app"]
            changed = replace(stack, digest="changed", files=(*stack.files, StackFile("note.txt", Secret.of("new"))))
            assert await up(lab, replace(wanted, stacks={"app": changed})) == (f"~ stack.app {Impact.RECREATE}",)
            assert await up(lab, replace(wanted, stacks={"app": changed})) == ()
        finally:
            await clean(lab, wanted, engine)


async def test_a_start_that_fails_says_why_and_is_planned_again() -> None:
    text = "services: {web: {image: localhost/novafleet/absent:9, pull_policy: never}}"
    async with bench("kvm2") as lab:
        wanted = environment("kvm2", "compose", "c.yaml", bundle(**{"c.yaml": text}), images={}, ready=())
        try:
            with pytest.raises(StackError) as caught:
                await up(lab, wanted)
            assert caught.value.code == "NF-STK-004"
            assert "absent" in caught.value.cause
            [change] = plan_up(wanted, await lab.observe(), PlanOptions())
            assert change.reasons[0].text == "an earlier start did not finish"
        finally:
            await clean(lab, wanted, "docker")


async def test_a_gate_names_the_container_that_is_not_healthy() -> None:
    text = """
services:
  web:
    image: localhost/novafleet/httpd:1
    healthcheck: {test: [CMD, "false"], interval: 1s, retries: 1}
"""
    gate = Gate(GateKind.COMPOSE, timeout=6.0, interval=0.2, source=Location("env.yml", 9))
    async with bench("kvm2") as lab:
        wanted = environment("kvm2", "compose", "c.yaml", bundle(**{"c.yaml": text}), ready=(gate,))
        try:
            with pytest.raises(GateError, match=r"nfstk-app-web-1 is unhealthy") as caught:
                await up(lab, wanted)
            assert str(caught.value.where) == "env.yml:9"
        finally:
            await clean(lab, wanted, "docker")
