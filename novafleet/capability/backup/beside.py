"""What is kept of a VM beside its disks: definitions, firmware variables, TPM state, networks."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from novafleet.capability.backup.look import Sight
from novafleet.errors import CommandError, NotFoundError
from novafleet.model.command import Command
from novafleet.ports import ActionContext

TPM = 'cd -- "$1" && exec tar -cf - -- "$2"'
"""Read while the VM runs the state is a best effort: swtpm replaces the file whole, so it is never torn."""


async def files(ctx: ActionContext, sight: Sight) -> Mapping[str, bytes]:
    """By name in the snapshot: ``domain.xml``, ``running.xml``, ``nvram``, ``tpm.tar``, ``networks/NAME.xml``."""
    found = {"domain.xml": sight.domain.xml.encode()}
    if sight.running:
        found["running.xml"] = sight.xml.encode()
    if sight.around.nvram:
        found |= await _nvram(ctx, sight.around.nvram)
    if sight.around.tpm:
        found |= await _output(ctx, "tpm.tar", Command.script(TPM, *posixpath.split(sight.around.tpm), become=True))
    for name in sight.around.networks:
        virsh = ("virsh", "-q", "-c", "qemu:///system", "net-dumpxml", "--inactive", "--network", name)
        found |= await _output(ctx, f"networks/{name}.xml", Command(virsh, become=True))
    return found


async def _nvram(ctx: ActionContext, path: str) -> Mapping[str, bytes]:
    try:
        return {"nvram": await ctx.session.pull(path, become=True)}
    except NotFoundError:  # made from its template at the first start
        return {}


async def _output(ctx: ActionContext, name: str, command: Command) -> Mapping[str, bytes]:
    try:
        return {name: (await ctx.session.run(command, timeout=60.0)).stdout}
    except CommandError as error:
        ctx.progress(f"{name} is not there: {error.cause}")
        return {}
