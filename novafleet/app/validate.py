"""``validate``: everything that can be known without asking a host."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from novafleet.capability.vm import overlay
from novafleet.inventory import load_fleet
from novafleet.model.request import EnvironmentRequest
from novafleet.playbook import load_environment
from novafleet.playbook.moves import check_inventory_policies
from novafleet.playbook.policy import check_inventory
from novafleet.playbook.report import refuse
from novafleet.source.schema import Findings


@dataclass(frozen=True, slots=True)
class Validated:
    """What the file asks for, counted by kind; ``hosts`` by name."""

    environment: str
    file: str
    images: int
    networks: int
    vms: int
    stacks: int
    hosts: tuple[str, ...]


def validate(request: EnvironmentRequest) -> Validated:
    """Load inventory and environment. Raises ConfigError(s) with file:line:column."""
    fleet = load_fleet([Path(path) for path in request.inventory])
    check_inventory(fleet)
    check_inventory_policies(fleet)
    environment = load_environment(
        Path(request.file),
        fleet=fleet,
        overrides=request.variables,
        var_files=tuple(Path(path) for path in request.variable_files),
        env=os.environ,
    )
    findings = Findings()
    for vm in environment.vms.values():
        if vm.xml.strip():
            findings.attempt(lambda vm=vm: overlay.parse(vm.xml, vm.origins.get("xml", vm.source)))  # type: ignore[misc]
    refuse(findings.errors, {})
    return Validated(
        environment.name,
        request.file,
        len(environment.images),
        len(environment.networks),
        len(environment.vms),
        len(environment.stacks),
        environment.hosts(),
    )
