"""One artifact to its place on one host: pulled by the host itself, or uploaded where it cannot. Ports only."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from novafleet import xdg
from novafleet.capability.image import download, header
from novafleet.errors import ImageError, NovaFleetError, Retry, SpaceError
from novafleet.model.command import Command
from novafleet.model.environment import Artifact
from novafleet.ports import ActionContext

TIMEOUT = 3600.0
_NO_DOWNLOADER, _REFUSED, _NOT_REACHED, _WRONG_DIGEST, _NOT_WRITTEN, _BROKEN_OFF = 90, 91, 92, 93, 94, 95
_OUTCOMES = {_REFUSED: "the server refused", _BROKEN_OFF: "the connection broke while fetching"}
_PRESENT = '[ -f "$1" ] && read -r known _ 2>/dev/null <"$1.sha256" && [ "$known" = "$2" ]'
_HEAD = 'head -c "$2" -- "$1" | base64'
_DISCARD = 'rm -f -- "$1"'


@dataclass(frozen=True, slots=True)
class Delivery:
    """What to put where. ``format`` is what a disk image must be (qcow2, raw, "" for either), None for other files."""

    name: str
    artifact: Artifact
    target: str
    format: str | None = None


async def deliver(ctx: ActionContext, delivery: Delivery) -> Mapping[str, object]:
    """Make ``target`` hold the artifact; quick when it does. Returns ``{path, sha256, via[, format, virtual_size]}``.

    Raises ImageError NF-IMG-001 to -007, SpaceError NF-IMG-006. A refused file leaves nothing behind.
    """
    via = await _part(ctx, delivery)
    found: Mapping[str, object] = {}
    if via != "present":
        found = await _examine(ctx, delivery)
        await _place(ctx, delivery, verify=via == "upload")
    return {"path": delivery.target, "sha256": delivery.artifact.sha256, "via": via, **found}


async def _part(ctx: ActionContext, delivery: Delivery) -> str:
    """Have ``target.part`` on the host, or find ``target`` there: ``pull``, ``upload`` or ``present``."""
    artifact = delivery.artifact
    present = Command.script(_PRESENT, delivery.target, artifact.sha256, become=True)
    if (await ctx.session.run(present, check=False)).ok:
        return "present"
    if artifact.url:
        if said := await _pull(ctx, delivery):
            return said
        ctx.progress(f"{ctx.host.name} cannot reach {artifact.url}: uploading it from here")
        local = await download.download(artifact.url, artifact.sha256, xdg.cache() / "images", _reporter(ctx, delivery))
    else:
        local = await _local(delivery)
    await ctx.session.push(local, f"{delivery.target}.part", become=True)
    return "upload"


def _reporter(ctx: ActionContext, delivery: Delivery) -> download.Progress:
    loop = asyncio.get_running_loop()

    def report(done: int, total: int) -> None:
        loop.call_soon_threadsafe(ctx.progress, delivery.name, done, total)

    return report


async def _local(delivery: Delivery) -> Path:
    path = Path(delivery.artifact.path)
    try:
        came = await asyncio.to_thread(download.digest, path)
    except OSError as error:
        raise ImageError(
            f"image {delivery.name}: {path} cannot be read",
            code="NF-IMG-007",
            cause=error.strerror or str(error),
            hints=(f"ls -l {path}   # on this machine",),
            retry=Retry.AFTER_FIX,
        ) from error
    if came != delivery.artifact.sha256:
        raise download.wrong_digest(str(path), delivery.artifact.sha256, came)
    return path


async def _pull(ctx: ActionContext, delivery: Delivery) -> str:
    """Let the host download; "" when it has no way to the URL."""
    artifact = delivery.artifact
    command = Command.script(
        _script("fetch.sh"), artifact.url, delivery.target, artifact.sha256, become=True, mutates=True
    )
    heard = _Heard(ctx, delivery.name)
    async with ctx.session.stream(command, timeout=TIMEOUT) as running:
        async for piece in running:
            heard.feed(piece.data if piece.stream == 1 else b"", piece.data if piece.stream == 2 else b"")
        status = await running.status()
    if status == 0:
        return "present" if heard.last == "present" else "pull"
    if status in (_NO_DOWNLOADER, _NOT_REACHED):
        return ""
    raise _refusal(ctx, delivery, status, heard.last, heard.complaint)


class _Heard:
    """Reads what ``fetch.sh`` prints, line by line, and passes progress on."""

    def __init__(self, ctx: ActionContext, name: str) -> None:
        self.last = ""
        self.complaint = ""
        self._ctx, self._name = ctx, name
        self._rest = ""
        self._total = 0

    def feed(self, output: bytes, complaint: bytes) -> None:
        """Take what arrived on either stream."""
        self.complaint = (self.complaint + complaint.decode("utf-8", "replace"))[-500:]
        *lines, self._rest = (self._rest + output.decode("utf-8", "replace")).split("\n")
        for line in lines:
            self._line(line)

    def _line(self, line: str) -> None:
        self.last = line
        word, _, value = line.partition(" ")
        if word == "total" and value.isdecimal():
            self._total = int(value)
        elif word == "size" and value.isdecimal():
            self._ctx.progress(self._name, int(value), self._total)
        elif word == "note":
            self._ctx.progress(f"{self._name}: {value}")


async def _examine(ctx: ActionContext, delivery: Delivery) -> Mapping[str, object]:
    """Look into a disk image before anything may open it. Raises ImageError NF-IMG-004, -005, having removed it."""
    if delivery.format is None:
        return {}
    part = f"{delivery.target}.part"
    read = await ctx.session.run(Command.script(_HEAD, part, str(header.HEAD), become=True))
    found = header.read(base64.b64decode(read.stdout))
    if error := unusable(delivery, found):
        await ctx.session.run(Command.script(_DISCARD, part, become=True, mutates=True))
        raise error
    return {"format": found.format, "virtual_size": found.virtual_size}


def unusable(delivery: Delivery, found: header.Header) -> ImageError | None:
    """Why an image of this header is refused, if it is."""
    if found.refers:
        return ImageError(
            f"image {delivery.name} refers to {found.refers}",
            code="NF-IMG-005",
            cause="a guest could read any file of the host through it",
            hints=("make it self-contained: qemu-img convert -O qcow2 IMAGE STANDALONE.qcow2",),
        )
    wanted = (delivery.format,) if delivery.format else ("qcow2", "raw")
    if found.format in wanted:
        return None
    mend = header.COMPRESSED.get(found.format, "qemu-img convert -O qcow2")
    return ImageError(
        f"image {delivery.name} is {found.format}, not {' or '.join(wanted)}",
        code="NF-IMG-004",
        cause=delivery.artifact.url or delivery.artifact.path,
        hints=(f"{mend} it, then give the new file's sha256", "or correct `format:`"),
    )


async def _place(ctx: ActionContext, delivery: Delivery, *, verify: bool) -> None:
    arguments = (delivery.target, delivery.artifact.sha256, "verify" if verify else "")
    command = Command.script(_script("place.sh"), *arguments, become=True, mutates=True)
    done = await ctx.session.run(command, check=False, timeout=TIMEOUT)
    if not done.ok:
        raise _refusal(ctx, delivery, done.status, done.text.strip(), done.stderr.decode("utf-8", "replace"))


def _refusal(ctx: ActionContext, delivery: Delivery, status: int, said: str, complaint: str) -> NovaFleetError:
    source = delivery.artifact.url or delivery.artifact.path
    if status == _WRONG_DIGEST:
        return download.wrong_digest(source, delivery.artifact.sha256, said.removeprefix("digest "))
    cause = complaint.strip()[-300:]
    if status == _NOT_WRITTEN:
        return SpaceError(
            f"image {delivery.name} cannot be written to {delivery.target}",
            code="NF-IMG-006",
            cause=cause,
            hints=(f"novafleet host exec -l {ctx.host.name} -- df -h {delivery.target.rpartition('/')[0]}",),
        )
    return ImageError(
        f"image {delivery.name}: {_OUTCOMES.get(status, 'cannot fetch')} {source}",
        code="NF-IMG-001",
        cause=cause or f"exit status {status}",
        hints=(f"novafleet host exec -l {ctx.host.name} -- curl -fIL {source}",),
        retry=Retry.NOW if status == _BROKEN_OFF else Retry.AFTER_FIX,
    )


@cache
def _script(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def removal(path: str, directories: tuple[str, ...]) -> Command:
    """The command that removes a cached image unless a volume in ``directories`` backs on it (prints ``used …``)."""
    return Command.script(_script("remove.sh"), path, *directories, become=True, mutates=True)
