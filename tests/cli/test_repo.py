"""``repo`` and the keeping of backups as a user meets them, in a directory."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from novafleet.app.repository import key_source, open_repository
from novafleet.cli.main import app
from novafleet.errors import ConfigError
from novafleet.objectstore.directory import LocalFiles
from tests.unit.repository.disks import BLOCK, StillClock, snapshot_of

KEY = ["--key-file", "key"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert call("repo", "init", "repo", *KEY)["new_key"] == "key"
    return tmp_path


def call(*words: str, status: int = 0) -> Any:
    done = CliRunner().invoke(app, [*words, "-o", "json"])
    assert done.exit_code == status, done.output
    return json.loads(done.stdout)


def back_up(place: Path, fill: int) -> str:
    async def work() -> str:
        async with (
            open_repository(str(place / "repo"), key_source(place / "key")) as repository,
            repository.backup(StillClock()) as backup,
        ):
            disk = await backup.disk(1 << 20)
            await disk.data(0, bytes([fill]) * BLOCK)
            root, _ = await disk.finish(1 << 20)
            return (await backup.commit(snapshot_of(root, 1 << 20, at=float(fill)))).id

    return asyncio.run(work())


def test_a_new_repository_is_private_and_clean(place: Path) -> None:
    assert (place / "key").stat().st_mode & 0o777 == 0o600
    assert len((place / "key").read_bytes()) == 32
    empty = {"clean": True, "snapshots": 0, "packs": 0, "bytes_read": 0, "damage": []}
    assert call("repo", "check", "repo", *KEY) == empty
    assert call("repo", "init", "repo", *KEY, status=1)["errors"][0]["code"] == "NF-REPO-003"


def test_where_one_is_nothing_is_made(place: Path) -> None:
    assert call("repo", "init", "repo", "--key-file", "new", status=1)["errors"][0]["code"] == "NF-REPO-003"
    assert not (place / "new").exists(), "a key that opens nothing would be taken for the repository's"
    (place / "begun").mkdir()
    (place / "begun" / "replica").write_text("{}")
    error = call("repo", "init", "begun", *KEY, status=1)["errors"][0]
    assert (error["code"], error["what"]) == ("NF-REPO-003", "the beginning of a replica is here")
    call("repo", "copy", "repo", "begun")
    assert call("repo", "info", "begun", *KEY)["replica"]


def test_the_recovery_sheet_opens_it(place: Path) -> None:
    done = CliRunner().invoke(app, ["repo", "key", "sheet", "repo", *KEY, "--to", "sheet"])
    assert done.exit_code == 0, done.output
    sheet = (place / "sheet").read_text()
    code = next(line.split()[1] for line in sheet.splitlines() if line.startswith("Code"))
    (place / "code").write_text(code.lower())
    assert call("repo", "info", "repo", "--passphrase", "file:code")["keys"] == 2
    (place / "code").write_text(code[:-1] + ("A" if code[-1] != "A" else "B"))
    assert call("repo", "info", "repo", "--passphrase", "file:code", status=1)["errors"][0]["code"] == "NF-REPO-007"


def test_a_passphrase_goes_before_the_key_file_of_the_environment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "words").write_text("correct horse\n")
    call("repo", "key", "add", "repo", *KEY, "--new-passphrase", "file:words")
    monkeypatch.setenv("NOVAFLEET_KEY_FILE", "lost")
    assert call("repo", "info", "repo", "--passphrase", "file:words")["keys"] == 2
    assert call("backup", "ls", "--repo", "repo", "--passphrase", "file:words")["snapshots"] == []
    both = ["--passphrase", "file:words", *KEY]
    assert call("repo", "info", "repo", *both, status=2)["errors"][0]["code"] == "NF-REPO-041"


def test_a_sheet_that_cannot_be_written_leaves_no_key(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ConfigError("the file cannot be made", code="NF-REPO-042")

    monkeypatch.setattr("novafleet.app.repo.write_secret", refuse)
    done = CliRunner().invoke(app, ["repo", "key", "sheet", "repo", *KEY, "--to", "sheet"])
    assert (done.exit_code, call("repo", "info", "repo", *KEY)["keys"]) == (2, 1)
    error = call("repo", "init", "other", *KEY, "--sheet", "none/sheet", status=2)["errors"][0]
    assert error["code"] == "NF-REPO-042"
    assert not (place / "other").exists()


def test_a_key_is_rotated_and_the_last_one_stays(place: Path) -> None:
    done = call("repo", "key", "rotate", "repo", *KEY, "--new-key-file", "new", "--label", "2027")
    assert (done["new_key"], done["added"]["label"]) == ("new", "2027")
    assert [each["label"] for each in done["removed"]] == ["first"]
    assert call("repo", "info", "repo", *KEY, status=1)["errors"][0]["code"] == "NF-REPO-005"
    slots = call("repo", "key", "ls", "repo")["keys"]
    assert [each["label"] for each in slots] == ["2027"]
    error = call("repo", "key", "rm", slots[0]["id"], "repo", "--key-file", "new", status=1)["errors"][0]
    assert error["code"] == "NF-REPO-016"


def test_the_key_that_is_given_is_not_removed(place: Path) -> None:
    """Nobody knows whether the others open anything: their owners may have lost them."""
    first = call("repo", "key", "ls", "repo")["keys"][0]["id"]
    call("repo", "key", "add", "repo", *KEY, "--new-key-file", "second")
    (place / "second").unlink()
    error = call("repo", "key", "rm", first, "repo", *KEY, status=1)["errors"][0]
    assert error["code"] == "NF-REPO-016"
    assert call("repo", "info", "repo", *KEY)["keys"] == 2


def test_what_an_interrupted_init_left_is_no_key(place: Path) -> None:
    """It would be listed, and the one that opens the repository could be removed beside it."""
    shutil.copytree(place / "repo" / "keys", place / "half" / "keys")
    call("repo", "init", "half", *KEY)
    (slot,) = call("repo", "key", "ls", "half")["keys"]
    assert call("repo", "key", "rm", slot["id"], "half", *KEY, status=1)["errors"][0]["code"] == "NF-REPO-016"
    assert call("repo", "info", "half", *KEY)["keys"] == 1


def test_keys_out_of_pipes_are_rotated(place: Path) -> None:
    """As of ``--key-file <(pass show fleet)``: what was read is gone."""
    ends = [os.pipe() for _ in range(2)]
    for content, (_, end) in zip(((place / "key").read_bytes(), b"n" * 32), ends, strict=True):
        os.write(end, content)
        os.close(end)
    old, new = (f"/dev/fd/{end}" for end, _ in ends)
    done = call("repo", "key", "rotate", "repo", "--key-file", old, "--new-key-file", new)
    assert [each["label"] for each in done["removed"]] == ["first"]
    (place / "new").write_bytes(b"n" * 32)
    assert call("repo", "info", "repo", "--key-file", "new")["keys"] == 1


@pytest.mark.parametrize("words", [["scrub"], ["key", "ls"], ["copy"]], ids=str)
def test_what_needs_no_key_needs_a_repository_it_understands(place: Path, words: list[str]) -> None:
    target = ["target"] if words == ["copy"] else []
    assert call("repo", *words, "absent", *target, status=1)["errors"][0]["code"] == "NF-REPO-002"
    config = place / "repo" / "config"
    config.write_text(config.read_text().replace('"version": 1', '"version": 2'))
    assert call("repo", *words, "repo", *target, status=1)["errors"][0]["code"] == "NF-REPO-004"
    assert not (place / "absent").exists()
    assert not (place / "target").exists()


def test_one_key_must_be_given(place: Path) -> None:
    assert call("repo", "check", "repo", status=2)["errors"][0]["code"] == "NF-REPO-041"
    assert call("repo", "check", *KEY, status=2)["errors"][0]["code"] == "NF-REPO-040"
    error = call("repo", "check", "repo", "--key-file", "~nobody.here/key", status=1)["errors"][0]
    assert error["code"] == "NF-REPO-007"


def test_damage_is_named_and_the_status_is_1(place: Path) -> None:
    made = back_up(place, 7)
    assert call("repo", "check", "repo", *KEY, "--read-data")["bytes_read"] > 0
    for each in (place / "repo/packs").rglob("*"):
        if each.is_file():
            content = bytearray(each.read_bytes())
            content[80] ^= 1
            each.write_bytes(bytes(content))
    done = call("repo", "check", "repo", *KEY, "--read-data", status=1)
    assert not done["clean"]
    assert {each["snapshot"] for each in done["damage"]} == {"", made}
    assert not call("repo", "scrub", "repo", status=1)["clean"]
    done = call("repo", "repair", "repo", *KEY, "--read-data", status=1)
    assert [each["snapshot"] for each in done["lost"]] == [made]


def test_what_a_disk_does_not_give_back_is_damage_like_any_other(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = [back_up(place, fill) for fill in (1, 2)]
    read, bad = LocalFiles.read, {f"snapshots/{second}"}

    def reads(self: LocalFiles, path: str, offset: int, length: int | None) -> bytes:
        if path in bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(self, path, offset, length)

    monkeypatch.setattr(LocalFiles, "read", reads)
    assert [each["id"] for each in call("backup", "ls", "--repo", "repo", *KEY, status=1)["snapshots"]] == [first]
    bad |= {str(each.relative_to(place / "repo")) for each in (place / "repo/packs").glob("??/*")}
    done = call("repo", "check", "repo", *KEY, "--read-data", status=1)
    assert {each["snapshot"] for each in done["damage"]} == {"", first, second}
    assert all("Input/output error" in each["what"] for each in done["damage"])
    assert len(call("repo", "scrub", "repo", status=1)["damaged"]) == len(bad) - 1


def test_forgetting_undoing_holding_and_pruning(place: Path) -> None:
    first, second, third = [back_up(place, fill) for fill in (1, 2, 3)]
    repo = ["--repo", "repo", *KEY]
    call("backup", "hold", first, *repo, "--reason", "audit")
    dry = call("backup", "prune", *repo, "--keep-last", "1", "--dry-run")
    verdicts = {each["id"]: (each["keep"], each["reasons"]) for each in dry["snapshots"]}
    assert verdicts == {
        third: (True, ["last", "the newest of its VM"]),
        second: (False, []),
        first: (True, ["hold: audit"]),
    }
    assert call("backup", "forget", first, *repo, status=1)["errors"][0]["code"] == "NF-GUARD-010"
    call("backup", "release", first, *repo)
    call("backup", "forget", first, *repo)
    assert [each["id"] for each in call("backup", "forget", "--trash", *repo)["trash"]] == [first]
    assert call("backup", "forget", "--undo", first, *repo)["back"] == [first]
    done = call("backup", "prune", *repo, "--keep-last", "1", "--grace", "0")
    assert done["deleted_bytes"] > 0
    assert call("repo", "info", "repo", *KEY)["snapshots"] == 1
    assert call("repo", "check", "repo", *KEY, "--read-data")["clean"]


def test_a_damaged_snapshot_hides_no_other_and_can_be_forgotten(place: Path) -> None:
    first, second = [back_up(place, fill) for fill in (1, 2)]
    repo = ["--repo", "repo", *KEY]
    path = place / "repo/snapshots" / first
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    for words in (["backup", "ls", *repo], ["repo", "ls", "repo", *KEY]):
        listed = call(*words, status=1)
        assert [each["id"] for each in listed["snapshots"]] == [second]
        assert [(each["code"], first in each["where"]) for each in listed["errors"]] == [("NF-REPO-010", True)]
    for more in (["--dry-run"], []):
        done = call("backup", "forget", first, *repo, *more)
        assert [(each["id"], each["keep"], each["vm"]) for each in done["snapshots"]] == [(first, False, "")]
    assert call("backup", "ls", *repo)["errors"] == []


def test_bringing_back_is_never_dry(place: Path) -> None:
    first, _ = [back_up(place, fill) for fill in (1, 2)]
    repo = ["--repo", "repo", *KEY]
    call("backup", "forget", first, *repo)
    refused = call("backup", "forget", "--undo", first, "--dry-run", *repo, status=2)
    assert refused["errors"][0]["code"] == "NF-BAK-040"
    assert len(call("backup", "forget", "--trash", *repo)["trash"]) == 1


def test_where_no_repository_can_be_made(place: Path) -> None:
    (place / "file").write_text("x")
    for path in ("file", "file/below", "/proc/x"):
        error = call("repo", "init", path, "--key-file", "new", status=1)["errors"][0]
        assert (error["code"], error["what"]) == ("NF-STORE-011", "there can be no directory for objects here")
    assert call("repo", "copy", "repo", "file", status=1)["errors"][0]["code"] == "NF-STORE-011"
    assert call("repo", "init", "other", "--cell", "300KiB", *KEY, status=2)["errors"][0]["code"] == "NF-CFG-005"
    assert not (place / "other").exists()
    assert not (place / "new").exists()


def test_only_copying_writes_to_a_replica(place: Path) -> None:
    first, second = [back_up(place, fill) for fill in (1, 2)]
    call("repo", "copy", "repo", "replica")
    repo = ["--repo", "replica", *KEY]
    for words in (["forget", first], ["prune", "--keep-last", "1"], ["prune"], ["hold", first], ["release", first]):
        assert call("backup", *words, *repo, status=1)["errors"][0]["code"] == "NF-REPO-036", words
    assert [each["id"] for each in call("backup", "ls", *repo)["snapshots"]] == [first, second]


def test_a_copy_needs_nothing_that_reading_does_not(place: Path) -> None:
    made = back_up(place, 5)
    for name in ("reader.py", "readme.txt", "reserve"):
        (place / "repo" / name).unlink()
    assert call("repo", "copy", "repo", "replica")["snapshots"] == [made]
    assert call("repo", "check", "replica", *KEY, "--read-data")["clean"]


def test_a_copy_needs_no_key(place: Path) -> None:
    made = back_up(place, 5)
    assert call("repo", "copy", "repo", "replica")["snapshots"] == [made]
    assert call("repo", "copy", "repo", "replica")["snapshots"] == []
    assert call("repo", "check", "replica", *KEY, "--read-data")["clean"]
    stats = call("repo", "stats", "replica", *KEY)
    assert (stats["snapshots"], stats["mapped"]) == (1, BLOCK)
