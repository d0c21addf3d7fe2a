"""From what was seen to the dossier of a migration. Pure."""

from __future__ import annotations

from novafleet.capability.migration.observed import Observed
from novafleet.model.migration import Dossier, Wanted


def decide(observed: Observed, wanted: Wanted) -> Dossier:
    """Findings, a verdict for each mode, and the move as it would be made. Never raises for what it finds:
    ``refuse`` does."""
    raise NotImplementedError


def refuse(dossier: Dossier) -> None:
    """Raise MigrationError (or GuardError) with the first blocker's code when no mode that was asked for is possible;
    the others are its hints."""
    raise NotImplementedError
