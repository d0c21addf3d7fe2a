"""Lab tests beside each other (`pytest -n`): a file in one process, and what names the same things in one, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

TOGETHER = ("tests/contract/", "tests/lab/test_migrate")
"""Contract tests sweep each other's domains away; migrations count the ports that are open on a host."""


class Streams(LoadFileScheduling):
    """As ``--dist loadfile``, a little coarser."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return next((prefix for prefix in TOGETHER if file.startswith(prefix)), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Streams:
    """How tests are dealt out: https://pytest-xdist.readthedocs.io."""
    return Streams(config, log)
