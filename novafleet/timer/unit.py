"""systemd units as data, and their text: every value is escaped as systemd.syntax(7) and systemd.service(5) ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Section = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Task:
    """What a timer starts. ``calendar``: lines of ``OnCalendar=``; ``delay``: seconds it may be put off at random, so
    that not everything starts at once; ``environment`` holds no secrets: those come from ``secrets``, a file of
    ``NAME=VALUE`` lines, and from ``credentials``, files by name."""

    name: str
    description: str
    run: tuple[str, ...]
    settle: tuple[str, ...]
    calendar: tuple[str, ...]
    delay: int
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: str = ""
    credentials: Mapping[str, str] = field(default_factory=dict)


def service(task: Task, *, system: bool) -> str:
    """The unit that does it. ``system``: of the machine rather than of a user."""
    network = ("network-online.target",) if system else ()
    load = "LoadCredentialEncrypted" if system else "LoadCredential"
    unit = [("Description", plain(task.description)), *((key, each) for each in network for key in ("Wants", "After"))]
    body = [
        ("Type", "oneshot"),
        ("ExecStart", command(task.run)),
        # Also after a kill: what is still marked as running is then told as a failure.
        ("ExecStopPost", command(task.settle)),
        ("UMask", "0077"),
        *(("Environment", quoted(f"{key}={value}")) for key, value in task.environment.items()),
        *((("EnvironmentFile", "-" + plain(task.secrets)),) if task.secrets else ()),
        *((load, f"{name}:{plain(path)}") for name, path in task.credentials.items()),
    ]
    return text({"Unit": unit, "Service": body})


def timer(task: Task) -> str:
    """The unit that starts it. A moment that passed while the machine was off is made up for (``Persistent=``)."""
    body = [
        *(("OnCalendar", line) for line in task.calendar),
        ("Persistent", "true"),
        ("RandomizedDelaySec", str(task.delay)),
        ("FixedRandomDelay", "true"),
    ]
    unit = [("Description", plain(task.description))]
    return text({"Unit": unit, "Timer": body, "Install": [("WantedBy", "timers.target")]})


def text(sections: Mapping[str, Section]) -> str:
    """The file."""
    parts = ["\n".join([f"[{name}]", *(f"{key}={value}" for key, value in body)]) for name, body in sections.items()]
    return "\n\n".join(parts) + "\n"


def plain(value: str) -> str:
    """A value that is not split: only specifiers (``%``) mean something, and a line may not end."""
    return "".join(char if char.isprintable() else " " for char in value).replace("%", "%%").rstrip("\\")


def quoted(value: str) -> str:
    """One word of a value that is split: quotes, backslashes and specifiers mean nothing in it."""
    return '"' + "".join(_escaped(char) for char in value) + '"'


def _escaped(char: str) -> str:
    if char < " " or char == "\x7f":
        return f"\\x{ord(char):02x}"
    return {"\\": "\\\\", '"': '\\"', "%": "%%"}.get(char, char)


def command(words: Sequence[str]) -> str:
    """A command line; ``$`` would name a variable in every word but the first."""
    first, *rest = words
    return " ".join([quoted(first), *(quoted(word).replace("$", "$$") for word in rest)])
