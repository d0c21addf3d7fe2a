"""Stacks whose bundle changes on real engines: what left it ends, what it builds is built anew."""

from __future__ import annotations

import pytest

from novafleet.capability.stack.plan import plan_down
from tests.lab.slices import bench
from tests.lab.test_stack import POD, VOLUMES, bundle, clean, environment, up

pytestmark = pytest.mark.lab

QUADLET = """
[Container]
Image=localhost/novafleet/httpd:1
Exec=httpd -f -p 80 -h /srv/www
Network=nfstkback.network
Volume=nfstkdata.volume:/data
EnvironmentFile=/etc/containers/systemd/nfstk-app/.env

[Install]
WantedBy=multi-user.target
"""
UNITS = {
    "nfstkone.container": QUADLET,
    "nfstktwo.container": QUADLET,
    "nfstkback.network": "[Network]\n",
    "nfstkdata.volume": "[Volume]\n",
    ".env": "TOKEN=hush\n",
}
PODS = (("nfstk-one", "8995"), ("nfstk-two", "8996"))
NAMES = '"$1" ps --filter label=com.docker.compose.project=nfstk-app --format "{{.Names}}" | sort'
FAILED = 'systemctl --failed --plain --no-legend "nfstk*"'
ACTIVE = 'for unit in "$@"; do systemctl is-active "$unit"; done'
BUILT = """
services:
  web: {build: ., image: "nfstk/built:1", command: [sleep, "300"], init: true}
"""


async def test_quadlets_that_leave_the_bundle_are_stopped_and_networks_made_again() -> None:
    async with bench("kvm2") as lab:
        both = environment("kvm2", "quadlet", "", bundle(**UNITS), ready=())
        one = {name: text for name, text in UNITS.items() if name != "nfstktwo.container"}
        await lab.apply(both, plan_down, options=VOLUMES)
        try:
            await up(lab, both)
            token = '"$1" exec systemd-nfstkone sh -c "echo \\$TOKEN"; stat -c %a /etc/containers/systemd/nfstk-app'
            assert await lab.sh(token, "podman") == "hush\n700"

            await up(lab, environment("kvm2", "quadlet", "", bundle(**one), ready=()))
            assert await lab.sh(NAMES, "podman") == "systemd-nfstkone"
            assert await lab.sh(ACTIVE, "nfstkone.service", "nfstktwo.service") == "active\ninactive"

            await lab.apply(both, plan_down, options=VOLUMES)
            assert await lab.sh(FAILED) == ""
            assert await lab.sh(ACTIVE, "nfstkback-network.service", "nfstkdata-volume.service") == "inactive\ninactive"
            await up(lab, both)
            assert await lab.sh(NAMES, "podman") == "systemd-nfstkone\nsystemd-nfstktwo"
        finally:
            await clean(lab, both, "podman")


async def test_a_pod_that_leaves_the_file_is_removed() -> None:
    async with bench("kvm1") as lab:
        first, second = (POD.replace("nfstk-pod", name).replace("8999", port) for name, port in PODS)
        both = environment("kvm1", "kube", "pods.yaml", bundle(**{"pods.yaml": f"{first}---\n{second}"}), ready=())
        await lab.apply(both, plan_down, options=VOLUMES)
        try:
            await up(lab, both)
            pods = 'podman pod ps --format "{{.Name}}" | grep nfstk | sort'
            assert await lab.sh(pods) == "nfstk-one\nnfstk-two"
            one = environment("kvm1", "kube", "pods.yaml", bundle(**{"pods.yaml": first}), ready=())
            await up(lab, one)
            assert await lab.sh(pods) == "nfstk-one"
            assert await up(lab, one) == ()
        finally:
            await clean(lab, both, "podman")


async def test_an_image_of_the_bundle_is_built_anew_when_its_dockerfile_changes() -> None:
    async with bench("kvm2") as lab:
        files = {"compose.yaml": BUILT, "Dockerfile": "FROM localhost/novafleet/httpd:1\nRUN echo %s >/word\n"}

        def said(word: str) -> dict[str, str]:
            return {**files, "Dockerfile": files["Dockerfile"] % word}

        first = environment("kvm2", "compose", "compose.yaml", bundle(**said("old")), ready=())
        await lab.apply(first, plan_down, options=VOLUMES)
        try:
            await up(lab, first)
            word = '"$1" exec nfstk-app-web-1 cat /word'
            assert await lab.sh(word, "docker") == "old"
            await up(lab, environment("kvm2", "compose", "compose.yaml", bundle(**said("new")), ready=()))
            assert await lab.sh(word, "docker") == "new"
        finally:
            await clean(lab, first, "docker")
            await lab.sh('"$1" rmi -f nfstk/built:1', "docker")
