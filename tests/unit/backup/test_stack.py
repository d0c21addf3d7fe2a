"""What is told of a stack's volumes, and how they are called elsewhere."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from novafleet.capability.backup.archive import pieces
from novafleet.capability.backup.stack import StackPlace, volumes
from novafleet.capability.backup.stack_restore import _labels, renamed
from novafleet.errors import BackupError
from novafleet.model.command import Command, Completed, Output
from novafleet.model.fleet import Host
from novafleet.ports import ActionContext

PLACE = StackPlace("dev-edge", "docker", "compose", "/var/lib/novafleet/stacks/dev-edge")
DOCKER = [
    {"Name": "dev-edge_data", "Driver": "local", "Mountpoint": "/v/data/_data", "Labels": {"a": "b"}, "Options": None},
    {"Name": "0" * 64, "Driver": "local", "Mountpoint": "/v/0/_data", "Labels": None, "Options": {}},
    {"Name": "nfs", "Driver": "local", "Mountpoint": "/v/nfs/_data", "Options": {"type": "nfs", "device": ":/srv"}},
    {"Name": "cloud", "Driver": "rexray", "Mountpoint": "", "Labels": {}},
]


class Engine:
    """Says what an engine says."""

    def __init__(self, text: str) -> None:
        self.host = Host("kvm1", "192.0.2.1")
        self.session = self
        self._text = text

    async def run(self, command: Command, **_options: Any) -> Completed:
        return Completed(command.argv, 0, self._text.encode(), b"")


async def test_volumes_and_why_some_are_left_out() -> None:
    found = await volumes(cast("ActionContext", Engine(json.dumps(DOCKER))), PLACE)
    skipped = {each.name[:8]: each.skip for each in found}
    assert skipped == {
        "00000000": "nobody named it",
        "cloud": "driver rexray keeps it",
        "dev-edge": "",
        "nfs": "its data lies elsewhere: :/srv",
    }
    assert await volumes(cast("ActionContext", Engine("")), PLACE) == ()


@pytest.mark.parametrize("said", ["{", '{"Name": 1}', '[{"Name": "x"}]', "[7]"])
async def test_an_engine_that_babbles(said: str) -> None:
    with pytest.raises(BackupError) as caught:
        await volumes(cast("ActionContext", Engine(said)), PLACE)
    assert caught.value.code == "NF-BAK-061"


async def test_pieces_of_a_stream() -> None:
    async def stream() -> Any:
        for number in range(100):
            yield Output(1, bytes([number]) * 50_000)
            yield Output(2, b"x" * 100)

    said = bytearray()
    found = [piece async for piece in pieces(stream(), said)]
    assert [len(each) for each in found] == [1 << 20] * 4 + [5_000_000 - (4 << 20)]
    assert b"".join(found) == b"".join(bytes([number]) * 50_000 for number in range(100))
    assert len(said) == 4096


def test_names_and_labels_of_a_copy() -> None:
    assert renamed("dev-edge_data", "dev-edge", "two") == "two_data"
    assert renamed("own-name", "dev-edge", "two") == "own-name"
    labels = {"io.podman.compose.project": "dev-edge", "a": "b", "evil": "x\ny=z"}
    place = StackPlace("two", "podman", "compose", "/x")
    assert _labels(labels, place).splitlines() == [
        "io.podman.compose.project=two",
        "a=b",
        "com.docker.compose.project=two",
    ]
