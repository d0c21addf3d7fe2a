"""The one place where a Command becomes the line a remote login shell reads."""

from __future__ import annotations

import re

from novafleet.errors import CommandError
from novafleet.model.command import Command

RUN_VARIABLE = "NOVAFLEET_RUN"
"""Names a command in its processes' environment, so that exactly these can be killed (see ``KILL``)."""

LINE_LIMIT = 131_071
"""sshd hands the line to the login shell as one argument; Linux allows 128 KiB each (MAX_ARG_STRLEN, execve(2))."""

KILL = """for environ in $(grep -lsF "$1=$2" /proc/[0-9]*/environ); do
  stat=$(cat "${environ%environ}stat" 2>/dev/null) || continue
  stat=${stat##*) } group=${stat#* * } group=${group%% *}
  kill -"$3" -"$group" 2>/dev/null
done
:"""
"""Signals the process group of every process of one command, and so also members that cleared their environment.

sshd and sudo give each command a session of its own (setsid(2)): no foreign process shares its groups. In
``/proc/PID/stat`` the group follows state and parent, which follow the name in parentheses (proc(5)).
"""

_PLAIN = re.compile(r"[A-Za-z0-9_@%+:,./-][A-Za-z0-9_@%+=:,./-]*")
"""Words no shell changes. zsh looks for a command of the name where one begins with ``=``."""
_PIECES = re.compile(r"[^'\\!]+|['\\!]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def remote_line(command: Command, run: str, sudo: tuple[str, ...] = (), word: str = "") -> str:
    """The command as one line for a login shell, quoted word by word.

    ``run`` is an unguessable token put into the environment; ``sudo`` the words that lead to root; ``word`` what the
    login shell prints first.
    Raises CommandError NF-CMD-003 when a shell cannot carry it.
    """
    settings = ("LC_ALL=C", f"{RUN_VARIABLE}={run}", *_settings(command))
    words = ("env", *settings, *_program(command.argv))
    if sudo:
        words = ("env", "LC_ALL=C", f"{RUN_VARIABLE}={run}", *sudo, *words)
    if any("\0" in word for word in words):
        raise CommandError("an argument holds a NUL byte", code="NF-CMD-003", cause=command.argv[0])
    line = f"printf %s {quoted(word)}; exec " if word else "exec "
    line += " ".join(map(quoted, words))
    if len(line.encode()) > LINE_LIMIT:
        raise CommandError(
            f"the command line is {len(line.encode())} bytes, a host takes {LINE_LIMIT}",
            code="NF-CMD-003",
            cause=command.argv[0],
            hints=("send the data through stdin",),
        )
    return line


def quoted(word: str) -> str:
    """The word for a POSIX shell, and for the others people log in with: fish gives backslashes within single quotes a
    meaning, csh exclamation marks, so that these stand outside. (csh takes no new line in quotes, so no script.)"""
    if _PLAIN.fullmatch(word):
        return word
    return "".join(f"\\{piece}" if piece in "'\\!" else f"'{piece}'" for piece in _PIECES.findall(word)) or "''"


def kill_command(run: str, signal: str, *, become: bool) -> Command:
    """The command that signals (``TERM``, ``KILL``) all processes of the command named ``run``."""
    return Command.script(KILL, RUN_VARIABLE, run, signal, become=become)


def _settings(command: Command) -> tuple[str, ...]:
    for name in command.env:
        if not _NAME.fullmatch(name):
            raise CommandError(f"{name!r} is no name for an environment variable", code="NF-CMD-003")
    return tuple(f"{name}={value}" for name, value in command.env.items())


def _program(argv: tuple[str, ...]) -> tuple[str, ...]:
    """A program whose name holds ``=`` or starts with ``-`` would be read by env(1) itself."""
    if not argv:
        raise CommandError("a command needs a program", code="NF-CMD-003")
    if "=" in argv[0] or argv[0].startswith("-"):
        return ("sh", "-c", 'exec "$@"', "novafleet", *argv)
    return argv
