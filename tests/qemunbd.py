"""Real ``qemu-nbd`` on a UNIX socket of this machine."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from novafleet.nbd.client import NbdClient, connect_nbd
from novafleet.transport.local import open_local
from tests.sshd import until

NEEDED = [program for program in ("qemu-nbd", "qemu-img", "qemu-io") if not shutil.which(program)]
needs_qemu = pytest.mark.skipif(bool(NEEDED), reason=f"not installed: {', '.join(NEEDED)} (qemu-utils)")


def qemu_img(*words: str | Path) -> str:
    """Run it to the end."""
    return subprocess.run(("qemu-img", *words), check=True, capture_output=True, text=True).stdout


def qemu_io(image: Path, *commands: str) -> None:
    """Write to a qcow2 image as a guest would."""
    words = [word for command in commands for word in ("-c", command)]
    subprocess.run(("qemu-io", "-f", "qcow2", "-d", "unmap", *words, image), check=True, capture_output=True)


@asynccontextmanager
async def serving(image: Path, *options: str, form: str = "qcow2") -> AsyncIterator[Path]:
    """The socket of a ``qemu-nbd`` that exports ``image`` as ``disk``."""
    socket = image.parent / "export.sock"
    words = ("-f", form, "-k", socket, "-x", "disk", "-t", "-e", "4", *options, image)
    process = await asyncio.create_subprocess_exec("qemu-nbd", *words)
    try:
        await until(socket.exists)
        yield socket
    finally:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 20)
        except TimeoutError:  # 7.2 sometimes sleeps on
            process.kill()
            await process.wait()
        socket.unlink(missing_ok=True)


@asynccontextmanager
async def exported(
    image: Path, *options: str, form: str = "qcow2", contexts: Sequence[str] = ("base:allocation",)
) -> AsyncIterator[NbdClient]:
    """A client of such an export."""
    async with serving(image, *options, form=form) as socket:
        client = await connect_nbd(await open_local(str(socket)), "disk", contexts)
        try:
            yield client
        finally:
            await client.close()
