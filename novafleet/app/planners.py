"""What plans each kind of resource, in the order in which its changes are listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from novafleet.capability.image import plan as image
from novafleet.capability.network import plan as network
from novafleet.capability.stack import plan as stack
from novafleet.capability.vm import plan as vm
from novafleet.capability.volume import plan as volume
from novafleet.model.environment import Environment
from novafleet.model.facts import FleetFacts
from novafleet.model.plan import PlanOptions, ResourceChange

Planner = Callable[[Environment, FleetFacts, PlanOptions], tuple[ResourceChange, ...]]
PLANNERS: Mapping[str, tuple[Planner, ...]] = {
    "up": tuple(each.plan_up for each in (image, network, volume, vm, stack)),
    "down": tuple(each.plan_down for each in (stack, vm, volume, network, image)),
}
