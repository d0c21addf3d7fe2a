"""What a person asked for: enough to plan the same thing again (``resume``, plan files)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from novafleet.model.plan import PlanOptions


@dataclass(frozen=True, slots=True)
class EnvironmentRequest:
    """One environment file with its variables, on one inventory. Paths are absolute.

    ``variables`` come from ``-e``; they are recorded in plans and journals, so secrets belong in ``${env:…}``.
    """

    file: str
    inventory: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    variable_files: tuple[str, ...] = ()
    limit: str = ""
    targets: tuple[str, ...] = ()
    options: PlanOptions = field(default_factory=PlanOptions)
