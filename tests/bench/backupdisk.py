"""The disk that every backup program reads: 4 GiB, of which 1 GiB is random and 1 GiB compresses, behind a guest that
boots."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import yaml

from tests.bench.peers import LAB
from tests.bench.program import SMALL

MIB = 1 << 20
SIZE = (256 if SMALL else 4096) * MIB
DATA = SIZE // 4
"""Bytes that are random, and as many that compress."""
DIRTY = SIZE // 100 // 65536
"""Pieces of 64 KiB that are 1 %."""
WORDS = (
    "session opened",
    "closed for user root",
    "disk sda read error",
    "retry",
    "domain started",
    "stopped",
    "migrated",
)
UNITS = ("libvirtd", "sshd", "systemd", "kernel", "cron")


def make(path: Path) -> None:
    """A raw, sparse image; always the same but for the guest."""
    subprocess.run(("qemu-img", "convert", "-O", "raw", _guest(), path), check=True, capture_output=True)
    chance = random.Random(7)
    lines = [_line(chance) for _ in range(20_000)]
    with path.open("r+b") as file:
        file.truncate(SIZE)
        file.seek(SIZE // 4)
        for _ in range(DATA // MIB):
            file.write(chance.randbytes(MIB))
        file.seek(SIZE * 5 // 8)
        for _ in range(DATA // MIB):
            file.write(b"".join(chance.choices(lines, k=16_000))[:MIB])


def dirty(path: Path) -> None:
    """New random content in 1 % of it, in pieces of 64 KiB among what is random."""
    with path.open("r+b") as file:
        for place in places():
            file.seek(place)
            file.write(random.randbytes(65536))


def places() -> list[int]:
    """Where these pieces are."""
    chosen = random.Random(13).sample(range(DATA // 65536), DIRTY)
    return [SIZE // 4 + number * 65536 for number in sorted(chosen)]


def _line(chance: random.Random) -> bytes:
    """A line of a log: seven tenths of it go away under zstd."""
    at = f"2026-11-{chance.randrange(1, 31):02}T{chance.randrange(24):02}:{chance.randrange(60):02}"
    words = " ".join(chance.choices(WORDS, k=chance.randrange(4, 12)))
    unit = f"{chance.choice(UNITS)}[{chance.randrange(9999)}]"
    return f"{at} kvm{chance.randrange(40)} {unit}: {words} id={chance.getrandbits(48):012x}\n".encode()


def _guest() -> Path:
    url: str = yaml.safe_load(LAB.images_file.read_text())["images"]["mini-disk"]["url"]
    return LAB.images / url.rsplit("/", 2)[1] / url.rsplit("/", 1)[1]
