from __future__ import annotations

import threading
from pathlib import Path

import pytest
import yaml

from novafleet.app import lab
from novafleet.inventory import load_fleet
from novafleet.lab import build, guests, layout
from novafleet.lab.place import Place, replace
from novafleet.lab.progress import Progress

DEADLINE = 10.0
ROOT = Path(__file__).parents[3]


def test_state_is_where_the_base_directory_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere/state")
    assert Place.default().root == Path("/somewhere/state/novafleet/lab")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert Place.default().key == Path.home() / ".local/state/novafleet/lab/id_ed25519"


def test_the_second_of_two_waits_for_the_first(tmp_path: Path) -> None:
    place = Place(tmp_path / "lab")
    order: list[str] = []
    inside, waiting, finish = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with place.locked(lambda: order.append("first waits")):
            inside.set()
            finish.wait(DEADLINE)
            order.append("first ends")

    def second() -> None:
        with place.locked(waiting.set):
            order.append("second works")

    threads = [threading.Thread(target=first)]
    threads[0].start()
    assert inside.wait(DEADLINE)
    threads.append(threading.Thread(target=second))
    threads[1].start()
    assert waiting.wait(DEADLINE)
    finish.set()
    for thread in threads:
        thread.join(DEADLINE)
    assert order == ["first ends", "second works"]


def test_secrets_are_the_owners_alone(tmp_path: Path) -> None:
    place = Place(tmp_path / "lab")
    place.make()
    assert place.root.stat().st_mode & 0o777 == 0o700
    assert place.host_keys.stat().st_mode & 0o777 == 0o700
    assert place.images.stat().st_mode & 0o777 == 0o755


def test_an_unchanged_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace(path, "one")
    before = path.stat().st_ino
    replace(path, "one")
    assert path.stat().st_ino == before
    replace(path, "two")
    assert path.read_text() == "two"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_recipes_digest_follows_content_names_and_modes(tmp_path: Path) -> None:
    script = tmp_path / "recipe" / "sub" / "build.sh"
    script.parent.mkdir(parents=True)
    script.write_text("echo one")
    digests = [build.digest(tmp_path / "recipe")]
    script.write_text("echo two")
    digests.append(build.digest(tmp_path / "recipe"))
    script.chmod(0o755)
    digests.append(build.digest(tmp_path / "recipe"))
    script.rename(script.with_name("other.sh"))
    digests.append(build.digest(tmp_path / "recipe"))
    assert len(set(digests)) == 4
    assert build.digest(tmp_path / "recipe") == digests[-1]


def test_images_name_what_was_built(tmp_path: Path) -> None:
    folder = tmp_path / "mini-0123456789ab"
    folder.mkdir()
    (folder / guests.SUMS).write_text("aa  initrd.img\nbb  mini.qcow2\ncc  vmlinuz\n")
    found = guests.images({"mini": folder})
    url = f"http://{layout.MIRROR_ADDRESS}/mini-0123456789ab"
    assert found == {
        "mini": {
            "kernel": {"url": f"{url}/vmlinuz", "sha256": "cc"},
            "initrd": {"url": f"{url}/initrd.img", "sha256": "aa"},
            "cmdline": guests.CMDLINE,
        },
        "mini-disk": {"url": f"{url}/mini.qcow2", "sha256": "bb", "format": "qcow2"},
    }


def test_the_inventory_of_a_larger_lab(tmp_path: Path) -> None:
    document = yaml.safe_load(lab.inventory(Place(tmp_path), layout.hosts(4)))
    assert list(document["hosts"]) == ["kvm1", "kvm2", "kvm3", "kvm4"]
    assert document["groups"]["kvm"]["children"] == {
        "docker": {"hosts": ["kvm2", "kvm3"]},
        "podman": {"hosts": ["kvm1", "kvm4"]},
    }


def test_a_step_is_said_when_it_begins_and_when_it_ends() -> None:
    said: list[str] = []
    with Progress(said.append).step("building"):
        assert said == ["  building …"]
    assert said[1].startswith("  building: done in 0.")


def test_both_inventories_lead_to_the_same_hosts(tmp_path: Path) -> None:
    generated = tmp_path / "inventory.yml"
    generated.write_text(lab.inventory(Place(Path.home() / ".local/state/novafleet/lab"), layout.hosts(3)))
    ours = load_fleet([ROOT / "inventory" / "lab.yml"])
    theirs = load_fleet([generated])
    assert not ours.notices
    for name, host in theirs.hosts.items():
        usual = ours.hosts[name]
        assert (usual.address, usual.key, usual.known_hosts) == (host.address, host.key, host.known_hosts)
        assert usual.labels["flavour"] == host.labels["flavour"]
    assert (ours.hosts["kvm3"].user, ours.hosts["kvm3"].become.enabled) == ("ops", True)
    assert {name: ours.groups[name].hosts for name in ("kvm", "podman", "docker")} == {
        "kvm": ("kvm1", "kvm2", "kvm3"),
        "podman": ("kvm1",),
        "docker": ("kvm2", "kvm3"),
    }
