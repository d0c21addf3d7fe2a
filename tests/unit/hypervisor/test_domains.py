"""Moments of a domain's life that no real one stays in for long enough."""

from __future__ import annotations

from dataclasses import dataclass

import libvirt
import pytest

from novafleet.hypervisor.domains import shutdown
from novafleet.hypervisor.session import Handle


@dataclass
class Ending:
    """A domain of which libvirt says that it is active, and that it is not running (``qemuDomainShutdownFlags``)."""

    state_number: int
    code: int = libvirt.VIR_ERR_OPERATION_INVALID
    text: str = "domain is not running"

    def isActive(self) -> int:  # noqa: N802 - libvirt's name
        return 1

    def state(self) -> list[int]:
        return [self.state_number, 0]

    def controlInfo(self) -> list[int]:  # noqa: N802
        return [libvirt.VIR_DOMAIN_CONTROL_OK, 0, 0]

    def shutdown(self) -> None:
        error = libvirt.libvirtError(self.text)
        error.err = (self.code, 10, self.text, 2, "", None, None, -1, -1)
        raise error

    def lookupByName(self, _name: str) -> Ending:  # noqa: N802 - stands for the connection too
        return self


def test_a_domain_whose_qemu_ends_is_not_asked_again() -> None:
    domain = Ending(libvirt.VIR_DOMAIN_SHUTDOWN)
    shutdown(Handle(libvirt, domain), "vm")


def test_nor_one_whose_qemu_ends_while_it_is_asked() -> None:
    reset = "Unable to read from monitor: Connection reset by peer"
    for state in (libvirt.VIR_DOMAIN_SHUTDOWN, libvirt.VIR_DOMAIN_SHUTOFF):
        shutdown(Handle(libvirt, Ending(state, libvirt.VIR_ERR_SYSTEM_ERROR, reset)), "vm")
    with pytest.raises(libvirt.libvirtError):
        running = Ending(libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_ERR_SYSTEM_ERROR, reset)
        shutdown(Handle(libvirt, running), "vm")


def test_one_that_is_paused_cannot_be_asked() -> None:
    domain = Ending(libvirt.VIR_DOMAIN_PAUSED)
    with pytest.raises(libvirt.libvirtError):
        shutdown(Handle(libvirt, domain), "vm")
