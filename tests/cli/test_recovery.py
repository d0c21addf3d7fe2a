"""docs/guides/disaster-recovery.md, "The laptop is lost": the repository, the sheet, and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from novafleet.app.repository import key_source, open_repository
from novafleet.model.backup import Consistency, DiskCopy, Snapshot
from tests.cli.test_usage import novafleet
from tests.unit.schedule.test_duties import NOW, Clock

CONTENT = os.urandom(200_000)


async def backed_up(repository: Path, key: Path) -> str:
    """A VM with one disk, in the repository."""
    async with open_repository(str(repository), key_source(key)) as opened, opened.backup(Clock()) as backup:
        disk = await backup.disk(1 << 20)
        await disk.data(65536, CONTENT)
        root, stored = await disk.finish(1 << 20)
        copy = DiskCopy("root", "vda", 1 << 20, root, bytes_stored=stored)
        files = {"networks/office.xml": await backup.blob(b"<network/>")}
        made = Snapshot("", "db", "devlab-db", "u", "kvm1", NOW, Consistency.CRASH, {"root": copy}, files)
        return (await backup.commit(made)).id


async def test_the_laptop_is_lost(tmp_path: Path) -> None:
    lost, found = tmp_path / "lost", tmp_path / "found"
    lost.mkdir()
    found.mkdir()
    url = tmp_path / "repository"
    made = novafleet("repo", "init", str(url), "--key-file", "fleet.key", "--sheet", "sheet.txt", cwd=lost)
    assert made.returncode == 0, made.stderr
    snapshot = await backed_up(url, lost / "fleet.key")
    code = re.findall(r"NFRK(?:-\w{4}){9}", (lost / "sheet.txt").read_text())[0]

    (found / "sheet.code").write_text(f"  {code.lower().replace('-', ' ')}\n")
    shown = novafleet("backup", "ls", "--repo", str(url), "--passphrase", "file:sheet.code", "-o", "json", cwd=found)
    assert shown.returncode == 0, shown.stderr
    assert [each["id"] for each in json.loads(shown.stdout)["snapshots"]] == [snapshot]
    added = novafleet(
        "repo", "key", "add", str(url), "--passphrase", "file:sheet.code", "--new-key-file", "new.key", cwd=found
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    old = slot_of(found, url)
    gone = novafleet("repo", "key", "rm", old, str(url), "--key-file", "new.key", cwd=found)
    assert gone.returncode == 0, gone.stderr
    refused = novafleet("backup", "ls", "--repo", str(url), "--key-file", str(lost / "fleet.key"), cwd=found)
    assert "error[NF-REPO-005]" in refused.stderr
    disk = ("restore", snapshot, "--disk", "root", "--to-file", "root.img", "--repo", str(url), "--key-file", "new.key")
    assert novafleet(*disk, cwd=found).returncode == 0
    assert (found / "root.img").read_bytes()[65536 : 65536 + len(CONTENT)] == CONTENT
    without_novafleet(found, url, snapshot)


def slot_of(cwd: Path, url: Path) -> str:
    """The slot of the lost key: the first one that was made."""
    listed = json.loads(novafleet("repo", "key", "ls", str(url), "-o", "json", cwd=cwd).stdout)
    slots = sorted(next(iter(listed.values())), key=lambda slot: slot["created"])
    return str(next(slot["id"] for slot in slots if slot["kind"] == "file"))


def without_novafleet(cwd: Path, url: Path, snapshot: str) -> None:
    """The reader that lies in the repository, and a Python that finds no novafleet."""
    words = [sys.executable, "-P", str(url / "reader.py"), str(url), "--passphrase-file", "sheet.code"]
    for more in (["ls"], ["restore", snapshot, "root", "again.img"], ["files", snapshot, "out"]):
        done = subprocess.run([*words, *more], cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
    assert (cwd / "again.img").read_bytes() == (cwd / "root.img").read_bytes()
    assert (cwd / "out/networks/office.xml").read_bytes() == b"<network/>"
