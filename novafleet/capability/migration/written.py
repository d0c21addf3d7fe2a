"""Root's own small files on a host: there as a whole, or not at all, in one round trip."""

from __future__ import annotations

from novafleet.capability.migration.ends import End
from novafleet.model.command import Command

WRITE = """\
umask 077
{ [ -d "${1%/*}" ] || mkdir -p -- "${1%/*}"; } && cat >"$1.part" && [ "$(stat -c %s -- "$1.part")" = "$2" ] &&
  sync -- "$1.part" && mv -f -- "$1.part" "$1" && sync -- "${1%/*}"
"""


async def write(end: End, path: str, content: bytes) -> None:
    """Make the file (0600), and folders (0700) on the way to it; durable when this returns. Raises CommandError, the
    file as it was, when not all of it arrived."""
    command = Command.script(WRITE, path, str(len(content)), become=True, mutates=True)
    await end.session.run(command, stdin=content)
