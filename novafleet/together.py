"""Several things at once, of which the first failure counts: the others are cut off, or come to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def together(*work: Coroutine[Any, Any, Any]) -> tuple[Any, ...]:
    """What each returned, in order. The first failure cancels the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as group_of_failures:
        found: BaseException = group_of_failures
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        raise found from None
    return tuple(task.result() for task in tasks)


async def to_the_end(*work: Coroutine[Any, Any, Any]) -> None:
    """Each to its end, whatever becomes of the others; then the first failure is raised. For clearing up."""
    for done in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(done, BaseException):
            raise done
