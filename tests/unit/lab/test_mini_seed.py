"""The mini guest reads YAML with awk: checked against a real YAML writer."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from novafleet.lab.build import RECIPE

AWK = RECIPE / "mini" / "files" / "usr" / "lib" / "seed" / "yaml.awk"
pytestmark = pytest.mark.skipif(shutil.which("busybox") is None, reason="busybox is not installed")


def flat(text: str) -> dict[str, str]:
    done = subprocess.run(["busybox", "awk", "-f", AWK], input=text.encode(), capture_output=True, check=True)
    rows = (line.split("\t", 1) for line in done.stdout.decode().splitlines() if line)
    return {path: _unescaped(value) for path, value in rows}


def _unescaped(value: str) -> str:
    pairs = {"\\": "\\", "n": "\n", "t": "\t"}
    parts = iter(value)
    return "".join(pairs[next(parts)] if char == "\\" else char for char in parts)


def expected(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from expected(child, f"{path}/{key}" if path else key)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from expected(child, f"{path}/{index}")
        yield f"{path}/#", str(len(value))
    else:
        yield path, value


NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,7}", fullmatch=True)
TEXTS = st.text(
    st.characters(codec="ascii", categories=("L", "N", "P", "S", "Zs")) | st.sampled_from("\n\t"), max_size=40
)
VALUES = st.recursive(
    TEXTS, lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(NAMES, inner, min_size=1, max_size=3)
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4), st.sampled_from([None, False]))
def test_every_text_survives(document: dict[str, Any], flow: bool | None) -> None:
    text = yaml.safe_dump(document, default_flow_style=flow, sort_keys=False, width=1000)
    assert flat(text) == dict(expected(document))


def test_what_people_write() -> None:
    text = """\
#cloud-config
hostname: web-1
ssh_authorized_keys: ["ssh-ed25519 AAAA me@here", 'two']   # flow
write_files:
- path: /etc/motd
  permissions: "0640"
  content: |
    hello

      world
- {path: /x, content: 'it''s'}
runcmd:
  - echo "a:b" > /tmp/x
  - [sh, -c, "echo $1", one]
"""
    assert flat(text) == {
        "hostname": "web-1",
        "ssh_authorized_keys/0": "ssh-ed25519 AAAA me@here",
        "ssh_authorized_keys/1": "two",
        "ssh_authorized_keys/#": "2",
        "write_files/0/path": "/etc/motd",
        "write_files/0/permissions": "0640",
        "write_files/0/content": "hello\n\n  world\n",
        "write_files/1/path": "/x",
        "write_files/1/content": "it's",
        "write_files/#": "2",
        "runcmd/0": 'echo "a:b" > /tmp/x',
        "runcmd/1/0": "sh",
        "runcmd/1/1": "-c",
        "runcmd/1/2": "echo $1",
        "runcmd/1/3": "one",
        "runcmd/1/#": "4",
        "runcmd/#": "2",
    }
