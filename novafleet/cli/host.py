"""``host ls|show|why|facts|exec|trust|doctor``; ``drain``, ``undrain`` and ``maintenance`` are in ``drain.py``."""

from __future__ import annotations

from typing import Annotated

import typer

from novafleet.cli import drain as draining
from novafleet.cli.options import Inventory, Limit, Output, OutputForm, Timeout, Yes
from novafleet.cli.run import guarded, inventory_of, run
from novafleet.errors import ExitCode

app = typer.Typer(help="Hosts of the inventory.", no_args_is_help=True)
app.command("drain")(draining.drain)
app.command("undrain")(draining.undrain)
app.add_typer(draining.maintenance, name="maintenance")

HostName = Annotated[str, typer.Argument(metavar="HOST", help="A host's name in the inventory.")]


@app.command("ls")
def ls(
    context: typer.Context, inventory: Inventory = None, limit: Limit = "", output: Output = OutputForm.TABLE
) -> None:
    """List hosts; none is asked."""
    from novafleet.app import inventory as use_case
    from novafleet.report import inventory as report

    report.print_hosts(guarded(lambda: use_case.ls(inventory_of(context, inventory), limit), output), output)


@app.command("show")
def show(
    context: typer.Context, name: HostName, inventory: Inventory = None, output: Output = OutputForm.TABLE
) -> None:
    """Everything the inventory says of a host."""
    from novafleet.app import inventory as use_case
    from novafleet.report import inventory as report

    report.print_host(guarded(lambda: use_case.show(inventory_of(context, inventory), name), output), output)


@app.command("why")
def why(
    context: typer.Context,
    name: HostName,
    var: Annotated[str, typer.Argument(metavar="VAR", help="A variable or connection setting.")],
    inventory: Inventory = None,
    output: Output = OutputForm.TABLE,
) -> None:
    """Every file:line that sets a value of a host, and which one won."""
    from novafleet.app import inventory as use_case
    from novafleet.report import inventory as report

    report.print_why(guarded(lambda: use_case.why(inventory_of(context, inventory), name, var), output), output)


@app.command("facts")
def facts(
    context: typer.Context,
    inventory: Inventory = None,
    limit: Limit = "",
    collector: Annotated[
        list[str] | None,
        typer.Option("--collector", "-c", metavar="NAME", help="Only this one; may repeat."),
    ] = None,
    ls: Annotated[bool, typer.Option("--list", help="List the collectors; ask no host.")] = False,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """What collectors tell of hosts: all but expensive ones; the shipped, and those in collectors/ by the inventory."""
    from novafleet.app import facts as use_case
    from novafleet.app.exec import exit_code
    from novafleet.report import facts as report

    paths = guarded(lambda: inventory_of(context, inventory), output)
    if ls:
        report.show_collectors(guarded(lambda: use_case.listed(paths), output), output)
        return
    told = run(lambda: use_case.facts(paths, collector or (), limit), form=output, timeout=timeout)
    report.show(told, output)
    if (status := exit_code({each.outcome for each in told})) is not ExitCode.OK:
        raise typer.Exit(int(status))


@app.command("exec", context_settings={"ignore_unknown_options": True})
def execute(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="-- CMD [ARG]…", help="The command, word by word.")],
    inventory: Inventory = None,
    limit: Limit = "",
    become: Annotated[bool, typer.Option("--become", "-b", help="As root.")] = False,
    forks: Annotated[int, typer.Option("--forks", "-f", min=1, help="Hosts at once.")] = 100,
    output: Output = OutputForm.TABLE,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="Per host; 0: none.")] = 0.0,
) -> None:
    """Run a command on hosts, all at once; equal outputs are shown once."""
    from novafleet.app import exec as use_case
    from novafleet.report import exec as report

    paths = guarded(lambda: inventory_of(context, inventory), output)
    results = run(
        lambda: use_case.execute(paths, tuple(words), limit=limit, become=become, forks=forks, timeout=timeout or None),
        form=output,
    )
    report.show(results, output)
    if (status := use_case.exit_code({result.outcome for result in results})) is not ExitCode.OK:
        raise typer.Exit(int(status))


@app.command("trust")
def trust(
    context: typer.Context,
    inventory: Inventory = None,
    limit: Limit = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Also where another key was known: only after you asked why it changed.")
    ] = False,
    yes: Yes = False,
    output: Output = OutputForm.TABLE,
) -> None:
    """Fetch host keys, show their fingerprints and, once you compared them, remember them."""
    from novafleet.app import trust as use_case
    from novafleet.report import trust as report

    paths = guarded(lambda: inventory_of(context, inventory), output)
    offers = run(lambda: use_case.fetch(paths, limit), form=output)
    report.show(offers, output)
    if offers.fresh(replace=replace) and (yes or _consents(output)):
        guarded(lambda: use_case.remember(offers, replace=replace), output)
    if offers.failed or (offers.changed and not replace):
        raise typer.Exit(ExitCode.PARTIAL)


def _consents(output: str) -> bool:
    if output != OutputForm.TABLE:
        return False
    return typer.confirm("Are these the fingerprints the hosts' consoles show?", err=True)


@app.command("doctor")
def doctor(
    context: typer.Context,
    inventory: Inventory = None,
    limit: Limit = "",
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Look at everything a host needs: each finding with its fix."""
    from novafleet.app.doctor import doctor as use_case
    from novafleet.model.finding import Severity
    from novafleet.report.doctor import show as report

    paths = guarded(lambda: inventory_of(context, inventory), output)
    findings = run(lambda: use_case(paths, limit), form=output, timeout=timeout)
    report(findings, output)
    if any(finding.severity is Severity.ERROR for finding in findings):
        raise typer.Exit(ExitCode.FAILED)
