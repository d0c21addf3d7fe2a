"""What backup programs do with the same disk: NovaFleet and virtnbdbackup on the host, restic and borg with the raw
image on this machine. Each keeps what it stores under one folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from novafleet.repository import keys
from tests.bench.backuplab import FOLDER, HOST, Bench, virtnbd
from tests.bench.backuprun import Took, took
from tests.bench.bench_plan import INVENTORY
from tests.bench.program import call, novafleet

COPY = "nf-bench-copy"
"""What a restored VM is called."""


@dataclass(frozen=True)
class NovaFleet:
    """The program as a person runs it; ``home`` holds repository and key. The lab's key is where HOME says."""

    bench: Bench
    home: Path
    variables: Mapping[str, str]

    def words(self, *words: str) -> tuple[str, ...]:
        """``novafleet -i … WORDS --repo … --key-file …``."""
        where = ("--repo", str(self.home / "repository"), "--key-file", str(self.home / "key"))
        return novafleet("-i", str(INVENTORY), *words, *where)

    def begin(self) -> None:
        """An empty repository."""
        shutil.rmtree(self.home / "repository", ignore_errors=True)
        (self.home / "key").unlink(missing_ok=True)
        keys.new_key_file(self.home / "key")
        where = ("repo", "init", str(self.home / "repository"), "--key-file", str(self.home / "key"))
        call(novafleet("-i", str(INVENTORY), *where), self.variables)

    def backup(self, vm: str, *options: str) -> Took:
        """One VM."""
        return took(self.words("backup", "run", f"{HOST}/{vm}", *options, "-o", "json"), self.variables)

    def full(self, vm: str) -> Took:
        """Into an empty repository."""
        self.begin()
        return self.backup(vm, "--full")

    def restore(self, snapshot: str) -> Took:
        """As another VM on the same host, which is then removed."""
        self.bench.remove(COPY)
        words = self.words("restore", snapshot, "--host", HOST, "--as", COPY, "--no-start", "--yes", "-o", "json")
        try:
            return took(words, self.variables)
        finally:
            self.bench.remove(COPY)


def row(taken: Took) -> dict[str, Any]:
    """The one VM of a run: its snapshot, bytes read and stored."""
    [vm] = json.loads(taken.said)["vms"]
    [disk] = vm["disks"]
    return {"snapshot": vm["snapshot"], "read": disk["bytes_read"], "stored": disk["bytes_stored"]}


@dataclass(frozen=True)
class Virtnbd:
    """virtnbdbackup and virtnbdrestore, of one VM that nobody else backs up; ``compress`` with lz4."""

    bench: Bench
    home: Path
    vm: str
    compress: bool = False

    @property
    def _target(self) -> str:
        return str(self.home / "virtnbdbackup")

    def full(self) -> Took:
        """Into an empty folder; it lets go of its own earlier checkpoints."""
        shutil.rmtree(self._target, ignore_errors=True)
        return self._backup("full")

    def incremental(self) -> Took:
        """What changed since."""
        return self._backup("inc")

    def _backup(self, level: str) -> Took:
        words, variables = virtnbd(self.bench.variables)
        more = ("-z",) if self.compress else ()
        return took(("virtnbdbackup", "-d", self.vm, "-l", level, "-o", self._target, *more, *words), variables)

    def restore(self) -> Took:
        """To a folder of the host, which is then removed."""
        words, variables = virtnbd(self.bench.variables)
        self.bench.on('rm -rf "$1"', f"{FOLDER}/restored")
        try:
            return took(("virtnbdrestore", "-i", self._target, "-o", f"{FOLDER}/restored", *words), variables)
        finally:
            self.bench.on('rm -rf "$1"', f"{FOLDER}/restored")


@dataclass(frozen=True)
class Restic:
    """restic of the raw image."""

    home: Path
    image: Path
    variables: Mapping[str, str]

    @property
    def _known(self) -> dict[str, str]:
        more = {"RESTIC_REPOSITORY": str(self.home / "restic"), "RESTIC_PASSWORD": "bench"}
        return {**self.variables, **more, "RESTIC_CACHE_DIR": str(self.home / "restic-cache")}

    def full(self) -> Took:
        """Into an empty repository."""
        for name in ("restic", "restic-cache"):
            shutil.rmtree(self.home / name, ignore_errors=True)
        call(("restic", "init", "-q"), self._known)
        return self.again()

    def again(self) -> Took:
        """The image as it is now."""
        return took(("restic", "backup", "-q", str(self.image)), self._known)


@dataclass(frozen=True)
class Borg:
    """borg of the raw image."""

    home: Path
    image: Path
    variables: Mapping[str, str]

    @property
    def _known(self) -> dict[str, str]:
        more = {"BORG_REPO": str(self.home / "borg"), "BORG_PASSPHRASE": "bench"}
        return {**self.variables, **more, "BORG_BASE_DIR": str(self.home / "borg-base")}

    def full(self) -> Took:
        """Into an empty repository."""
        for name in ("borg", "borg-base"):
            shutil.rmtree(self.home / name, ignore_errors=True)
        call(("borg", "init", "-e", "repokey-blake2"), self._known)
        return self.again()

    def again(self) -> Took:
        """The image as it is now."""
        return took(("borg", "create", "::{now:%s.%f}", str(self.image)), self._known)
