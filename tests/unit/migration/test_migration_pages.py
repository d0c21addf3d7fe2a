"""The pages about dossier and recovery say what the code does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from novafleet.app.recovery import Recovered, Recovery
from novafleet.capability.migration.recover import RULES, Action, Facts, Seen, decide_recovery
from novafleet.model.environment import Gate, GateKind
from novafleet.model.migration import GateAhead, Mode, Phase
from novafleet.report import dossier as report
from novafleet.report import recover as recovery_report
from tests.unit.migration.dossiers import dossier, observed

DOCS = Path(__file__).parents[3] / "docs"
RECOVERY = (DOCS / "concepts/migration-recovery.md").read_text()
DOSSIER = (DOCS / "reference/migration-dossier.md").read_text()
LIKE_DATA = frozenset(("paths", "leases", "networks", "unreachable"))


def shape(value: Any, name: str = "") -> Iterator[str]:
    """The names in a document, one path each."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield f"{name}.{key}"
            if key not in LIKE_DATA:
                yield from shape(each, f"{name}.{key}")
    for each in value if isinstance(value, list) else ():
        yield from shape(each, name)


def example(page: str) -> Any:
    found = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_table_of_rules_is_that_of_the_code() -> None:
    table = RECOVERY.partition("| rule |")[2]
    rows = re.findall(r"^\| `([a-z-]+)` \| .* \| (.*) \|$", table, re.MULTILINE)
    assert [name for name, _ in rows] == [rule.name for rule in RULES]
    words = {Action.ALARM: "alarm", Action.ASK: "ask", Action.WAIT: "wait", Action.COMMIT: "commit"}
    words |= {Action.ROLL_BACK: "roll back", Action.LEAVE: "leave", Action.NOTHING: "nothing"}
    words |= {Action.START_DESTINATION: "start it there", Action.RESUME: "resume"}
    for rule, (_, said) in zip(RULES, rows, strict=True):
        assert words[rule.action] in said, rule.name


def test_the_dossier_of_the_page_has_the_fields_of_the_report() -> None:
    gate = GateAhead(Gate(GateKind.TCP, {"port": 5432}), met=True, evidence="it is open", modes=(Mode.LIVE,))
    made = report.document(dossier(observed(gates=(gate,))))
    assert set(shape(example(DOSSIER))) == set(shape(json.loads(json.dumps(made))))


def test_the_recovery_of_the_page_has_the_fields_of_the_report() -> None:
    facts = Facts(Phase.SWITCHING, Mode.LIVE, True, Seen(state="paused", reason="migration"), Seen())
    row = Recovered("0a1b2c3d", "lab-db", "kvm1", "kvm2", facts, decide_recovery(facts), done=True)
    made = json.loads(json.dumps(recovery_report.document(Recovery((row,), {}))))
    told = example(RECOVERY)
    assert set(shape(told)) == set(shape(made))
    assert told["jobs"][0] == made["jobs"][0]
