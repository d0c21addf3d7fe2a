"""What brings images to a host and removes them. Each action may be repeated at will."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from novafleet.capability.image.deliver import Delivery, deliver, removal
from novafleet.model.environment import Image
from novafleet.model.plan import StepClass
from novafleet.plan import storage
from novafleet.ports import Action, ActionContext, Json, Outcome, Registry


async def fetch(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Bring the files ``args["roles"]`` (disk, kernel, initrd) of ``args["image"]``, or one archive of a stack.

    Raises ImageError NF-IMG-*, SpaceError NF-IMG-006.
    """
    # The pool makes the directory, and makes the files visible to the next observation.
    await ctx.hypervisor.ensure_pool(storage.DEFAULT_POOL, storage.pool_path(ctx.facts, storage.DEFAULT_POOL))
    delivered = [await deliver(ctx, each) for each in _deliveries(ctx, args)]
    return {"files": delivered}


async def remove(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Remove the cached files of ``args["digests"]`` that no volume backs on and no domain boots from."""
    definitions = [domain.xml for domain in await ctx.hypervisor.domains()]
    directories = tuple(sorted({pool.path.rstrip("/") for pool in ctx.facts.pools.values() if pool.path}))
    kept = []
    for sha256 in args["digests"]:
        path = storage.image_path(ctx.facts, sha256)
        if any(path in xml for xml in definitions):
            kept.append(path)
            continue
        done = await ctx.session.run(removal(path, directories or (path.rpartition("/")[0],)))
        if done.text.startswith("used "):
            kept.append(path)
    return {"kept": kept}


def _deliveries(ctx: ActionContext, args: Mapping[str, Json]) -> Iterator[Delivery]:
    if "stack" in args:
        artifact = ctx.environment.stacks[args["stack"]].images[args["image"]]
        yield Delivery(args["image"], artifact, storage.image_path(ctx.facts, artifact.sha256))
        return
    image = ctx.environment.images[args["image"]]
    for role in args["roles"]:
        yield _delivery(ctx, image, role)


def _delivery(ctx: ActionContext, image: Image, role: str) -> Delivery:
    artifact = {"disk": image.disk, "kernel": image.kernel, "initrd": image.initrd}[role]
    assert artifact is not None
    name = image.name if role == "disk" else f"{image.name} ({role})"
    target = storage.image_path(ctx.facts, artifact.sha256)
    return Delivery(name, artifact, target, image.format if role == "disk" else None)


ACTIONS: Registry = {
    "image.fetch": Action(fetch, StepClass.CONVERGENT),
    "image.remove": Action(remove, StepClass.CONVERGENT),
}
