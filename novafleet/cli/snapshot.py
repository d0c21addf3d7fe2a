"""``snapshot create|ls|tree|show|revert|rm|prune|export|import``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from novafleet.cli import snapshotarchive
from novafleet.cli.consent import confirmation
from novafleet.cli.options import Inventory, LockWait, Output, OutputForm, Timeout, Yes
from novafleet.cli.run import guarded, run
from novafleet.cli.selection import Env, EnvFile, Vms, selected
from novafleet.cli.snapshotargs import KINDS, MODES, STACKS, finish
from novafleet.cli.values import seconds_of, word_of
from novafleet.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from novafleet.app.party import Selected
    from novafleet.app.snapshotview import Listing

app = typer.Typer(help="Snapshots of VMs, kept on their hosts.", no_args_is_help=True)

VmAndNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="[VM] NAME...", help="A VM and snapshots of it; with --environment only names."),
]


@app.command("create")
def create(
    context: typer.Context,
    vms: Vms = None,
    inventory: Inventory = None,
    environment: Env = "",
    file: EnvFile = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="Default: the time.", show_default=False)] = "",
    text: Annotated[str, typer.Option("--description", "-d", metavar="TEXT", help="What it is for.")] = "",
    mode: Annotated[
        str,
        typer.Option(metavar="crash|fs|live", help="As after a power cut, file systems frozen, or with memory."),
    ] = "fs",
    require: Annotated[str, typer.Option(metavar="MODE", help="Refuse rather than take less than this.")] = "",
    kind: Annotated[
        str, typer.Option(metavar="auto|internal|external", help="Inside the images, or overlays over them.")
    ] = "auto",
    stacks: Annotated[
        str, typer.Option(metavar="pause|stop|skip", help="Of an environment: its stacks, while volumes are copied.")
    ] = "pause",
    tag: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="May repeat.")] = None,
    ttl: Annotated[str, typer.Option(metavar="TIME", help="`prune` removes it after that: 7d.")] = "",
    hold: Annotated[bool, typer.Option("--hold", help="`prune` never removes it.")] = False,
    lock_wait: LockWait = 0.0,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Take a snapshot of VMs; those of an environment at one moment."""
    from novafleet.app.snapshot import Wish
    from novafleet.app.snapshot import create as use_case
    from novafleet.report.progress import RunProgress

    asked, wish = guarded(
        lambda: (
            selected(context, inventory, vms, environment, file, lock_wait),
            Wish(
                name=name,
                text=text,
                mode=word_of(mode, MODES, "--mode"),
                require=word_of(require, ("", *MODES), "--require"),
                tags=tuple(tag or ()),
                ttl=seconds_of(ttl, "--ttl"),
                hold=hold,
                kind=word_of(kind, KINDS, "--kind"),
                stacks=word_of(stacks, STACKS, "--stacks"),
            ),
        ),
        output,
    )
    finish(run(lambda: use_case(asked, wish, RunProgress), form=output, timeout=timeout), output)


@app.command("ls")
def ls(
    context: typer.Context,
    vms: Vms = None,
    inventory: Inventory = None,
    environment: Env = "",
    file: EnvFile = None,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """The snapshots of VMs (default: of all)."""
    from novafleet.report.snapshot import show

    _list(context, vms, inventory, environment, file, show, output, timeout)


@app.command("tree")
def tree(
    context: typer.Context,
    vms: Vms = None,
    inventory: Inventory = None,
    environment: Env = "",
    file: EnvFile = None,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """The same as trees: branches where a VM was taken back."""
    from novafleet.report.snapshot import tree as draw

    _list(context, vms, inventory, environment, file, draw, output, timeout)


def _list(
    context: typer.Context,
    vms: Sequence[str] | None,
    inventory: Sequence[Path] | None,
    environment: str,
    file: Path | None,
    display: Callable[[Listing, str], None],
    output: OutputForm,
    timeout: float,
) -> None:
    from novafleet.app.snapshotview import ls as use_case

    everything = () if environment or file is not None else ("*",)
    asked = guarded(lambda: selected(context, inventory, vms or everything, environment, file), output)
    _displayed(run(lambda: use_case(asked), form=output, timeout=timeout), display, output)


def _displayed(listing: Listing, display: Callable[[Listing, str], None], output: OutputForm) -> None:
    display(listing, output)
    if listing.failed:
        raise typer.Exit(ExitCode.PARTIAL if listing.vms else ExitCode.UNREACHABLE)


@app.command("show")
def show(
    context: typer.Context,
    words: VmAndNames = None,
    inventory: Inventory = None,
    environment: Env = "",
    file: EnvFile = None,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """All that is known of one snapshot."""
    from novafleet.app.snapshotview import show as use_case
    from novafleet.report.snapshot import detail

    asked, names = guarded(lambda: _named(context, words, inventory, environment, file, single=True), output)
    _displayed(run(lambda: use_case(asked, names[0]), form=output, timeout=timeout), detail, output)


@app.command("revert")
def revert(
    context: typer.Context,
    words: VmAndNames = None,
    inventory: Inventory = None,
    environment: Env = "",
    file: EnvFile = None,
    safety: Annotated[bool, typer.Option(help="First keep what is now in a snapshot (for a week).")] = True,
    start: Annotated[
        bool | None,
        typer.Option("--start/--no-start", help="Run it afterwards; default: if it runs now.", show_default=False),
    ] = None,
    yes: Yes = False,
    lock_wait: LockWait = 0.0,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Take a VM, or all of an environment, back to a snapshot."""
    from novafleet.app.snapshot import revert as use_case
    from novafleet.report.progress import RunProgress

    asked, names = guarded(lambda: _named(context, words, inventory, environment, file, lock_wait, single=True), output)
    finish(
        run(
            lambda: use_case(asked, names[0], RunProgress, confirmation(yes=yes), safety=safety, start=start),
            form=output,
            timeout=timeout,
        ),
        output,
    )


@app.command("rm")
def rm(
    context: typer.Context,
    words: VmAndNames = None,
    inventory: Inventory = None,
    environment: Env = "",
    file: EnvFile = None,
    tree: Annotated[bool, typer.Option("--tree", help="With all that descend from them.")] = False,
    every: Annotated[bool, typer.Option("--all", help="All of them; then name only the VM.")] = False,
    yes: Yes = False,
    lock_wait: LockWait = 0.0,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Remove snapshots, anywhere in the tree; the VM and the others keep their data."""
    from novafleet.app.snapshot import remove
    from novafleet.report.progress import RunProgress

    asked, names = guarded(lambda: _named(context, words, inventory, environment, file, lock_wait, every=every), output)
    finish(
        run(lambda: remove(asked, names, RunProgress, confirmation(yes=yes), tree=tree), form=output, timeout=timeout),
        output,
    )


@app.command("prune")
def prune(
    context: typer.Context,
    vms: Vms = None,
    inventory: Inventory = None,
    environment: Env = "",
    file: EnvFile = None,
    keep_last: Annotated[int, typer.Option(metavar="N", min=0, help="Keep the newest N.")] = 0,
    keep_hourly: Annotated[int, typer.Option(metavar="N", min=0, help="One of each of the last N hours.")] = 0,
    keep_daily: Annotated[int, typer.Option(metavar="N", min=0, help="… days.")] = 0,
    keep_weekly: Annotated[int, typer.Option(metavar="N", min=0, help="… weeks.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go.")] = False,
    yes: Yes = False,
    lock_wait: LockWait = 0.0,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Remove what is past its TTL, and of the rest what the rules do not keep (no rules: they keep all)."""
    from novafleet.app.snapshot import prune as use_case
    from novafleet.model.policy import Keep
    from novafleet.report.progress import RunProgress

    keep = Keep(last=keep_last, hourly=keep_hourly, daily=keep_daily, weekly=keep_weekly)
    asked = guarded(lambda: selected(context, inventory, vms, environment, file, lock_wait), output)
    finish(
        run(
            lambda: use_case(asked, keep, RunProgress, confirmation(yes=yes), dry_run=dry_run),
            form=output,
            timeout=timeout,
        ),
        output,
    )


def _named(
    context: typer.Context,
    words: Sequence[str] | None,
    inventory: Sequence[Path] | None,
    environment: str,
    file: Path | None,
    lock_wait: float = 0.0,
    *,
    every: bool = False,
    single: bool = False,
) -> tuple[Selected, Sequence[str]]:
    """``VM NAME…``, or only names for an environment; with ``every`` no name, with ``single`` one. Raises ConfigError
    NF-CFG-005."""
    given, whole = tuple(words or ()), bool(environment) or file is not None
    patterns, names = ((), given) if whole else (given[:1], given[1:])
    if bool(names) == every or not (patterns or whole):
        wanted = "name only the VM with --all" if every else "name the snapshot: VM NAME"
        raise ConfigError(wanted, code="NF-CFG-005", hints=("novafleet snapshot ls",))
    if single and len(names) > 1:
        what = f"name one snapshot, not {len(names)}: {', '.join(names)}"
        raise ConfigError(what, code="NF-CFG-005", hints=("with --environment or --file no VM is named",))
    return selected(context, inventory, patterns, environment, file, lock_wait), names


app.command("export")(snapshotarchive.export)
app.command("import")(snapshotarchive.import_)
