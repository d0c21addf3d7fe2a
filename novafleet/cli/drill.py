"""``backup drill``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from novafleet.cli.options import Inventory, KeyFile, LockWait, Output, OutputForm, Passphrase, Repo, Timeout
from novafleet.cli.run import guarded, inventory_of, run
from novafleet.errors import ExitCode

if TYPE_CHECKING:
    from novafleet.model.environment import Gate

Vm = Annotated[str, typer.Argument(metavar="VM", help="A domain's name, HOST/DOMAIN, ENV/NAME or ENV/stack.NAME.")]
HostName = Annotated[
    str, typer.Option("--host", metavar="HOST", help="Where; default: the host with the most free memory.")
]
File = Annotated[
    Path | None, typer.Option("--file", metavar="FILE", help="Environment file whose gates (ready:) judge it.")
]
Serial = Annotated[str, typer.Option("--serial", metavar="REGEX", help="Instead: the serial console must say this.")]
Port = Annotated[int, typer.Option("--tcp", metavar="PORT", help="Instead: this port must be open.")]
Wait = Annotated[float, typer.Option("--wait", metavar="SECONDS", help="How long these gates may take.")]
Pool = Annotated[str, typer.Option("--pool", metavar="NAME", help="The storage pool its disks go to.")]


def register(app: typer.Typer) -> None:
    """Add the verb to ``backup``."""
    app.command("drill")(drill)


def drill(
    context: typer.Context,
    vm: Vm,
    inventory: Inventory = None,
    repo: Repo = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    host: HostName = "",
    file: File = None,
    serial: Serial = "",
    tcp: Port = 0,
    wait: Wait = 300.0,
    pool: Pool = "default",
    lock_wait: LockWait = 0.0,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Prove a newest backup: boot VM or stack cut off from everything, ask its gates, remove it, keep the outcome."""
    from novafleet.app.drill import run_drill
    from novafleet.app.drillplan import DrillRequest
    from novafleet.app.repository import key_source
    from novafleet.report.progress import RunProgress
    from novafleet.report.restore import show_drill

    request = guarded(
        lambda: DrillRequest(
            inventory=inventory_of(context, inventory),
            repository=repo,
            key=key_source(key_file, passphrase),
            vm=vm,
            host=host,
            file=file,
            gates=_gates(serial, tcp, wait),
            pool=pool,
            lock_wait=lock_wait,
        ),
        output,
    )
    done = run(lambda: run_drill(request, RunProgress), form=output, timeout=timeout)
    show_drill(done, output)
    if not done.ok:
        raise typer.Exit(int(ExitCode.FAILED))


def _gates(serial: str, tcp: int, wait: float) -> tuple[Gate, ...]:
    from novafleet.model.environment import Gate, GateKind

    said = (Gate(GateKind.SERIAL, {"pattern": serial}, timeout=wait),) if serial else ()
    opened = (Gate(GateKind.TCP, {"port": tcp}, timeout=wait),) if tcp else ()
    return (*said, *opened)
