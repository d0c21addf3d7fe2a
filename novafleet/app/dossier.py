"""``migrate --plan``: look at a VM and both hosts, and say what its migration would be like. Changes nothing."""

from __future__ import annotations

from novafleet.app.vmselect import Chosen
from novafleet.app.wiring import World
from novafleet.model.migration import Dossier, Wanted


async def dossier_of(world: World, chosen: Chosen, to: str, wanted: Wanted, *, measure: bool = True) -> Dossier:
    """The dossier of one VM's way to host ``to``, with a fresh job name in its ``move``.

    ``measure`` False leaves link and dirty rate out (a second or two). Raises ConfigError NF-MIG-301 (no such host),
    NF-MIG-302 (it is there already), and the error of a host that cannot be asked; everything else is a finding.
    """
    raise NotImplementedError
