"""A container image of a test's own: no other test has it, so that it may be removed from a host."""

from __future__ import annotations

import io
import json
import secrets
import tarfile
from pathlib import Path


def own_image(archive: Path, name: str, to: Path) -> Path:
    """The image of a docker-archive with a label nobody else has, under another name, as an archive ``to``."""
    with tarfile.open(archive) as source, tarfile.open(to, "w") as made:
        [manifest] = json.loads(_text(source, "manifest.json"))
        config = json.loads(_text(source, manifest["Config"]))
        config.setdefault("config", {})["Labels"] = {"test": secrets.token_hex(8)}
        for layer in manifest["Layers"]:
            made.addfile(source.getmember(layer), source.extractfile(layer))
        _add(made, "config.json", config)
        _add(made, "manifest.json", [{**manifest, "Config": "config.json", "RepoTags": [name]}])
    return to


def _text(source: tarfile.TarFile, name: str) -> bytes:
    found = source.extractfile(name)
    assert found is not None
    return found.read()


def _add(made: tarfile.TarFile, name: str, content: object) -> None:
    data = json.dumps(content).encode()
    member = tarfile.TarInfo(name)
    member.size = len(data)
    made.addfile(member, io.BytesIO(data))
