"""What ``ansible_ssh_common_args`` and its siblings say that a connection of ours needs to know."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

_WITH_VALUE = frozenset("BbcDEeFIiJLlmOopQRSWw")
"""OpenSSH's options that take a value (ssh(1), 10.0)."""
_OF_THE_JUMP = frozenset("iFo")
"""What belongs with the jump host, in the inventory or in ~/.ssh/config."""
_OPTION_OF_FLAG = {"J": "proxyjump", "i": "identityfile", "l": "user", "p": "port"}


@dataclass(frozen=True, slots=True)
class SshArguments:
    """Options by lower-case name, the first one given winning as in ssh; ``problem`` says why the text is unusable.

    ``ignored`` is what ssh would act upon and we do not.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    ignored: tuple[str, ...] = ()


@lru_cache(maxsize=1024)
def parse(text: str) -> SshArguments:
    """The options of a line of ssh arguments. A ProxyCommand of the form ``ssh -W %h:%p BASTION`` is its ProxyJump."""
    try:
        words = shlex.split(text)
    except ValueError as exc:
        return SshArguments(problem=str(exc))
    options: dict[str, str] = {}
    for name, value in _options(words):
        options.setdefault(name, value)
    ignored = tuple(f"-F {value}" for flag, value in _parts(words) if flag == "F")
    command = options.pop("proxycommand", "none")
    if "proxyjump" in options or command.lower() == "none":
        return SshArguments(options, ignored=ignored)
    jump, dropped = _jump_of(command)
    if not jump:
        return SshArguments(problem=f"the ProxyCommand {command!r} is not of the form 'ssh -W %h:%p BASTION'")
    return SshArguments({**options, "proxyjump": jump}, ignored=(*ignored, *dropped))


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    for flag, value in _parts(words):
        if flag == "o":
            name, _, text = re.sub(r"\s*=\s*|\s+", "=", value.strip(), count=1).partition("=")
            yield name.lower(), text.strip('"')
        elif flag in _OPTION_OF_FLAG:
            yield _OPTION_OF_FLAG[flag], value


def _parts(words: list[str]) -> Iterator[tuple[str, str]]:
    """``(letter, value)`` of each flag that takes a value, ``("", word)`` of each operand."""
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            yield "", word
            continue
        for index, letter in enumerate(word[1:], 2):
            if letter in _WITH_VALUE:
                yield letter, word[index:] or next(rest, "")
                break


def _jump_of(command: str) -> tuple[str, tuple[str, ...]]:
    """``user@bastion:port`` of ``ssh -W %h:%p -q -p port user@bastion``, and what that leaves out; else ""."""
    try:
        program, *words = shlex.split(command)
    except ValueError:
        return "", ()
    parts = list(_parts(words))
    flags = dict(parts)
    targets = [word for flag, word in parts if not flag]
    if program.rpartition("/")[2] != "ssh" or flags.get("W") not in ("%h:%p", "[%h]:%p") or len(targets) != 1:
        return "", ()
    login = f"{flags['l']}@" if "l" in flags else ""
    port = f":{flags['p']}" if "p" in flags else ""
    dropped = tuple(f"-{flag} {value} of {targets[0]}" for flag, value in parts if flag in _OF_THE_JUMP)
    return f"{login}{targets[0]}{port}", dropped
