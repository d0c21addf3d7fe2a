"""Host keys as they are presented, beside those that are known."""

from __future__ import annotations

from novafleet.app.trust import Offer, Offers, Standing
from novafleet.model.encode import encode
from novafleet.report import console, findings

STYLES = {Standing.KNOWN: "green", Standing.NEW: "yellow", Standing.CHANGED: "bold red", Standing.FAILED: "red"}


def show(offers: Offers, form: str) -> None:
    """A table, then what a changed key replaced; or ``{offers: […]}``."""
    if form != "table":
        console.document({"offers": encode(offers.offers), "file": str(offers.file)}, form)
        return
    grid = console.table("", "HOST", "STANDING", "ADDRESS", "KEY")
    for offer in offers.offers:
        grid.add_row(console.text(offer.host), console.text(offer.standing, STYLES[offer.standing]), *_key(offer))
    console.out().print(grid)
    for offer in offers.changed:
        for expected in offer.expected:
            console.err().print(console.text(f"{offer.host}: was {expected}", "red"), soft_wrap=True)
    for offer in offers.failed:
        if offer.error is not None:
            findings.show_finding(offer.error)


def _key(offer: Offer) -> tuple[str, str]:
    if not offer.key:
        return "-", "-"
    return f"{offer.name}:{offer.port}", f"{offer.key.split()[0]} {offer.fingerprint}"
