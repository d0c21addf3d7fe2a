"""``lab up|status|ssh|down``: the practice fleet."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from novafleet.cli.options import Output, OutputForm, Yes
from novafleet.cli.run import guarded
from novafleet.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from novafleet.lab.hosts import HostState
    from novafleet.lab.progress import Progress

app = typer.Typer(help="A practice fleet: real KVM hosts in containers on this machine.", no_args_is_help=True)


def _progress() -> Progress:
    from novafleet.lab.progress import Progress

    return Progress(lambda line: typer.echo(line, err=True))


@app.command()
def up(
    hosts: Annotated[int, typer.Option("--hosts", metavar="N", help="How many; default: those there are, else 3.")] = 0,
    debian: Annotated[bool, typer.Option("--debian", help="Also build a guest image of a whole Debian.")] = False,
    output: Output = OutputForm.TABLE,
) -> None:
    """Bring the lab up, or what is missing of it."""
    from novafleet.app.lab import up as use_case
    from novafleet.lab.place import Place

    _show(guarded(lambda: use_case(Place.default(), _progress(), hosts, debian=debian), output), output)


@app.command()
def status(output: Output = OutputForm.TABLE) -> None:
    """Hosts of the lab and what answers on them; exit status 1 when one is not ready, or none is there."""
    from novafleet.app.lab import status as use_case

    found = guarded(use_case, output)
    _show(found, output)
    if not found or not all(each.ready for each in found):
        raise typer.Exit(ExitCode.FAILED)


@app.command(context_settings={"allow_interspersed_args": False})
def ssh(
    host: Annotated[str, typer.Argument(metavar="HOST", help="kvm1, kvm2 …")],
    command: Annotated[list[str] | None, typer.Argument(metavar="[-- CMD]", help="Run this; default: a shell.")] = None,
    user: Annotated[str, typer.Option("--user", "-u", help="root, ops (sudo) or opspw (sudo with password).")] = "root",
) -> None:
    """Log in to a host of the lab with the lab's own key."""
    from novafleet.app.lab import ssh_argv
    from novafleet.lab.place import Place

    words = command or []
    words = words[1:] if words[:1] == ["--"] else words
    argv = guarded(lambda: ssh_argv(Place.default(), host, words, user))
    os.execvp(argv[0], argv)  # noqa: S606 ssh takes this process's terminal over


@app.command()
def down(
    purge: Annotated[
        bool, typer.Option("--purge", help="Also remove images, keys and state, and stop the engine the lab started.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Remove the lab's hosts with everything on them."""
    from novafleet.app.lab import down as use_case
    from novafleet.lab.place import Place

    guarded(lambda: use_case(Place.default(), _progress(), purge=purge))


def _show(found: Sequence[HostState], form: str) -> None:
    from novafleet.report import console

    if form != "table":
        console.document({"hosts": [_row(each) for each in found]}, form)
        return
    if not found:
        console.out().print("The lab is down. Start it: novafleet lab up")
        return
    columns = ("host", "address", "flavour", "state", "ssh", "libvirt", "engine")
    grid = console.table("", *(name.upper() for name in columns))
    for each in found:
        row = _row(each)
        grid.add_row(*(console.text(row[name] or "-") for name in columns))
    console.out().print(grid)


def _row(state: HostState) -> dict[str, object]:
    host = state.host
    return {
        "host": host.name,
        "address": host.address,
        "flavour": host.flavour,
        "state": "ready" if state.ready else state.state,
        "ssh": state.ssh,
        "libvirt": state.libvirt,
        "engine": state.engine,
    }
