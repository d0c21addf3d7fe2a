"""Cloud-init seeds: what is in them, when they change, and that a stranger can read the image."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from novafleet.model.environment import CloudInit, NetworkMode, Vm
from novafleet.model.secret import Secret
from novafleet.render import cloudinit
from novafleet.render.iso9660 import iso9660
from tests.unit.vm.cases import NETWORKS, environment, nic, vm

SEEDED = vm(cloud_init=CloudInit({"runcmd": ["true"]}), nics=(nic(ip="10.20.0.10"), nic("wan", "office")))


def _files(machine: Vm) -> dict[str, object]:
    files = cloudinit.seed(environment(machine), machine)
    return {name: yaml.safe_load(content.reveal()) for name, content in files.items()}


def test_no_cloud_init_no_seed() -> None:
    assert cloudinit.seed(environment(vm()), vm()) == {}
    assert cloudinit.digest({}) == ""


def test_content() -> None:
    lan, wan = SEEDED.nics.values()
    assert _files(SEEDED) == {
        "meta-data": {"instance-id": SEEDED.uuid, "local-hostname": "db"},
        "user-data": {"hostname": "db", "runcmd": ["true"]},
        "network-config": {
            "version": 2,
            "ethernets": {
                "lan": {
                    "match": {"macaddress": lan.mac},
                    "set-name": "lan",
                    "addresses": ["10.20.0.10/24"],
                    "routes": [{"to": "0.0.0.0/0", "via": "10.20.0.1"}],
                    "nameservers": {"addresses": ["10.20.0.1"]},
                },
                "wan": {"match": {"macaddress": wan.mac}, "set-name": "wan", "dhcp4": True},
            },
        },
    }


def test_the_default_route_leads_out() -> None:
    inside = replace(NETWORKS["lab"], name="inside", mode=NetworkMode.ISOLATED, cidr="10.9.0.0/24", gateway="10.9.0.1")
    machine = vm(cloud_init=CloudInit(), nics=(nic("in", "inside", ip="10.9.0.2"), nic("out", "lab", ip="10.20.0.9")))
    files = cloudinit.seed(environment(machine, networks={**NETWORKS, "inside": inside}), machine)
    found = yaml.safe_load(files["network-config"].reveal())["ethernets"]
    assert "routes" not in found["in"]
    assert found["out"]["routes"] == [{"to": "0.0.0.0/0", "via": "10.20.0.1"}]


def test_secrets_reach_the_seed_and_nothing_else() -> None:
    machine = vm(cloud_init=CloudInit({"password": Secret.of("hunter2")}))
    files = cloudinit.seed(environment(machine), machine)
    assert b"hunter2" in cloudinit.seed_image(files).reveal()
    assert "hunter2" not in repr(files) + cloudinit.digest(files)


@pytest.mark.parametrize(("rerun", "renewed"), [("never", False), ("on-change", True)])
def test_instance_id(rerun: str, renewed: bool) -> None:
    first = vm(cloud_init=CloudInit({"a": "1"}, rerun=rerun))
    second = replace(first, cloud_init=CloudInit({"a": "2"}, rerun=rerun))
    ids = [_files(each)["meta-data"]["instance-id"] for each in (first, second)]  # type: ignore[index]
    assert (ids[0] != ids[1]) is renewed
    digests = {cloudinit.digest(cloudinit.seed(environment(each), each)) for each in (first, second)}
    assert len(digests) == 2


@given(
    st.dictionaries(
        st.sampled_from(("meta-data", "user-data", "network-config", "vendor-data")), st.binary(max_size=9000)
    )
)
def test_the_same_content_is_the_same_image(files: dict[str, bytes]) -> None:
    image = iso9660("cidata", files)
    assert image == iso9660("cidata", dict(reversed(files.items())))
    assert len(image) % 2048 == 0
    assert all(content in image for content in files.values())


@pytest.mark.skipif(not shutil.which("isoinfo"), reason="isoinfo (genisoimage) is not installed here")
@pytest.mark.parametrize("joliet", [False, True])
def test_another_program_reads_it(tmp_path: Path, joliet: bool) -> None:
    image = tmp_path / "seed.iso"
    files = {"user-data": b"#cloud-config\n" * 300, "meta-data": b"instance-id: x\n"}
    image.write_bytes(iso9660("cidata", files))
    options = ("-J",) if joliet else ()
    listing = subprocess.run(["isoinfo", "-i", image, "-d"], check=True, capture_output=True, text=True).stdout
    assert "Volume id: cidata" in listing
    for name, content in files.items():
        inside = f"/{name}" if joliet else f"/{name.upper()}.;1"
        read = subprocess.run(["isoinfo", "-i", image, *options, "-x", inside], check=True, capture_output=True)
        assert read.stdout == content
