"""``host drain|undrain|maintenance``, ``rebalance``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from novafleet.cli.consent import confirmation
from novafleet.cli.options import Inventory, Limit, LockWait, Output, OutputForm, Timeout, Yes
from novafleet.cli.run import guarded, inventory_of, run
from novafleet.cli.values import bytes_of, word_of
from novafleet.errors import ExitCode

if TYPE_CHECKING:
    from novafleet.app.convoy import Wish
    from novafleet.model.run import Run

HostName = Annotated[str, typer.Argument(metavar="HOST", help="A host's name in the inventory.")]
Plan = Annotated[bool, typer.Option("--plan", help="Say who can leave and who cannot, and why; change nothing.")]
Mode = Annotated[str, typer.Option(metavar="MODE", help="live, postcopy, warm, cold, or auto: the first that works.")]
PathWord = Annotated[str, typer.Option(metavar="PATH", help="direct, tunnel, relay, or auto.")]
Parallel = Annotated[int, typer.Option(metavar="N", min=0, help="Moves at once of one host; 0: the policies'.")]
Bandwidth = Annotated[str, typer.Option(metavar="RATE", help="Bytes a second from one host to another: 100M.")]
Downtime = Annotated[int, typer.Option(metavar="MS", min=0, help="A live guest stands still; 0: the policies'.")]
Consent = Annotated[
    list[str] | None, typer.Option("--consent", metavar="WORD", help="What may be lost (migrate --plan); may repeat.")
]
Now = Annotated[bool, typer.Option("--now", help="Whatever the policies' time windows say.")]

maintenance = typer.Typer(help="Take a host out of service for new VMs, or back.", no_args_is_help=True)


def wish_of(
    mode: str,
    path: str,
    parallel: int,
    bandwidth: str,
    max_downtime: int,
    consent: Sequence[str] | None,
    now: bool,
    lock_wait: float,
) -> Wish:
    """What the options ask for. Raises ConfigError NF-CFG-005."""
    from novafleet.app.convoy import Wish
    from novafleet.cli.migrate import MODES, PATHS
    from novafleet.model import migration

    return Wish(
        mode=migration.Mode(word_of(mode, MODES, "--mode")),
        path=migration.Path(word_of(path, PATHS, "--path")),
        bandwidth=bytes_of(bandwidth, "--bandwidth"),
        per_host=parallel,
        max_downtime=max_downtime,
        anytime=now,
        consent=tuple(consent or ()),
        lock_wait=lock_wait,
    )


def drain(
    context: typer.Context,
    host: HostName,
    inventory: Inventory = None,
    to: Annotated[str, typer.Option("--to", metavar="HOST|GROUP", help="Only to these; default: any host.")] = "",
    plan: Plan = False,
    mode: Mode = "auto",
    path: PathWord = "auto",
    parallel: Parallel = 0,
    bandwidth: Bandwidth = "",
    max_downtime: Downtime = 0,
    consent: Consent = None,
    now: Now = False,
    without_spare: Annotated[
        bool, typer.Option("--without-spare", help="Even if the policies' spare hosts are used up.")
    ] = False,
    yes: Yes = False,
    lock_wait: LockWait = 0.0,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Put a host into maintenance and move its VMs away; who cannot leave is said first."""
    from novafleet.app.drain import Order

    wishes = (mode, path, parallel, bandwidth, max_downtime, consent, now, lock_wait)
    order = guarded(lambda: Order(_texts(context, inventory), host, to, wish_of(*wishes), without_spare), output)
    _perform(order, output, timeout, home=False, plan=plan, yes=yes)


def undrain(
    context: typer.Context,
    host: HostName,
    inventory: Inventory = None,
    plan: Plan = False,
    mode: Mode = "auto",
    path: PathWord = "auto",
    parallel: Parallel = 0,
    bandwidth: Bandwidth = "",
    max_downtime: Downtime = 0,
    consent: Consent = None,
    now: Now = False,
    yes: Yes = False,
    lock_wait: LockWait = 0.0,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """End a host's maintenance and bring home the VMs that drains moved away."""
    from novafleet.app.drain import Order

    wishes = (mode, path, parallel, bandwidth, max_downtime, consent, now, lock_wait)
    order = guarded(lambda: Order(_texts(context, inventory), host, "", wish_of(*wishes)), output)
    _perform(order, output, timeout, home=True, plan=plan, yes=yes)


def _texts(context: typer.Context, inventory: Sequence[Path] | None) -> tuple[str, ...]:
    return tuple(str(each) for each in inventory_of(context, inventory))


def _perform(
    order: Any, output: OutputForm, timeout: float, *, home: bool, plan: bool, yes: bool, continued: Run | None = None
) -> None:
    from novafleet.app import drain as use_case
    from novafleet.report import drain as report
    from novafleet.report.progress import RunProgress

    if plan:
        drafted = run(lambda: use_case.plan(order, home=home), form=output, timeout=timeout)
        report.plan(drafted, output)
        _leave(drafted.exit_code)
        return
    verb = use_case.undrain if home else use_case.drain
    result = run(lambda: verb(order, RunProgress, confirmation(yes=yes), continued), form=output, timeout=timeout)
    report.drained(result, output)
    _leave(result.exit_code)


def _leave(status: ExitCode) -> None:
    if status is not ExitCode.OK:
        raise typer.Exit(int(status))


@maintenance.command("on")
def on(
    context: typer.Context,
    host: HostName,
    inventory: Inventory = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; everybody sees it.")] = "",
    output: Output = OutputForm.TABLE,
) -> None:
    """No VM is placed on it or migrated to it; what runs there stays (host drain moves it)."""
    _maintain(context, host, inventory, reason, output, state=True)


@maintenance.command("off")
def off(context: typer.Context, host: HostName, inventory: Inventory = None, output: Output = OutputForm.TABLE) -> None:
    """It takes VMs in again; those that left stay where they are (host undrain brings them home)."""
    _maintain(context, host, inventory, "", output, state=False)


def _maintain(
    context: typer.Context, host: str, inventory: Sequence[Path] | None, reason: str, output: OutputForm, *, state: bool
) -> None:
    from novafleet.app.maintenance import maintain
    from novafleet.report.drain import maintenance as report

    paths = guarded(lambda: inventory_of(context, inventory), output)
    report(run(lambda: maintain(paths, host, on=state, reason=reason), form=output), output)


def rebalance(
    context: typer.Context,
    inventory: Inventory = None,
    limit: Limit = "",
    moves: Annotated[int, typer.Option(metavar="N", min=0, help="At most so many; 0: the policies'.")] = 0,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would move; change nothing.")] = False,
    mode: Mode = "live",
    path: PathWord = "auto",
    parallel: Parallel = 0,
    bandwidth: Bandwidth = "",
    max_downtime: Downtime = 0,
    consent: Consent = None,
    now: Now = False,
    yes: Yes = False,
    lock_wait: LockWait = 0.0,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Move a few VMs off the fullest hosts, if that is worth it."""
    from novafleet.app.rebalance import Order

    wishes = (mode, path, parallel, bandwidth, max_downtime, consent, now, lock_wait)
    order = guarded(lambda: Order(_texts(context, inventory), limit, moves, wish_of(*wishes)), output)
    _balance(order, output, timeout, plan=plan, yes=yes)


def _balance(
    order: Any, output: OutputForm, timeout: float, *, plan: bool, yes: bool, continued: Run | None = None
) -> None:
    from novafleet.app import rebalance as use_case
    from novafleet.report import drain as report
    from novafleet.report.progress import RunProgress

    if plan:
        weighed = run(lambda: use_case.weigh(order), form=output, timeout=timeout)
        report.weighed(weighed, output)
        _leave(weighed.exit_code)
        return
    result = run(
        lambda: use_case.rebalance(order, RunProgress, confirmation(yes=yes), continued), form=output, timeout=timeout
    )
    report.balanced(result, output)
    _leave(result.exit_code)


def resumed(found: Run, *, yes: bool, output: OutputForm, timeout: float) -> None:
    """Go on with a run of moves: it is planned again from what the hosts show now."""
    from novafleet.app import drain as draining
    from novafleet.app import rebalance as balancing

    if found.verb == balancing.VERB:
        _balance(balancing.order_of(found), output, timeout, plan=False, yes=yes, continued=found)
        return
    home = found.verb == draining.UNDRAIN
    _perform(draining.order_of(found), output, timeout, home=home, plan=False, yes=yes, continued=found)


RESUMED: tuple[str, ...] = ("host drain", "host undrain", "rebalance")
"""Verbs whose runs ``resume`` gives to ``resumed``."""
