"""What pushes, loads, starts, stops and deletes a stack on its host. Each action may be repeated at will."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from novafleet.capability.stack import bundle
from novafleet.errors import NotFoundError, Retry, StackError
from novafleet.model.command import Command, Completed
from novafleet.model.environment import Stack
from novafleet.model.plan import StepClass
from novafleet.plan import storage
from novafleet.ports import Action, ActionContext, Json, Outcome, Registry

TIMEOUT = 600.0
_DIRECTORIES = """umask 077; mkdir -p -- "$1"; shift
umask 022; for folder do mkdir -p -- "$folder" && chmod a+rx -- "$folder" || exit; done"""
"""What is mounted into containers is read by users of theirs; the way to it on the host is root's."""
_DISCARD = 'cd -- "$1" && shift && rm -f -- "$@"'
_COUNT = '"$1" ps -aq --filter "label=com.docker.compose.project=$2" | wc -l'

_UNPOD = """pods=$(podman pod ps -q --filter "label=com.docker.compose.project=$1")
[ -z "$pods" ] || podman pod rm -f $pods"""
"""``--replace`` leaves pods alone that are no longer in the file."""


async def push(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Write the bundle. The record goes first, without a digest: killed here, the next plan finds the stack."""
    stack = ctx.environment.stacks[args["stack"]]
    root = bundle.directory(stack.project)
    files = bundle.files(stack)
    parents = {f"{root}/{folder}" for file in files for folder in PurePosixPath(file.path).parents if folder.name}
    await ctx.session.run(Command.script(_DIRECTORIES, root, *sorted(parents), become=True, mutates=True))
    before = await _recorded(ctx, root)
    stale = sorted(set(before) - {file.path for file in files})
    await _record(ctx, stack, args["engine"], "", stale)
    changed = [file.path for file in files if await _push(ctx, root, file.path, file.content.reveal(), file.mode)]
    if stale:
        await ctx.session.run(Command.script(_DISCARD, root, *stale, become=True, mutates=True))
    return {"changed": changed, "removed": stale}


async def _push(ctx: ActionContext, root: str, path: str, content: bytes, mode: int) -> bool:
    return await ctx.session.push(content, f"{root}/{path}", mode=mode, become=True)


async def _recorded(ctx: ActionContext, root: str) -> tuple[str, ...]:
    try:
        return bundle.recorded_files(await ctx.session.pull(f"{root}/{bundle.RECORD}", become=True))
    except NotFoundError:
        return ()


async def _record(ctx: ActionContext, stack: Stack, engine: str, made: str, stale: Sequence[str] = ()) -> None:
    text = bundle.record(ctx.environment.name, stack, engine, made, stale)
    await _push(ctx, bundle.directory(stack.project), bundle.RECORD, text, 0o600)


async def load(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Give the engine the images of the stack's archives. Raises StackError NF-STK-006."""
    stack = ctx.environment.stacks[args["stack"]]
    loaded = []
    for reference, artifact in stack.images.items():
        archive = storage.image_path(ctx.facts, artifact.sha256)
        marker = f"{bundle.directory(stack.project)}/.images/{artifact.sha256}"
        arguments = (args["engine"], reference, archive, marker)
        command = Command.script(_script("load.sh"), *arguments, become=True, mutates=True)
        done = await ctx.session.run(command, check=False, timeout=TIMEOUT)
        if not done.ok:
            raise _not_loaded(stack, reference, done)
        if done.text.strip() != "present":
            loaded.append(reference)
    return {"loaded": loaded}


def _not_loaded(stack: Stack, reference: str, done: Completed) -> StackError:
    source = stack.images[reference].path or stack.images[reference].url
    said = _last_lines(done)
    cause = f"the archive holds other names: {said}" if done.status == 95 else said
    return StackError(
        f"stack {stack.name}: image {reference} could not be loaded from {source}",
        code="NF-STK-006",
        where=stack.source,
        cause=cause,
        hints=(f"tar -xOf {source} manifest.json   # RepoTags must name {reference}", f"docker save {reference}"),
        retry=Retry.AFTER_FIX,
    )


async def start(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Bring the containers up (made anew with ``args["recreate"]``), then record the digest.

    Raises StackError NF-STK-004 with the last lines the engine said.
    """
    stack = ctx.environment.stacks[args["stack"]]
    if stack.kind == "kube" and args["recreate"]:
        await ctx.session.run(Command.script(_UNPOD, stack.project, become=True, mutates=True), timeout=TIMEOUT)
    build = args["recreate"] and bundle.builds(stack)
    command = starter(stack, args["provider"], args["recreate"], build=build)
    done = await ctx.session.run(command, check=False, timeout=TIMEOUT)
    # podman-compose ends with 0 even when a container could not be made
    count = await ctx.session.run(Command.script(_COUNT, args["engine"], stack.project, become=True))
    made, wanted = int(count.text.strip() or 0), bundle.expected(stack).count
    if not done.ok or made < wanted:
        raise _not_started(ctx, stack, args["provider"], done, f"{made} of {wanted} containers")
    await _record(ctx, stack, args["engine"], bundle.digest(stack, args["engine"]))
    return {"containers": made}


def starter(stack: Stack, provider: str, recreate: bool, *, build: bool = False) -> Command:
    """The command that brings a stack up with one of ``runtime.PROVIDERS``; ``build`` its images anew."""
    root = bundle.directory(stack.project)
    if provider == "quadlet":
        mode = "recreate" if recreate else "start"
        return Command.script(_script("quadlet.sh"), root, stack.project, mode, become=True, mutates=True)
    if stack.kind == "kube":
        # --replace also for a start: play refuses pods that are there, running or not
        argv = (*provider.split(), "--replace", "--quiet", f"{root}/{bundle.KUBE_FILE}")
        return Command(argv, become=True, mutates=True)
    file = ("--file", f"{root}/{stack.entry}")
    where = () if provider == "podman-compose" else ("--project-directory", root)
    argv = (*provider.split(), "--project-name", stack.project, *where, *file, "up", "--detach", "--remove-orphans")
    anew = (*(("--force-recreate",) if recreate else ()), *(("--build",) if build else ()))
    return Command((*argv, *anew), become=True, mutates=True)


def _not_started(ctx: ActionContext, stack: Stack, provider: str, done: Completed, seen: str) -> StackError:
    engine = "podman" if provider.startswith(("podman", "quadlet")) else "docker"
    label = f"label=com.docker.compose.project={stack.project}"
    return StackError(
        f"stack {stack.name} did not start: {provider} ended with {done.status}, {seen}",
        code="NF-STK-004",
        where=stack.source,
        cause=_last_lines(done),
        hints=(f"novafleet host exec -l {ctx.host.name} -- {engine} ps -a --filter {label}",),
        retry=Retry.AFTER_FIX,
    )


def _last_lines(done: Completed, count: int = 6) -> str:
    text = (done.stderr or done.stdout).decode("utf-8", "replace")
    lines = ["".join(each for each in line if each.isprintable()).strip() for line in text.splitlines()]
    return " | ".join([line for line in lines if line][-count:])[-800:]


async def stop(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Remove containers, pods and networks of ``args["project"]``, its volumes too with ``args["volumes"]``.

    Raises StackError NF-STK-007.
    """
    project = args["project"]
    arguments = (args["engine"], project, _volumes(args), args["kind"], bundle.directory(project))
    command = Command.script(_script("stop.sh"), *arguments, become=True, mutates=True)
    done = await ctx.session.run(command, check=False, timeout=TIMEOUT)
    if not done.ok:
        raise StackError(
            f"containers of {project} could not be removed",
            code="NF-STK-007",
            where=ctx.host.name,
            cause=_last_lines(done),
            hints=(f"novafleet host exec -l {ctx.host.name} -- {args['engine']} ps -a",),
            retry=Retry.AFTER_FIX,
        )
    return {}


async def delete(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Remove the bundle; what containers wrote into it only with ``args["volumes"]``."""
    root = bundle.directory(args["project"])
    pushed = "".join(f"{path}\n" for path in await _recorded(ctx, root))
    command = Command.script(_script("delete.sh"), root, _volumes(args), become=True, mutates=True)
    await ctx.session.run(command, stdin=pushed.encode())
    return {}


def _volumes(args: Mapping[str, Json]) -> str:
    return "volumes" if args["volumes"] else "keep"


@cache
def _script(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


ACTIONS: Registry = {
    "stack.push": Action(push, StepClass.CONVERGENT),
    "stack.load": Action(load, StepClass.CONVERGENT),
    "stack.start": Action(start, StepClass.CONVERGENT),
    "stack.stop": Action(stop, StepClass.CONVERGENT),
    "stack.delete": Action(delete, StepClass.CONVERGENT),
}
