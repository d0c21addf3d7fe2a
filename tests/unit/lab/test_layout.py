from __future__ import annotations

import io
import ipaddress
import tarfile
from pathlib import Path

import pytest

from novafleet.errors import LabError
from novafleet.lab import keys, layout
from novafleet.lab.hosts import USERS, HostState, identity
from novafleet.lab.layout import LabHost
from novafleet.lab.place import Place


def test_three_hosts_by_default_of_mixed_flavours() -> None:
    assert [(host.name, host.address, host.flavour, host.engine) for host in layout.hosts(layout.DEFAULT_HOSTS)] == [
        ("kvm1", "172.31.250.11", "bookworm", "podman"),
        ("kvm2", "172.31.250.12", "trixie", "docker"),
        ("kvm3", "172.31.250.13", "trixie", "docker"),
    ]


def test_further_hosts_take_turns() -> None:
    assert [host.flavour for host in layout.hosts(6)[3:]] == ["bookworm", "trixie", "bookworm"]


def test_every_host_is_itself() -> None:
    everyone = layout.hosts(layout.MOST_HOSTS)
    network = ipaddress.ip_network(layout.SUBNET)
    assert all(ipaddress.ip_address(host.address) in network for host in everyone)
    assert len({host.address for host in everyone} | {layout.GATEWAY, layout.MIRROR_ADDRESS}) == len(everyone) + 2
    assert len({host.machine_id for host in everyone}) == len(everyone)
    assert all(len(host.machine_id) == 32 for host in everyone)


@pytest.mark.parametrize("count", [0, -1, layout.MOST_HOSTS + 1])
def test_a_lab_has_limits(count: int) -> None:
    with pytest.raises(LabError, match="hosts"):
        layout.hosts(count)


def test_container_names_lead_back_to_hosts() -> None:
    assert layout.of_container(LabHost(12).container) == LabHost(12)
    for other in (layout.MIRROR, "kvm1", "novafleet-lab-kvmx", ""):
        assert layout.of_container(other) is None


@pytest.mark.parametrize(("cgroup", "legacy"), [(1, True), (2, False)])
def test_old_control_groups_are_asked_for_only_where_they_are(cgroup: int, legacy: bool) -> None:
    arguments = layout.create_arguments(LabHost(2), "image", cgroup=cgroup, devices=())
    assert any("unified_cgroup_hierarchy=0" in word for word in arguments) is legacy
    assert arguments[-1] == "image"
    assert "--privileged" not in arguments


def test_devices_are_passed_only_when_they_are_there() -> None:
    assert "/dev/kvm" in layout.create_arguments(LabHost(1), "image", cgroup=2, devices=["/dev/kvm"])
    assert "/dev/kvm" not in layout.create_arguments(LabHost(1), "image", cgroup=2, devices=())


def test_the_storage_that_hosts_share_is_one_volume() -> None:
    mounts = [set(layout.create_arguments(LabHost(n), "image", cgroup=1, devices=())) for n in (1, 2)]
    shared = {word for word in mounts[0] & mounts[1] if word.startswith(layout.NAME) and ":" in word}
    assert shared == {f"{layout.SHARED_VOLUME}:/srv/shared"}


def test_a_host_is_ready_when_all_of_it_answers() -> None:
    assert HostState(LabHost(1), "running", ssh="9.2", libvirt="9.0.0", engine="podman 4.3.1").ready
    assert not HostState(LabHost(1), "running", ssh="9.2", libvirt="", engine="podman 4.3.1").ready


def test_keys_are_made_once_and_vouched_for(tmp_path: Path) -> None:
    place = Place(tmp_path / "lab")
    place.make()
    keys.ensure(place, layout.hosts(2))
    first = place.key.read_bytes()
    keys.ensure(place, layout.hosts(1))
    assert place.key.read_bytes() == first
    assert place.key.stat().st_mode & 0o777 == 0o600
    lines = place.known_hosts.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["172.31.250.11,kvm1", "172.31.250.12,kvm2"]


def test_a_key_without_its_other_half_is_made_again(tmp_path: Path) -> None:
    place = Place(tmp_path / "lab")
    place.make()
    keys.ensure(place, layout.hosts(1))
    public = place.key.with_name("id_ed25519.pub")
    public.unlink()
    (place.root / "id_ed25519.new").write_text("left by a killed run")
    keys.ensure(place, layout.hosts(1))
    assert public.read_text().startswith("ssh-ed25519 ")


def test_a_hosts_identity_belongs_to_its_users(tmp_path: Path) -> None:
    place = Place(tmp_path / "lab")
    place.make()
    keys.ensure(place, layout.hosts(1))
    with tarfile.open(fileobj=io.BytesIO(identity(place, LabHost(1)))) as tar:
        entries = {entry.name: entry for entry in tar.getmembers()}
        machine_id = tar.extractfile("etc/machine-id")
        assert machine_id is not None
        assert machine_id.read().decode().strip() == LabHost(1).machine_id
    assert entries["etc/ssh/ssh_host_ed25519_key"].mode == 0o600
    for home, owner in USERS.values():
        entry = entries[f"{home}/.ssh/authorized_keys"]
        assert (entry.uid, entry.mode) == (owner, 0o600)
