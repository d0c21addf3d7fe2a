"""Steps, results and reports of snapshot runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from novafleet.app.party import Done, Party, Selected, VmResult, results_of
from novafleet.app.snapshot import Wish, _create_steps, _skew, create
from novafleet.app.snapshotview import Listing, SnapshotRow, VmSnapshots
from novafleet.app.vmselect import Chosen
from novafleet.errors import ConfigError, ExitCode, UnreachableError
from novafleet.model.facts import Domain
from novafleet.model.fleet import Host
from novafleet.model.run import NodeResult, NodeState
from novafleet.report import console, snapshot


def party(*names: str, environment: str = "") -> Party:
    chosen = tuple(Chosen(Host("kvm1", ""), Domain(name, name, "running", ""), name, environment) for name in names)
    world: Any = SimpleNamespace(clock=SimpleNamespace(now=lambda: 1_000_000.0))
    return Party(world, chosen, {}, {}, {}, "r1")


def result(vm: str, verb: str, state: NodeState = NodeState.DONE, **more: Any) -> NodeResult:
    return NodeResult(f"kvm1/{vm}/{verb}", f"kvm1/{vm}", "kvm1", state, 0, 1, label=verb, **more)


def test_a_group_is_frozen_before_the_first_snapshot_and_others_are_not_waited_for() -> None:
    crew = party("a", "b", environment="dev")
    together = {each.id: each for each in _create_steps(crew, Wish(), "r1")}
    assert together["kvm1/a/create"].after == ("kvm1/a/freeze", "kvm1/b/freeze")
    alone = {each.id: each for each in _create_steps(crew, Wish(), "")}
    assert alone["kvm1/a/create"].after == ("kvm1/a/freeze",)
    tokens = {each.args["token"] for each in together.values()}
    assert len(tokens) == 2, "the overlay that is prepared is the one that is made"
    assert together["kvm1/a/freeze"].args["name"] == "19700112-134640"


def test_the_skew_is_that_of_the_moments_in_between() -> None:
    a = result("a", "create", outcome={"began": 1.0, "ended": 1.2})
    b = result("b", "create", outcome={"began": 1.1, "ended": 1.15})
    assert _skew([a, b]) == 25.0
    assert _skew([a]) is None


def test_a_vm_is_as_good_as_its_worst_step() -> None:
    error = {"code": "NF-SNAP-005", "what": "no"}
    failed = [result("a", "freeze", NodeState.FAILED, error=error), result("a", "create", NodeState.SKIPPED)]
    skipped = [result("b", "freeze"), result("b", "create", NodeState.SKIPPED, because="a failed")]
    gone = UnreachableError("kvm9 is off").at("kvm1")
    rows = {each.vm: each for each in results_of(party("a", "b", "c"), [*failed, *skipped], {"kvm1/c": gone})}
    assert {name: row.state for name, row in rows.items()} == {"a": "failed", "b": "cancelled", "c": "unreachable"}
    assert rows["a"].error == error
    assert rows["b"].outcome["because"] == "a failed"


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (("done", "done"), ExitCode.OK),
        (("done", "failed"), ExitCode.PARTIAL),
        (("failed",), ExitCode.FAILED),
        (("unreachable",), ExitCode.UNREACHABLE),
    ],
)
def test_exit_statuses(states: tuple[str, ...], code: ExitCode) -> None:
    assert Done("create", "r", tuple(VmResult("a", "a", "h", "", state) for state in states)).exit_code is code


def test_the_exit_status_when_others_work_on_all_of_them() -> None:
    held, other = ({"code": code} for code in ("NF-LOCK-002", "NF-LV-112"))
    rows = [VmResult("a", "a", "h", "", "failed", error=error) for error in (held, other)]
    assert Done("create", "r", (rows[0],)).exit_code is ExitCode.LOCK_HELD
    assert Done("create", "r", tuple(rows)).exit_code is ExitCode.FAILED


def test_a_tree_shows_branches_and_where_one_is(capsys: pytest.CaptureFixture[str]) -> None:
    rows = (
        SnapshotRow("monday", "", 0.0, "fs", "external", 0, current=True),
        SnapshotRow("tuesday", "monday", 0.0, "crash", "external", 2048, text="first\nsecond"),
    )
    listing = Listing((VmSnapshots("db", "db", "kvm1", "", "running", rows, unfinished=True),), {})
    console.out.cache_clear()
    console.err.cache_clear()
    snapshot.tree(listing, "table")
    shown = capsys.readouterr()
    lines = [line.rstrip() for line in shown.out.splitlines()]
    assert lines[0] == "kvm1/db (running)"
    assert lines[1].startswith("└── monday  19")
    assert "├── you are here" in lines[2]
    assert lines[3].endswith("crash, 2.0 KiB  first")
    assert "novafleet snapshot prune kvm1/db" in shown.err
    console.out.cache_clear()
    console.err.cache_clear()


@pytest.mark.parametrize("at", [1e13, -1e13, 1e300])
def test_times_no_calendar_has_are_shown(at: float, capsys: pytest.CaptureFixture[str]) -> None:
    rows = (SnapshotRow("a", "", at, "fs", "external", 0, expires=abs(at)),)
    listing = Listing((VmSnapshots("db", "db", "kvm1", "", "running", rows),), {})
    console.out.cache_clear()
    for show in (snapshot.show, snapshot.tree, snapshot.detail):
        show(listing, "table")
        assert "beyond 9999" in capsys.readouterr().out
    console.out.cache_clear()


@pytest.mark.parametrize(
    "wish",
    [
        Wish(name="a/b"),
        Wish(name=".a"),
        Wish(name="a\nb"),
        Wish(name="n" * 201),
        Wish(name="\udcff"),
        Wish(text="\x1b[2J"),
    ],
)
async def test_words_libvirt_would_refuse_when_overlays_are_there_are_refused_first(wish: Wish) -> None:
    with pytest.raises(ConfigError) as caught:
        await create(Selected(()), wish, lambda *_more: None)  # type: ignore[arg-type]
    assert caught.value.code == "NF-CFG-005"
