"""Lab tests beside each other (`pytest -n`): those that share what they name or fetch run in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

ALONE = (
    "tests/contract/",
    "tests/lab/test_backup",
    "tests/lab/test_collectors",
    "tests/lab/test_lab.py",
    "tests/lab/test_lease",
    "tests/lab/test_network",
    "tests/lab/test_restore",
    "tests/lab/test_snapshot.py",
    "tests/lab/test_snapshot_archive",
    "tests/lab/test_snapshot_backup",
)
"""Tests with domains and disks of their own, each group of which names the same ones."""
ENVIRONMENTS = "environments"
"""All others: the images of environments are shared on a host, and the last one to go takes them along; migrations
count the ports that are open."""


class Streams(LoadFileScheduling):
    """As ``--dist loadfile``, a good deal coarser."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return next((prefix for prefix in ALONE if file.startswith(prefix)), ENVIRONMENTS)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Streams:
    """How tests are dealt out: https://pytest-xdist.readthedocs.io."""
    return Streams(config, log)
