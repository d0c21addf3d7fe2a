"""``host exec``: one command on many hosts, and how each of them ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from novafleet.app.wiring import World, open_world
from novafleet.errors import AuthError, ExitCode, NovaFleetError, TrustError, UnreachableError
from novafleet.inventory import select
from novafleet.model.command import Command
from novafleet.transport.fanout import fan_out

if TYPE_CHECKING:
    from novafleet.model.fleet import Host


class HostOutcome(StrEnum):
    """How a host ended. ``unreachable``: no login; ``error``: logged in, but the command did not run to its end."""

    OK = "ok"
    FAILED = "failed"
    ERROR = "error"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class HostResult:
    """One host. ``status`` is the command's (128+N after signal N), None when it has none; then ``error`` says why."""

    host: str
    outcome: HostOutcome
    status: int | None = None
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    error: Mapping[str, object] | None = None


async def execute(
    inventory: Sequence[Path],
    words: tuple[str, ...],
    *,
    limit: str = "",
    become: bool = False,
    forks: int = 100,
    timeout: float | None = None,
) -> tuple[HostResult, ...]:
    """Run ``words`` on the selected hosts, at most ``forks`` at once; ``timeout`` seconds for each command."""
    command = Command(words, become=become, mutates=True)
    async with open_world(inventory) as world:
        hosts = select(world.fleet, "all", limit)

        async def work(host: Host) -> HostResult:
            return await run_on(world, host, command, timeout)

        return await fan_out(hosts, work, forks=forks)


async def run_on(world: World, host: Host, command: Command, timeout: float | None = None) -> HostResult:
    """The command on one host; never raises for a host."""
    began = world.clock.monotonic()
    try:
        session = await world.sessions.get(host)
        done = await session.run(command, timeout=timeout, check=False)
    except NovaFleetError as error:
        seconds = world.clock.monotonic() - began
        return HostResult(host.name, outcome_of(error), seconds=seconds, error=error.at(host.name).finding())
    outcome = HostOutcome.OK if done.ok else HostOutcome.FAILED
    stderr = done.stderr.decode("utf-8", "replace")
    return HostResult(host.name, outcome, done.status, done.text, stderr, done.seconds)


def outcome_of(error: NovaFleetError) -> HostOutcome:
    """How a host ended that raised."""
    gone = isinstance(error, UnreachableError | TrustError | AuthError)
    return HostOutcome.UNREACHABLE if gone else HostOutcome.ERROR


def exit_code(outcomes: Set[HostOutcome]) -> ExitCode:
    """0 all well; 4 none could be reached; 3 some well, some not; 1 none well."""
    if outcomes <= {HostOutcome.OK}:
        return ExitCode.OK
    if outcomes == {HostOutcome.UNREACHABLE}:
        return ExitCode.UNREACHABLE
    return ExitCode.PARTIAL if HostOutcome.OK in outcomes else ExitCode.FAILED
