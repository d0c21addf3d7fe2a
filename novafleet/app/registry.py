"""What each verb of a plan does: the actions of every capability, and the gates."""

from __future__ import annotations

from novafleet.capability.host import actions as host
from novafleet.capability.image import actions as image
from novafleet.capability.network import actions as network
from novafleet.capability.snapshot import beforehand
from novafleet.capability.stack import actions as stack
from novafleet.capability.vm import actions as vm
from novafleet.capability.volume import actions as volume
from novafleet.execute import gate
from novafleet.ports import Registry

ACTIONS: Registry = {
    name: action
    for part in (host, image, network, volume, vm, beforehand, stack, gate)
    for name, action in part.ACTIONS.items()
}
