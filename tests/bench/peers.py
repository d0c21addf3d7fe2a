"""How peers reach the lab's hosts: the same key and the same known hosts as NovaFleet."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from novafleet.lab.place import Place
from tests.bench.program import in_parallel, peer

HOSTS = {"kvm1": "172.31.250.11", "kvm2": "172.31.250.12", "kvm3": "172.31.250.13"}
LAB = Place.default()
LIST = "virsh -q -c qemu:///system list --all"
DUMP_ALL = """
for name in $(virsh -q -c qemu:///system list --all --name); do
  virsh -q -c qemu:///system dumpxml "$name"
done
"""
SSH = """\
#!/bin/sh
exec {ssh} -F none -i "{lab.key}" -o IdentitiesOnly=yes -o UserKnownHostsFile="{lab.known_hosts}" "$@"
"""
KCLI = "{name}: {{type: kvm, host: {address}, user: root, protocol: ssh, pool: default}}\n"


def reaching(home: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """``environment`` in which ``ssh`` knows the lab, and kcli and ``virsh -c qemu+ssh`` by it."""
    programs = home / "peers"
    programs.mkdir()
    wrapper = programs / "ssh"
    wrapper.write_text(SSH.format(ssh="/usr/bin/ssh", lab=LAB))
    wrapper.chmod(0o700)
    settings = home / ".kcli" / "config.yml"
    settings.parent.mkdir()
    clients = "".join(KCLI.format(name=name, address=address) for name, address in HOSTS.items())
    settings.write_text(f"default: {{client: {next(iter(HOSTS))}}}\n{clients}")
    return {**environment, "HOME": str(home), "PATH": f"{programs}{os.pathsep}{environment['PATH']}"}


def over_ssh(script: str, environment: Mapping[str, str]) -> None:
    """One script on every host at once, each by its own ssh."""
    in_parallel([("ssh", f"root@{address}", script) for address in HOSTS.values()], environment)


def kcli_list() -> Sequence[str] | None:
    """kcli's listing of all hosts."""
    kcli = peer("kcli")
    return (kcli, "-C", ",".join(HOSTS), "list", "vm") if kcli else None
