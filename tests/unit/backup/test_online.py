"""Who ends a backup's job: we, but for a lost connection, after which the next try goes on with it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from novafleet.capability.backup.online import taken_up
from novafleet.errors import BackupError, UnreachableError

SIGHT: Any = SimpleNamespace(domain=SimpleNamespace(name="db", uuid="u-1"), home="/run/db")
NOTE: Any = SimpleNamespace(consistency="crash", at=1.0)


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (None, True),
        (BackupError("the repository is full"), True),
        (asyncio.CancelledError(), True),
        (UnreachableError("the SSH connection was lost"), False),
    ],
    ids=["done", "failed", "cancelled", "lost"],
)
async def test_the_job_outlives_a_lost_connection_only(error: BaseException | None, ended: bool) -> None:
    ctx: Any = SimpleNamespace(hypervisor=AsyncMock(), session=AsyncMock(), host=SimpleNamespace(name="kvm1"))
    try:
        async with taken_up(ctx, SIGHT, (), NOTE):
            if error is not None:
                raise error
    except (BackupError, UnreachableError, asyncio.CancelledError) as raised:
        assert raised is error
    assert ctx.hypervisor.abort_job.await_count == ctx.session.run.await_count == int(ended)
