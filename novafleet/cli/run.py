"""The one place that starts the event loop, turns errors into findings and exit statuses, and hears Ctrl-C."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import typer

from novafleet.errors import ConfigError, DeadlineError, ExitCode, NovaFleetError

T = TypeVar("T")
ENVIRONMENT_VARIABLE = "NOVAFLEET_INVENTORY"


CONNECTING = 0.1
"""Seconds after which a use-case has asked its hosts and waits."""


def run(
    work: Callable[[], Coroutine[Any, Any, T]], *, form: str = "table", timeout: float = 0.0, then: Sequence[str] = ()
) -> T:
    """Run a use-case to its end; a NovaFleetError is shown and becomes the exit status. ``then`` names modules that are
    needed when hosts have answered: they are loaded while that is waited for."""
    import asyncio  # costs a third of what --help may take

    try:
        return asyncio.run(_bounded(work(), timeout, then))
    except NovaFleetError as error:
        raise typer.Exit(_show([error], form)) from error
    except BaseExceptionGroup as group:
        ours, foreign = group.split(NovaFleetError)
        if ours is None or foreign is not None:
            raise
        raise typer.Exit(_show(_leaves(ours), form)) from group
    except KeyboardInterrupt as error:
        raise typer.Exit(ExitCode.INTERRUPTED) from error


async def _bounded(work: Awaitable[T], timeout: float, then: Sequence[str]) -> T:
    import asyncio

    if then:
        loop = asyncio.get_running_loop()
        loop.call_later(CONNECTING, loop.run_in_executor, None, _load, then)
    try:
        async with asyncio.timeout(timeout or None):
            return await work
    except TimeoutError as error:
        raise DeadlineError(f"not done within {timeout:g} s (--timeout)") from error


def _load(modules: Sequence[str]) -> None:
    for module in modules:
        import_module(module)


def _show(errors: Sequence[NovaFleetError], form: str) -> int:
    from novafleet.report import findings

    findings.show(errors, form)
    return int(errors[0].exit_code)


def _leaves(group: BaseExceptionGroup[NovaFleetError]) -> Sequence[NovaFleetError]:
    found: list[NovaFleetError] = []
    for each in group.exceptions:
        found.extend(_leaves(each) if isinstance(each, BaseExceptionGroup) else [each])
    return found


def guarded(work: Callable[[], T], form: str = "table") -> T:
    """The same for use-cases that need no event loop."""
    try:
        return work()
    except NovaFleetError as error:
        raise typer.Exit(_show([error], form)) from error


def inventory_of(context: typer.Context, option: Sequence[Path] | None) -> tuple[Path, ...]:
    """``-i`` after the verb, before it, ``NOVAFLEET_INVENTORY``, or ``./inventory``. Raises ConfigError NF-INV-001."""
    from_environment = os.environ.get(ENVIRONMENT_VARIABLE, "")
    chosen = tuple(option or context.obj or [Path(part) for part in from_environment.split(os.pathsep) if part])
    paths = chosen or (Path("inventory"),)
    for path in paths:
        if not path.exists():
            raise ConfigError(
                "no such inventory",
                code="NF-INV-001",
                where=str(path),
                hints=("name one: novafleet -i PATH …", "start a project here: novafleet init"),
            )
    return tuple(path.absolute() for path in paths)


def environment_file(file: Path | None) -> Path:
    """The named file, or the only one in ``playbooks/``. Raises ConfigError NF-CFG-002."""
    if file is not None:
        return file.absolute()
    candidates = sorted(Path("playbooks").glob("*.y*ml"))
    if len(candidates) == 1:
        return candidates[0].absolute()
    found = ", ".join(str(path) for path in candidates) or "none"
    raise ConfigError("name an environment file", code="NF-CFG-002", where="playbooks/", cause=f"found here: {found}")
