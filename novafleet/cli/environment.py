"""The everyday verbs: ``validate``, ``plan``, ``up``, ``status``, ``down``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from novafleet.cli.options import (
    AllowDataLoss,
    DestroyProtected,
    EnvironmentFile,
    Inventory,
    Limit,
    LockWait,
    Output,
    OutputForm,
    SnapshotBefore,
    Targets,
    Timeout,
    VariableFiles,
    Variables,
    Yes,
)
from novafleet.cli.run import environment_file, guarded, inventory_of, run
from novafleet.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from novafleet.model.request import EnvironmentRequest


def request_of(
    context: typer.Context,
    file: Path | None,
    inventory: Sequence[Path] | None,
    variables: Sequence[str] | None,
    variable_files: Sequence[Path] | None,
    **more: Any,
) -> EnvironmentRequest:
    """The request the options make. Raises ConfigError."""
    from novafleet.model.request import EnvironmentRequest

    return EnvironmentRequest(
        file=str(environment_file(file)),
        inventory=tuple(str(path) for path in inventory_of(context, inventory)),
        variables=dict(_assignment(each) for each in variables or ()),
        variable_files=tuple(str(path.absolute()) for path in variable_files or ()),
        **more,
    )


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"-e takes KEY=VALUE, not {text!r}", code="NF-CFG-005")
    return key, value


def validate(
    context: typer.Context,
    file: EnvironmentFile = None,
    inventory: Inventory = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    output: Output = OutputForm.TABLE,
) -> None:
    """Check an environment file and the inventory; no host is asked."""
    from novafleet.app.validate import validate as use_case
    from novafleet.report.validate import show

    found = guarded(
        lambda: use_case(request_of(context, file, inventory, variables, variable_files)),
        output,
    )
    show(found, output)


def plan(
    context: typer.Context,
    file: EnvironmentFile = None,
    inventory: Inventory = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    limit: Limit = "",
    target: Targets = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="PLAN", help="Save the plan for `up PLAN`.")] = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 10 when there are changes.")
    ] = False,
    allow_data_loss: AllowDataLoss = False,
    snapshot_before: SnapshotBefore = False,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Show what `up` would do, and why. Changes nothing."""
    from novafleet.app.show import plan_up
    from novafleet.model.plan import PlanOptions

    request = guarded(
        lambda: request_of(
            context,
            file,
            inventory,
            variables,
            variable_files,
            limit=limit,
            targets=tuple(target or ()),
            options=PlanOptions(allow_data_loss=allow_data_loss, snapshot_before=snapshot_before),
        ),
        output,
    )
    later = ("novafleet.app.planners", "novafleet.report.plan")
    planned = run(lambda: plan_up(request, out), form=output, timeout=timeout, then=later)

    from novafleet.report.plan import show

    show(planned, output)
    if planned.unreachable:
        raise typer.Exit(ExitCode.PARTIAL)
    if detailed_exitcode and planned.changed:
        raise typer.Exit(ExitCode.CHANGES)


def up(
    context: typer.Context,
    file: EnvironmentFile = None,
    inventory: Inventory = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    limit: Limit = "",
    target: Targets = None,
    yes: Yes = False,
    allow_data_loss: AllowDataLoss = False,
    snapshot_before: SnapshotBefore = False,
    lock_wait: LockWait = 0.0,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Bring an environment up: FILE is an environment file, or a plan saved with `plan --out`."""
    from novafleet.cli.change import change
    from novafleet.model.plan import PlanOptions

    change(
        "up",
        lambda: request_of(
            context,
            file,
            inventory,
            variables,
            variable_files,
            limit=limit,
            targets=tuple(target or ()),
            options=PlanOptions(allow_data_loss=allow_data_loss, snapshot_before=snapshot_before),
        ),
        yes=yes,
        lock_wait=lock_wait,
        form=output,
        timeout=timeout,
    )


def down(
    context: typer.Context,
    file: EnvironmentFile = None,
    inventory: Inventory = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    limit: Limit = "",
    target: Targets = None,
    volumes: Annotated[bool, typer.Option("--volumes", help="Delete unprotected volumes too.")] = False,
    destroy_protected: DestroyProtected = False,
    yes: Yes = False,
    lock_wait: LockWait = 0.0,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Take an environment down, dependants first. Volumes stay unless --volumes says otherwise."""
    from novafleet.cli.change import change
    from novafleet.model.plan import PlanOptions

    change(
        "down",
        lambda: request_of(
            context,
            file,
            inventory,
            variables,
            variable_files,
            limit=limit,
            targets=tuple(target or ()),
            options=PlanOptions(volumes=volumes, destroy_protected=destroy_protected),
        ),
        yes=yes,
        lock_wait=lock_wait,
        form=output,
        timeout=timeout,
    )


def status(
    context: typer.Context,
    file: EnvironmentFile = None,
    inventory: Inventory = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    limit: Limit = "",
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """How everything stands: state, readiness, and drift (last applied / file / host)."""
    from novafleet.app.status import status as use_case
    from novafleet.report.status import show

    request = guarded(lambda: request_of(context, file, inventory, variables, variable_files, limit=limit), output)
    found = run(lambda: use_case(request), form=output, timeout=timeout)
    show(found.environment, found.resources, output, found.unreachable)
    if found.unreachable:
        raise typer.Exit(ExitCode.PARTIAL)
