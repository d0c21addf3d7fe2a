"""What runs on hosts, run here: nothing of ours stays, nothing of others goes."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from novafleet.capability.backup.look import script
from tests.qemunbd import needs_qemu, qemu_img

PREFIX = ".nf-restore-0123456789ab-"
UNIT = "nf-restore-0123456789ab"


def sh(name: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one of the scripts; there is no systemd to stop units of."""
    argv = ("sh", "-c", script(name), "novafleet", *map(str, words))
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(each.name for each in folder.iterdir() if each.is_file())


def test_cleaning_takes_what_an_unfinished_restore_left(tmp_path: Path) -> None:
    part, final, other = tmp_path / f"{PREFIX}vda.part", tmp_path / "db.vda.qcow2", tmp_path / "db.vdb.qcow2"
    part.write_text("half")
    final.hardlink_to(part)
    other.write_text("somebody's")
    young, old = tmp_path / ".nf-restore-ffffffffffff-vda.part", tmp_path / ".nf-restore-eeeeeeeeeeee-vda.part"
    young.touch()
    old.touch()
    os.utime(old, (time.time() - 90_000,) * 2)
    (tmp_path / "run").mkdir()
    done = sh("restore_clean.sh", UNIT, tmp_path / "run", tmp_path, PREFIX, final, other)
    assert done.stdout == f"there {other}\n"
    assert names(tmp_path) == [young.name, other.name]
    assert not (tmp_path / "run").exists()


def test_publishing_is_all_or_nothing(tmp_path: Path) -> None:
    parts = [tmp_path / f"{PREFIX}{target}.part" for target in ("vda", "vdb")]
    finals = [tmp_path / name for name in ("a", "b")]
    for part in parts:
        part.write_text(part.name)
    pairs = [word for pair in zip(parts, finals, strict=True) for word in pair]
    finals[1].write_text("somebody's")
    assert sh("restore_publish.sh", *pairs).returncode
    assert names(tmp_path) == [*[part.name for part in parts], "b"]
    assert finals[1].read_text() == "somebody's"
    finals[1].unlink()
    assert sh("restore_publish.sh", *pairs).returncode == 0
    assert [final.read_text() for final in finals] == [part.name for part in parts]


@needs_qemu
def test_exchanging_keeps_what_was_there(tmp_path: Path) -> None:
    triples: list[str | Path] = []
    for target in ("vda", "vdb"):
        final, part = tmp_path / f"{target}.qcow2", tmp_path / f"{PREFIX}{target}.part"
        qemu_img("create", "-q", "-f", "qcow2", final, "1M")
        qemu_img("create", "-q", "-f", "qcow2", part, "2M")
        final.chmod(0o640)
        triples += [part, final, "qcow2"]
    blocked = tmp_path / "vdb.qcow2.before-x"
    blocked.write_text("in the way")
    assert sh("restore_exchange.sh", ".before-x", *triples).returncode == 1
    assert blocked.read_text() == "in the way"
    blocked.unlink()
    missing = tmp_path / f"{PREFIX}vdb.part"
    missing.rename(tmp_path / "aside")
    assert sh("restore_exchange.sh", ".before-x", *triples).returncode == 1
    (tmp_path / "aside").rename(missing)
    assert all("1 MiB" in qemu_img("info", tmp_path / f"{target}.qcow2") for target in ("vda", "vdb"))
    assert not list(tmp_path.glob("*.before-x"))
    qemu_img("create", "-q", "-f", "qcow2", tmp_path / f"{PREFIX}vda.part", "2M")
    assert sh("restore_exchange.sh", ".before-x", *triples).returncode == 0
    for target in ("vda", "vdb"):
        assert "2 MiB" in qemu_img("info", tmp_path / f"{target}.qcow2")
        assert "1 MiB" in qemu_img("info", tmp_path / f"{target}.qcow2.before-x")
        assert (tmp_path / f"{target}.qcow2").stat().st_mode & 0o777 == 0o640


@needs_qemu
def test_an_image_in_use_is_not_exchanged(tmp_path: Path) -> None:
    final, part = tmp_path / "vda.qcow2", tmp_path / f"{PREFIX}vda.part"
    for image in (final, part):
        qemu_img("create", "-q", "-f", "qcow2", image, "1M")
    words = ("qemu-io", "-f", "qcow2", str(final))
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdin
        assert user.stdout
        user.stdin.write(b"write 0 512\n")
        user.stdin.flush()
        user.stdout.readline()
        assert sh("restore_exchange.sh", ".before-x", part, final, "qcow2").returncode == 75
        user.stdin.close()
    assert names(tmp_path) == [part.name, final.name]


def test_tidying_ends_an_exchange_that_was_cut_off(tmp_path: Path) -> None:
    image, kept, part = tmp_path / "vda.qcow2", tmp_path / "vda.qcow2.before-a", tmp_path / f"{PREFIX}vda.part"
    image.write_text("now")
    (tmp_path / "vda.qcow2.before-b").hardlink_to(image)
    kept.write_text("before")
    part.write_text("half")
    sh("restore_tidy.sh", UNIT, tmp_path / "run", PREFIX, "20160", image)
    assert names(tmp_path) == [image.name, kept.name]
