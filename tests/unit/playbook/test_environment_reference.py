"""docs/reference/environment.md is what the schema says."""

from __future__ import annotations

from pathlib import Path

from novafleet.playbook.reference import environment_reference
from novafleet.playbook.schema.environment import ENVIRONMENT
from novafleet.source.reference import records
from novafleet.source.schema import Record

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "environment.md"
RENEW = """python -c 'from novafleet.playbook.reference import environment_reference as r; print(r(), end="")'"""


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == environment_reference(), f"run: {RENEW} > docs/reference/environment.md"


def test_every_key_has_a_meaning_and_an_example() -> None:
    lacking = [
        f"{record.name}.{field.name}" for record in records(ENVIRONMENT) for field in record.fields
        if not field.doc or not field.example
    ]  # fmt: skip
    assert lacking == []
    assert {record.name for record in records(ENVIRONMENT)} >= {"VM", "disk", "NIC", "gate", "stack", "place"}
    assert all(isinstance(record, Record) for record in records(ENVIRONMENT))
