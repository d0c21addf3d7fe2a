"""Where a guest is found: whoever tells first, and who that was."""

from __future__ import annotations

from pathlib import Path

import pytest

from novafleet.execute.probe import address_of
from novafleet.model.fleet import Host
from tests.fakes.processes import ProcessSession

VIRSH = """\
#!/bin/sh
case "$*" in *"--source {source}") ;; *) exit 0 ;; esac; echo " vnet0  52:54:00:00:00:01  ipv4  {address}/24"
exit 0
"""


@pytest.mark.parametrize(
    ("source", "address", "found"),
    [
        ("lease", "10.20.0.174", ("lease", "10.20.0.174")),
        ("arp", "10.20.0.9", ("arp", "10.20.0.9")),
        ("agent", "127.0.0.1", ("", "")),
        ("nobody", "10.20.0.9", ("", "")),
    ],
)
async def test_who_told_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, address: str, found: tuple[str, str]
) -> None:
    virsh = tmp_path / "virsh"
    virsh.write_text(VIRSH.format(source=source, address=address))
    virsh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert await address_of(ProcessSession(Host("kvm1", "192.0.2.1")), "db") == found
