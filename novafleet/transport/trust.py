"""Host keys: whose word counts, and what happens to a key nobody vouched for. Only files and data, no SSH.

``known_hosts`` is read as sshd(8) "SSH_KNOWN_HOSTS FILE FORMAT" describes it. NovaFleet writes one file
only, its own; the user's files are never touched.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import fnmatch
import hashlib
import hmac
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from novafleet.errors import NovaFleetError, TrustError
from novafleet.model.fleet import TrustPolicy
from novafleet.transport.target import SshTarget

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public host key: its algorithm (``ssh-ed25519``) and its SSH wire encoding."""

    algorithm: str
    blob: bytes

    @classmethod
    def parse(cls, text: str) -> HostKey:
        """From ``ALGORITHM BASE64 [comment]``. Raises ValueError."""
        algorithm, encoded, *_ = text.split()
        return cls(algorithm, base64.b64decode(encoded, validate=True))

    @property
    def kind(self) -> str:
        """What ssh-keygen -t calls it."""
        return self.algorithm.removeprefix("ssh-").partition("-")[0]

    @property
    def fingerprint(self) -> str:
        """``SHA256:…`` as ssh-keygen -l prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.algorithm} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """What the known_hosts files say about one host."""

    keys: tuple[HostKey, ...] = ()
    authorities: tuple[HostKey, ...] = ()
    revoked: tuple[HostKey, ...] = ()
    places: tuple[str, ...] = ()
    """Where each of ``keys`` stands, as file:line."""
    firm: bool = True
    """Another key than ``keys`` has changed; not so where they are of the name without port, as in ssh."""

    def expected(self) -> tuple[str, ...]:
        """Each known key with its place, as an error shows it."""
        return tuple(
            f"{key.algorithm} {key.fingerprint} ({place})" for key, place in zip(self.keys, self.places, strict=True)
        )


@dataclass(frozen=True, slots=True)
class _Entry:
    marker: str
    patterns: tuple[str, ...]
    key: HostKey
    place: str

    def covers(self, name: str) -> bool:
        """Negated patterns win over all others, as in sshd(8)."""
        found = False
        for pattern in self.patterns:
            if pattern.startswith("!"):
                if _same(pattern[1:], name):
                    return False
            elif _same(pattern, name):
                found = True
        return found


@dataclass(slots=True)
class KnownHosts:
    """The entries of several known_hosts files; plain names are found without looking at the others."""

    exact: dict[str, list[_Entry]] = field(default_factory=dict)
    others: list[_Entry] = field(default_factory=list)

    @classmethod
    def read(cls, files: Iterable[str | Path]) -> KnownHosts:
        """All files that exist, parsed once while unchanged. A line that cannot be read is skipped and logged."""
        return _assembled(tuple((name, *_stamp(name)) for name in map(str, files)))

    def add(self, entry: _Entry) -> None:
        """Index one entry."""
        if any(pattern[0] in "|!" or "*" in pattern or "?" in pattern for pattern in entry.patterns):
            self.others.append(entry)
            return
        for pattern in entry.patterns:
            self.exact.setdefault(pattern.lower(), []).append(entry)

    def of(self, host: str, port: int = 22, *, alias: bool = False) -> KnownKeys:
        """The keys of a host; an entry without port also speaks for other ports, as in ssh; an ``alias`` has none."""
        plain = self._matching(host.lower())
        if port == 22:
            return plain
        own = self._matching(f"[{host}]:{port}".lower())
        return replace(
            own if own.keys else replace(plain, firm=alias),
            authorities=own.authorities + plain.authorities,
            revoked=own.revoked + plain.revoked,
        )

    def _matching(self, name: str) -> KnownKeys:
        entries = [*self.exact.get(name, ()), *(entry for entry in self.others if entry.covers(name))]
        return KnownKeys(
            keys=tuple(entry.key for entry in entries if not entry.marker),
            authorities=tuple(entry.key for entry in entries if entry.marker == "@cert-authority"),
            revoked=tuple(entry.key for entry in entries if entry.marker == "@revoked"),
            places=tuple(entry.place for entry in entries if not entry.marker),
        )


@lru_cache(maxsize=64)
def _assembled(files: tuple[tuple[str, int, int], ...]) -> KnownHosts:
    known = KnownHosts()
    for name, _changed, size in files:
        for entry in _read(Path(name)) if size > 0 else ():
            known.add(entry)
    return known


def _same(pattern: str, name: str) -> bool:
    if not pattern.startswith("|1|"):
        # fnmatch reads [ ] as a set, known_hosts as the brackets of [host]:port.
        return fnmatch.fnmatchcase(name, pattern.lower().replace("[", "[[]"))
    _, _, salt, digest = pattern.split("|")
    expected = hmac.digest(base64.b64decode(salt), name.encode(), "sha1")
    return hmac.compare_digest(expected, base64.b64decode(digest))


def _stamp(name: str) -> tuple[int, int]:
    try:
        status = os.stat(name)  # noqa: PTH116 - at every login, for every file
    except OSError:
        return (0, -1)
    return (status.st_mtime_ns, status.st_size)


def _read(path: Path) -> tuple[_Entry, ...]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as exc:
        log.warning("%s: cannot be read (%s); it vouches for no host", path, exc.strerror)
        return ()
    entries = (_entry(line, f"{path}:{number}") for number, line in enumerate(lines, 1))
    return tuple(entry for entry in entries if entry)


def _entry(line: str, place: str) -> _Entry | None:
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    marker, rest = line.split(None, 1) if line.startswith("@") and " " in line else ("", line)
    try:
        patterns, key = rest.split(None, 1)
        entry = _Entry(marker, tuple(filter(None, patterns.split(","))), HostKey.parse(key), place)
        entry.covers("")
    except (ValueError, binascii.Error):
        log.warning("%s: not a known_hosts line; skipped", place)
        return None
    return entry


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to do with a presented key: go on, and perhaps ``record`` it first."""

    record: bool = False


def judge(label: str, presented: HostKey, known: KnownKeys, policy: TrustPolicy, pinned: str = "") -> Judgement:
    """Decide on a plain host key. Raises TrustError NF-SSH-201 (unknown), 202 (changed) or 203 (revoked).

    ``label`` is the inventory name. Certificates are judged by their authority (``KnownKeys.authorities``).
    """
    if presented in known.revoked:
        raise TrustError("the host key is revoked", code="NF-SSH-203", where=label, cause=presented.fingerprint)
    if policy is TrustPolicy.PINNED or pinned:
        if presented.fingerprint != pinned:
            raise changed(label, presented, (pinned or "no fingerprint in the inventory",))
        return Judgement()
    if presented in known.keys:
        return Judgement()
    if known.keys and known.firm:
        raise changed(label, presented, known.expected())
    if policy is TrustPolicy.ACCEPT_NEW:
        return Judgement(record=True)
    raise unknown(label, presented)


def known_keys(target: SshTarget, own: Path) -> KnownKeys:
    """What may vouch for a target: the files it names, and NovaFleet's ``own``."""
    known = KnownHosts.read(dict.fromkeys((*target.known_hosts, str(own))))
    return known.of(target.host_key_alias or target.host, target.port, alias=bool(target.host_key_alias))


def admit(target: SshTarget, presented: HostKey, known: KnownKeys, own: Path) -> None:
    """Judge the plain host key of a target; one that its policy accepts as new is recorded. Raises as ``judge``."""
    judgement = judge(target.label, presented, known, target.trust, target.fingerprint)
    if judgement.record:
        OwnKnownHosts(own).add(target.host_key_alias or target.host, target.port, presented)


def unknown(label: str, presented: HostKey) -> TrustError:
    """NF-SSH-201 with the command that trusts exactly this key."""
    return TrustError(
        "the host key is not known",
        code="NF-SSH-201",
        where=label,
        cause=f"{presented.algorithm} {presented.fingerprint}",
        hints=(
            f"novafleet host trust -l {label}",
            f"compare it first with `ssh-keygen -lf /etc/ssh/ssh_host_{presented.kind}_key.pub` on the host's console",
        ),
    )


def changed(label: str, presented: HostKey, expected: Sequence[str]) -> TrustError:
    """NF-SSH-202 showing both sides."""
    return TrustError(
        "the host key has changed: a reinstalled host, or someone in between",
        code="NF-SSH-202",
        where=label,
        cause=f"expected {', '.join(expected)}; presented {presented.algorithm} {presented.fingerprint}",
        hints=(f"if the host was reinstalled: novafleet host trust -l {label} --replace",),
    )


def not_verifiable(label: str, cause: str) -> TrustError:
    """NF-SSH-204, or 203: what the library refused by itself, in its words."""
    if "revoked" in cause.lower():
        return TrustError("the host key is revoked", code="NF-SSH-203", where=label, cause=cause)
    return TrustError("the host certificate is not valid", code="NF-SSH-204", where=label, cause=cause)


@dataclass(frozen=True, slots=True)
class OwnKnownHosts:
    """NovaFleet's own known_hosts file: 0600, replaced atomically, one writer at a time."""

    path: Path

    def add(self, host: str, port: int, key: HostKey) -> None:
        """Vouch for a key. An entry for the same host, port and algorithm is replaced."""
        name = host.lower() if port == 22 else f"[{host.lower()}]:{port}"
        try:
            with self._locked():
                kept = [line for line in self._lines() if line.split()[:2] != [name, key.algorithm]]
                self._replace([*kept, f"{name} {key}"])
        except OSError as exc:
            raise NovaFleetError(
                "the host key could not be recorded", code="NF-SSH-206", where=str(self.path), cause=str(exc)
            ) from exc

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.path.with_name(self.path.name + ".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _lines(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    def _replace(self, lines: list[str]) -> None:
        with tempfile.NamedTemporaryFile("w", dir=self.path.parent, prefix=".known_hosts.", delete=False) as new:
            new.writelines(f"{line}\n" for line in lines)
            new.flush()
            os.fsync(new.fileno())
        Path(new.name).replace(self.path)
