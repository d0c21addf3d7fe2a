"""Where the lab keeps what outlives a command: keys, images, the lock. One lab per user."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from novafleet import xdg


@dataclass(frozen=True, slots=True)
class Place:
    """The lab's directory and the files in it."""

    root: Path

    @classmethod
    def default(cls) -> Place:
        """``~/.local/state/novafleet/lab`` (``XDG_STATE_HOME``)."""
        return cls(xdg.state() / "lab")

    @property
    def key(self) -> Path:
        """The private key that every host lets in; its public half is beside it (``.pub``)."""
        return self.root / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.root / "known_hosts"

    @property
    def host_keys(self) -> Path:
        """The hosts' own private keys: made here, so that known_hosts is right before the first connection."""
        return self.root / "host_keys"

    @property
    def images(self) -> Path:
        """What the mirror serves."""
        return self.root / "images"

    @property
    def images_file(self) -> Path:
        """An environment file that defines the images; playbooks include it."""
        return self.root / "images.yml"

    @property
    def inventory(self) -> Path:
        """An inventory of the hosts there are, with absolute paths; ``inventory/lab.yml`` holds the usual three."""
        return self.root / "inventory.yml"

    def make(self) -> None:
        """Create the directories: only their owner may look inside, except the images."""
        for path in (self.root, self.host_keys, self.images):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.images.chmod(0o755)

    @contextmanager
    def locked(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the lab's lock; ``waiting`` is called once when somebody else has it."""
        self.make()
        with (self.root / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def replace(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file whole or not at all; untouched when it already holds ``text``."""
    if path.exists() and path.read_text() == text:
        return
    new = path.with_name(f".{path.name}.new")
    new.touch(mode=mode)
    new.write_text(text)
    new.replace(path)
