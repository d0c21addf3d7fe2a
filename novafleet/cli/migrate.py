"""``migrate VM… --to HOST``, and the words that come after ``migrate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from novafleet.cli import migraterecover, migrateundo
from novafleet.cli.consent import confirmation
from novafleet.cli.options import Inventory, LockWait, Output, OutputForm, Timeout, Yes
from novafleet.cli.run import guarded, inventory_of, run
from novafleet.cli.values import bytes_of, pairs_of, seconds_of, word_of
from novafleet.errors import ExitCode

if TYPE_CHECKING:
    from novafleet.app.migrate import Done, Request
    from novafleet.model.migration import Wanted

MODES = ("auto", "live", "postcopy", "warm", "cold")
PATHS = ("auto", "direct", "tunnel", "relay")


class VmGroup(TyperGroup):
    """``migrate VM`` means ``migrate vm VM``; a VM that is called like a word here is reached as HOST/VM."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in the word that may be left out."""
        if args and args[0] not in ("-h", "--help", *self.commands):
            args = ["vm", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=VmGroup,
    help="Move VMs to another host: novafleet migrate VM... --to HOST (all options: migrate vm --help).",
    no_args_is_help=True,
)


Vms = Annotated[list[str], typer.Argument(metavar="VM...", help="A domain's name or glob, HOST/DOMAIN or ENV/NAME.")]
ModeWord = Annotated[
    str,
    typer.Option(
        metavar="MODE", help="live, postcopy, warm (short stop), cold, or auto: the first of these that works."
    ),
]
PathWord = Annotated[
    str, typer.Option(metavar="PATH", help="direct (TCP), tunnel (SSH between the hosts), relay (through here), auto.")
]
MaxDowntime = Annotated[int, typer.Option(metavar="MS", min=1, help="Milliseconds a live guest may stand still.")]
CopyStorage = Annotated[
    bool | None,
    typer.Option("--copy-storage/--no-copy-storage", help="Default: what is not proven shared.", show_default=False),
]
Networks = Annotated[list[str] | None, typer.Option("--network", metavar="FROM=TO", help="Its name there; may repeat.")]
Consent = Annotated[
    list[str] | None, typer.Option("--consent", metavar="WORD", help="What may be lost (see --plan); may repeat.")
]


@app.command("vm")
def vm(
    context: typer.Context,
    vms: Vms,
    to: Annotated[str, typer.Option("--to", metavar="HOST|GROUP", help="Where to.")],
    inventory: Inventory = None,
    mode: ModeWord = "auto",
    path: PathWord = "auto",
    deadline: Annotated[str, typer.Option(metavar="TIME", help="Give a live copy up after that: 10m.")] = "",
    max_downtime: MaxDowntime = 500,
    bandwidth: Annotated[str, typer.Option(metavar="RATE", help="At most this many bytes a second: 100M.")] = "",
    compress: Annotated[bool, typer.Option("--compress", help="Compress the guest's memory.")] = False,
    parallel: Annotated[int, typer.Option(metavar="N", min=0, help="Connections for the memory; 0: one.")] = 0,
    copy_storage: CopyStorage = None,
    pool: Annotated[str, typer.Option(metavar="POOL", help="Where disks go; default: as on the source.")] = "",
    network: Networks = None,
    consent: Consent = None,
    undo: Annotated[
        str, typer.Option("--undo", metavar="TIME", help="How long `migrate undo` stays possible.")
    ] = "24h",
    at_once: Annotated[int, typer.Option("--at-once", metavar="N", min=1, help="VMs under way together.")] = 2,
    plan: Annotated[bool, typer.Option("--plan", help="Say what it would be like; change nothing.")] = False,
    yes: Yes = False,
    lock_wait: LockWait = 0.0,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Move VMs to another host (the word `vm` may be left out)."""
    wishes = (mode, path, deadline, max_downtime, bandwidth, compress, parallel, copy_storage, pool, network, consent)
    request = guarded(lambda: _request(context, inventory, vms, to, _wanted(*wishes), undo, at_once, lock_wait), output)
    if plan:
        _plan(request, output, timeout)
    else:
        _migrate(request, output, timeout, yes=yes)


app.command("stack")(migrateundo.stack)
app.command("undo")(migrateundo.undo)
app.command("recover")(migraterecover.recover)
app.command("history")(migraterecover.history)
app.command("ls")(migrateundo.ls)
app.command("prune")(migrateundo.prune)


def _wanted(
    mode: str,
    path: str,
    deadline: str,
    max_downtime: int,
    bandwidth: str,
    compress: bool,
    parallel: int,
    copy_storage: bool | None,
    pool: str,
    network: Sequence[str] | None,
    consent: Sequence[str] | None,
) -> Wanted:
    from novafleet.model.migration import Mode, Path, Wanted

    return Wanted(
        mode=Mode(word_of(mode, MODES, "--mode")),
        path=Path(word_of(path, PATHS, "--path")),
        deadline=seconds_of(deadline, "--deadline"),
        max_downtime=max_downtime,
        bandwidth=bytes_of(bandwidth, "--bandwidth"),
        compress=compress,
        parallel=parallel,
        copy_storage=copy_storage,
        pool=pool,
        networks=pairs_of(network, "--network", "FROM=TO"),
        consent=frozenset(consent or ()),
    )


def _request(
    context: typer.Context,
    inventory: Any,
    vms: Sequence[str],
    to: str,
    wanted: Wanted,
    undo: str,
    at_once: int,
    lock_wait: float,
) -> Request:
    from novafleet.app.migrate import Request

    kept = seconds_of(undo, "--undo")
    return Request(inventory_of(context, inventory), tuple(vms), to, wanted, kept, at_once, lock_wait)


def _plan(request: Request, output: OutputForm, timeout: float) -> None:
    from novafleet.app.migrate import dossiers
    from novafleet.report.dossier import show

    found = run(lambda: dossiers(request), form=output, timeout=timeout)
    show(found, output, single=request.single)
    if not all(each.move.ladder for each in found):
        raise typer.Exit(int(ExitCode.FAILED))


def _migrate(request: Request, output: OutputForm, timeout: float, *, yes: bool) -> None:
    from novafleet.app.migrate import migrate
    from novafleet.report.progress import RunProgress

    asked = replace(request, agreed=yes)
    finish(run(lambda: migrate(asked, RunProgress, confirmation(yes=yes)), form=output, timeout=timeout), output)


def finish(done: Done, form: str) -> None:
    """Say what became of it; its exit status."""
    from novafleet.report.migrate import done as show

    show(done, form)
    if done.exit_code is not ExitCode.OK:
        raise typer.Exit(int(done.exit_code))
