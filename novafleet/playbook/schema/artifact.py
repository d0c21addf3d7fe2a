"""Files a host needs: from a URL with a digest, or from the controller's disk."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from novafleet.errors import ConfigError, Location
from novafleet.model.environment import Artifact
from novafleet.playbook.include import PATH, beside
from novafleet.playbook.spec import Origins
from novafleet.source.schema import Field, Record, Text

URL = Text(r"https?://[^\s/@]+/\S*", "an http:// or https:// URL without user and password")
DIGEST = Text("[0-9a-fA-F]{64}", "a SHA-256 of 64 hexadecimal digits")

ARTIFACT_FIELDS = (
    Field("url", URL, "", "Where the host itself fetches the file.", "https://example.org/mini.qcow2"),
    Field(
        "path", PATH, "", "The file on the controller, relative to this file, instead of `url`.", "images/mini.qcow2"
    ),
    Field(
        "sha256",
        DIGEST,
        "",
        "Its digest. Needed with `url`; with `path` it saves reading the file at each run.",
        f'"{hashlib.sha256(b"").hexdigest()}"',
    ),
)


def artifact(source: Location, origins: Origins, **values: Any) -> Artifact:
    """The checked file, with an absolute path and a lower-case digest. Raises ConfigError NF-ENV-020, NF-ENV-021."""
    url, path, sha256 = values["url"], values["path"], values["sha256"].lower()
    if bool(url) == bool(path):
        what = "url and path exclude each other" if url else "neither url nor path says where the file is"
        raise ConfigError(what, code="NF-ENV-020", where=origins.get("path", source), hints=("keep exactly one",))
    if url and not sha256:
        raise ConfigError(
            "a url needs the sha256 of its file",
            code="NF-ENV-020",
            where=origins.get("url", source),
            hints=(f"curl -fsSL {_quoted(url)} | sha256sum", 'add sha256: "…"'),
        )
    if url:
        return Artifact(url=url, sha256=sha256)
    where = origins.get("path", source)
    found = beside(source, path).absolute()
    return Artifact(path=str(found), sha256=sha256 or _sha256(found, where))


def _quoted(url: str) -> str:
    return url if re.fullmatch(r"[\w:/.,%+@=-]+", url) else "'URL'"


def _sha256(path: Path, where: Location) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise ConfigError(
            f"cannot read {path}",
            code="NF-ENV-021",
            where=where,
            cause=exc.strerror or str(exc),
            hints=(f"ls -l {path}", "a relative path starts from the folder of the file it is written in"),
        ) from exc


ARTIFACT = Record("file", "A file, by `url` and `sha256`, or by `path`.", ARTIFACT_FIELDS, into=artifact)
