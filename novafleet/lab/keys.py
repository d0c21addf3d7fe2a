"""SSH keys of the lab: one that every host lets in, and one of each host, all made here."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from novafleet.errors import LabError
from novafleet.lab.layout import LabHost
from novafleet.lab.place import Place, replace


def ensure(place: Place, hosts: Sequence[LabHost]) -> None:
    """Make the keys that are missing and write known_hosts, also for hosts made earlier. Raises LabError NF-LAB-005."""
    _ensure_key(place.key, "novafleet-lab")
    for host in hosts:
        _ensure_key(place.host_keys / host.name, host.name)
    lines = [
        f"{LabHost(number).address},{name} {public}\n" for number, name, public in sorted(_public_keys(place.host_keys))
    ]
    replace(place.known_hosts, "".join(lines), 0o644)


def _public_keys(folder: Path) -> list[tuple[int, str, str]]:
    found = []
    for path in folder.glob("kvm*.pub"):
        algorithm, blob, *_ = path.read_text().split()
        found.append((int(path.stem.removeprefix("kvm")), path.stem, f"{algorithm} {blob}"))
    return found


def _ensure_key(path: Path, comment: str) -> None:
    public = path.with_name(f"{path.name}.pub")
    if path.exists() and public.exists():
        return
    new = path.with_name(f"{path.name}.new")
    for left in (new, new.with_name(f"{new.name}.pub")):
        left.unlink(missing_ok=True)
    try:
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(new)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as exc:
        cause = getattr(exc, "stderr", b"").decode(errors="replace") or str(exc)
        raise LabError("ssh-keygen made no key", code="NF-LAB-005", where=str(path), cause=cause) from exc
    # The public half first: a pair is only taken for one when its private half is there.
    new.with_name(f"{new.name}.pub").replace(public)
    new.replace(path)
