"""What the user's ssh_config says about a host, asked of ``ssh -G``: Include and Match mean what they mean there.

A fork costs about 6 ms, so hosts that no line of the configuration can tell apart share one answer.
"""

from __future__ import annotations

import asyncio
import glob
import logging
import os
import pwd
import shlex
import shutil
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from novafleet.errors import ConfigError, DeadlineError

log = logging.getLogger(__name__)

Settings = Mapping[str, tuple[str, ...]]
"""ssh_config keywords in lower case, each with all its values in order."""

FORKS = 8
ANSWER_TIMEOUT = 10.0
SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
_EXPANDED = ("hostname", "user", "userknownhostsfile", "identityagent")
"""What ``ssh -G`` prints with its tokens replaced."""
DEFAULT_IDENTITIES = tuple(f"~/.ssh/id_{kind}" for kind in ("ed25519", "ecdsa", "rsa"))
WITHOUT_SSH: Settings = {
    "identityfile": DEFAULT_IDENTITIES,
    "userknownhostsfile": ("~/.ssh/known_hosts ~/.ssh/known_hosts2",),
    "globalknownhostsfile": ("/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2",),
}
"""OpenSSH's defaults (ssh_config(5)), for a controller that has no ssh program."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What of a configuration can make two hosts differ."""

    patterns: tuple[str, ...] = ()
    renames: bool = False
    individual: bool = False

    def kin(self, name: str) -> tuple[object, ...]:
        """Equal for hosts that the configuration treats alike."""
        matching = tuple(pattern for pattern in self.patterns if fnmatchcase(name, pattern.lstrip("!")))
        if self.individual or (self.renames and matching):
            return (name,)
        return matching


@lru_cache(maxsize=1024)
def at_home(path: str) -> str:
    """A path of ssh_config with ``~`` expanded. Ours is the home of the passwd entry, as to ssh, whatever HOME says."""
    if path == "~" or path.startswith("~/"):
        return _home() + path[1:]
    return os.path.expanduser(path)  # noqa: PTH111 - Path's raises for an unknown user


def _home() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return str(Path.home())


def survey(config: Path | None) -> Survey:
    """Look over the configuration files, or over the one that ``ssh -F`` would read alone."""
    roots = [config] if config else [Path(at_home("~/.ssh/config")), SYSTEM_CONFIG]
    patterns: list[str] = []
    renames = individual = False
    for keyword, values in (line for root in roots for line in _lines(root)):
        if keyword == "host":
            patterns += [value.lower() for value in values if value != "*"]
        renames = renames or keyword == "hostname"
        individual = individual or keyword in {"match", "canonicalizehostname"} or _tokens(keyword, values)
    return Survey(tuple(patterns), renames, individual)


def _tokens(keyword: str, values: tuple[str, ...]) -> bool:
    return keyword in _EXPANDED and any("%" in value for value in values)


def _lines(path: Path, depth: int = 0) -> Iterator[tuple[str, tuple[str, ...]]]:
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        keyword, values = _words(line)
        if keyword == "include" and depth < 16:
            for included in _included(path, values):
                yield from _lines(included, depth + 1)
        elif keyword:
            yield keyword, values


def _words(line: str) -> tuple[str, tuple[str, ...]]:
    line = line.strip().replace("=", " ", 1)
    if not line or line.startswith("#"):
        return "", ()
    try:
        keyword, *values = shlex.split(line)
    except ValueError:
        keyword, *values = line.split()
    return keyword.lower(), tuple(values)


def _included(path: Path, values: tuple[str, ...]) -> list[Path]:
    base = path.parent if path.parent == SYSTEM_CONFIG.parent else Path(at_home("~/.ssh"))
    found = (glob.glob(str(base / at_home(value))) for value in values)  # noqa: PTH207 - absolute patterns
    return [Path(name) for names in found for name in sorted(names)]


@dataclass(slots=True)
class SshConfig:
    """Answers of ``ssh -G``; one run sees one state of the configuration. ``file`` is ``ssh -F``."""

    file: Path | None = None
    _survey: Survey | None = None
    _told: bool = False
    _answers: dict[object, Settings] = field(default_factory=dict)
    _locks: dict[object, asyncio.Lock] = field(default_factory=dict)
    _forks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(FORKS))

    async def ask(self, name: str, user: str = "", port: int = 0) -> Settings:
        """The settings for ``ssh [-l user] [-p port] name``. Raises ConfigError NF-SSH-121, DeadlineError."""
        self._survey = self._survey or survey(self.file)
        key = (self._survey.kin(name.lower()), user, port)
        async with self._locks.setdefault(key, asyncio.Lock()):
            if key not in self._answers:
                answer = await self._fork(name, user, port)
                self._answers[key] = {k: v for k, v in answer.items() if k != "hostname" or v != (name.lower(),)}
        return self._answers[key]

    async def _fork(self, name: str, user: str, port: int) -> Settings:
        ssh = shutil.which("ssh")
        if ssh is None:
            self._unread()
            return WITHOUT_SSH
        options = (*(("-F", str(self.file)) if self.file else ()), *(("-l", user) if user else ()))
        options += ("-p", str(port)) if port else ()
        async with self._forks:
            return await _query(ssh, *options, name=name)

    def _unread(self) -> None:
        file = self.file or Path(at_home("~/.ssh/config"))
        if not self._told and file.exists():
            log.warning("%s does not count: ssh reads it, and there is no ssh program here", file)
        self._told = True


async def _query(ssh: str, *options: str, name: str) -> Settings:
    process = await asyncio.create_subprocess_exec(
        ssh,
        "-G",
        *options,
        "--",
        name,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C"},
        start_new_session=True,
    )
    try:
        output, complaint = await asyncio.wait_for(process.communicate(), ANSWER_TIMEOUT)
    except TimeoutError as exc:
        raise DeadlineError("`ssh -G` did not answer: a `Match exec` that hangs?", where=name) from exc
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)  # with what a Match exec started: it holds the pipes open
            await process.wait()
    if process.returncode:
        raise ConfigError(
            "ssh does not accept its own configuration",
            code="NF-SSH-121",
            where=name,
            cause=complaint.decode("utf-8", "replace").replace("\r", "").strip(),
            hints=(f"ssh -G {shlex.quote(name)}",),
        )
    return _parse(output.decode("utf-8", "replace"))


def _parse(text: str) -> Settings:
    settings: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        keyword, _, value = line.partition(" ")
        settings[keyword.lower()] = (*settings.get(keyword.lower(), ()), value)
    return settings
