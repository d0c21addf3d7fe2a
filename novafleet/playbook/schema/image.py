"""``images``."""

from __future__ import annotations

from typing import Any

from novafleet.errors import ConfigError, Location
from novafleet.model.environment import Image
from novafleet.playbook.schema.artifact import ARTIFACT, ARTIFACT_FIELDS, artifact
from novafleet.playbook.spec import Origins
from novafleet.source.schema import Choice, Field, Record, Text

LINE = Text(r"[^\x00-\x1f]*", "a single line of text")


def _image(source: Location, origins: Origins, **values: Any) -> Image:
    has_disk = bool(values["url"] or values["path"])
    kernel, initrd = values["kernel"], values["initrd"]
    if not has_disk and kernel is None:
        raise _incomplete("an image needs url or path of a disk, or a kernel", source)
    if kernel is None and (initrd is not None or values["cmdline"]):
        key = "initrd" if initrd is not None else "cmdline"
        raise _incomplete(f"{key} means nothing without a kernel", origins[key])
    if not has_disk and (values["sha256"] or values["format"]):
        key = "sha256" if values["sha256"] else "format"
        raise _incomplete(f"{key} belongs to a disk, and there is neither url nor path", origins[key])
    disk = artifact(source, origins, **values) if has_disk else None
    return Image("", disk, values["format"], kernel, initrd, values["cmdline"], source)


def _incomplete(what: str, where: Location) -> ConfigError:
    return ConfigError(what, code="NF-ENV-020", where=where)


IMAGE = Record(
    "image",
    "A disk image, a kernel with its initrd, or both. Each host that needs it fetches it once, checks its digest and "
    "keeps it under that digest.",
    (
        *ARTIFACT_FIELDS,
        Field("format", Choice("qcow2", "raw"), "", "The disk image's format.", "qcow2", shown="found out on the host"),
        Field("kernel", ARTIFACT, None, "A kernel that VMs with `boot` start directly.", "{path: vmlinuz}"),
        Field("initrd", ARTIFACT, None, "The kernel's initial RAM disk.", "{path: initrd.gz}"),
        Field("cmdline", LINE, "", "The kernel's command line.", '"console=ttyS0 root=/dev/vda1"'),
    ),
    into=_image,
)
