"""Shared storage by proof: what is written on one host is read on the other. The same path proves nothing."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence

from novafleet.capability.migration.ends import End
from novafleet.capability.migration.scripts import script
from novafleet.model.command import Command

TIMEOUT = 60.0
READ = 'name=$1; shift; for directory; do echo "$(head -c 200 -- "$directory/$name" 2>/dev/null)"; done'


async def proven(source: End, destination: End, directories: Sequence[str]) -> frozenset[str]:
    """Those of the source's directories that are the same on the destination, at the same path."""
    if not directories:
        return frozenset()
    name, content = f".novafleet-proof-{secrets.token_hex(8)}", secrets.token_hex(16)
    done = asyncio.Event()
    command = script("proof.sh", name, content, *directories)
    async with source.session.stream(command, stdin=_until(done), timeout=TIMEOUT) as writing:
        try:
            async for output in writing:
                if b"ready" in output.data:
                    break
            read = Command.script(READ, name, *directories, become=True)
            told = (await destination.session.run(read, timeout=TIMEOUT)).text.split("\n")
        finally:
            done.set()
        await writing.status()
    return frozenset(path for path, line in zip(directories, told, strict=False) if line == content)


async def _until(done: asyncio.Event) -> AsyncIterator[bytes]:
    """An input that ends when we are done, or when our connection does."""
    await done.wait()
    yield b""
