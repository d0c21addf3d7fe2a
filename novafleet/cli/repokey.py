"""``repo key ls|add|rm|rotate|sheet``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from novafleet.cli.backup import key_of
from novafleet.cli.options import KeyFile, Output, OutputForm, Passphrase, RepoUrl
from novafleet.cli.run import guarded, run

app = typer.Typer(help="The keys of a repository: each opens it, none is stored in it.", no_args_is_help=True)

NewKeyFile = Annotated[
    Path | None,
    typer.Option("--new-key-file", metavar="PATH", help="The new key; made if absent.", show_default=False),
]
NewPassphrase = Annotated[
    str,
    typer.Option(
        "--new-passphrase",
        metavar="REF",
        help="Or a passphrase: env:NAME, file:PATH, credential:NAME or keyring:NAME.",
        show_default=False,
    ),
]
Label = Annotated[str, typer.Option("--label", metavar="TEXT", help="What it is for; shown by `key ls`.")]


@app.command("ls")
def ls(url: RepoUrl = "", output: Output = OutputForm.TABLE) -> None:
    """The keys there are; no key is needed to see that."""
    from novafleet.app.repo import key_ls
    from novafleet.report.repo import show_keys

    show_keys(run(lambda: key_ls(url), form=output), output)


@app.command("add")
def add(
    url: RepoUrl = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    new_key_file: NewKeyFile = None,
    new_passphrase: NewPassphrase = "",
    label: Label = "",
    output: Output = OutputForm.TABLE,
) -> None:
    """Let one more key open the repository."""
    from novafleet.app.repo import key_add
    from novafleet.report.repo import show_slot

    key = guarded(lambda: key_of(key_file, passphrase), output)
    new = guarded(lambda: key_of(new_key_file, new_passphrase), output)
    slot, made = run(lambda: key_add(url, key, new, label), form=output)
    show_slot("added", slot, made, output)


@app.command("rm")
def rm(
    slot: Annotated[str, typer.Argument(metavar="SLOT", help="As `key ls` shows it, or the beginning of it.")],
    url: RepoUrl = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    output: Output = OutputForm.TABLE,
) -> None:
    """Remove a key; never the one given, nor the last one. Who copied the master key with it keeps that."""
    from novafleet.app.repo import key_rm
    from novafleet.report.repo import show_slot

    key = guarded(lambda: key_of(key_file, passphrase), output)
    show_slot("removed", run(lambda: key_rm(url, key, slot), form=output), "", output)


@app.command("rotate")
def rotate(
    url: RepoUrl = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    new_key_file: NewKeyFile = None,
    new_passphrase: NewPassphrase = "",
    label: Label = "",
    output: Output = OutputForm.TABLE,
) -> None:
    """Put a new key in the place of the one given. Nothing that is stored is written again."""
    from novafleet.app.repo import key_rotate
    from novafleet.report.repo import show_rotated

    key = guarded(lambda: key_of(key_file, passphrase), output)
    new = guarded(lambda: key_of(new_key_file, new_passphrase), output)
    show_rotated(run(lambda: key_rotate(url, key, new, label), form=output), output)


@app.command("sheet")
def sheet(
    url: RepoUrl = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    target: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="A new file only you can read; default: print it.")
    ] = None,
) -> None:
    """A recovery sheet for the safe: a new key on paper, and how to restore with it, with or without NovaFleet."""
    from novafleet.app.repo import sheet as use_case

    key = guarded(lambda: key_of(key_file, passphrase))
    text = run(lambda: use_case(url, key, target))
    typer.echo(f"written to {target}: print it, then delete the file" if target else text)
