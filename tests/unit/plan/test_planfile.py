"""Plans on disk: what goes in comes out, and a stale one is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novafleet.errors import ConfigError, ExitCode, Location, StalePlanError
from novafleet.model.encode import decode, encode
from novafleet.model.plan import Change, Impact, Plan, PlanOptions, Reason, ResourceChange, Step, StepClass
from novafleet.model.request import EnvironmentRequest
from novafleet.plan.planfile import dump, is_plan, load, refuse_stale

names = st.text("abcdefghij-", min_size=1, max_size=8)
texts = st.text(max_size=20)
steps = st.builds(
    Step, names, names, names, names, st.sampled_from(StepClass), st.dictionaries(names, texts), st.tuples(names)
)
reasons = st.builds(Reason, texts, names, texts, texts, st.builds(Location, names, st.integers(0, 99)))
changes = st.builds(
    ResourceChange, names, names, names, names, st.sampled_from(Change), st.sampled_from(Impact),
    st.tuples(reasons), st.integers(0, 2**40), st.tuples(steps, steps),
)  # fmt: skip
plans = st.builds(Plan, names, st.sampled_from(("up", "down")), st.tuples(changes), names)


@given(plans)
def test_a_plan_survives_its_file(plan: Plan) -> None:
    text = dump(plan, {"file": "x"})
    assert is_plan(text)
    assert load(text, "plan.json") == (plan, {"file": "x"})


def test_a_request_survives_its_file() -> None:
    request = EnvironmentRequest("/e.yml", ("/inv",), {"a": "b"}, ("/v.yml",), "kvm1", ("vm.db",), PlanOptions(True))
    assert decode(EnvironmentRequest, encode(request)) == request


@pytest.mark.parametrize("text", ["", "{}", '{"plan": {"oops": 1}, "request": {}}', "[]", "environment: dev"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text, "plan.json")
    assert caught.value.code == "NF-PLAN-010"


def test_yaml_is_not_a_plan() -> None:
    assert not is_plan("environment: dev\n")


def test_a_stale_plan_names_what_differs() -> None:
    change = ResourceChange("vm.db", "vm", "db", "kvm1", Change.CREATE)
    saved = Plan("dev", "up", (change,))
    refuse_stale(saved, saved)
    with pytest.raises(StalePlanError) as caught:
        refuse_stale(saved, Plan("dev", "up", (replace(change, change=Change.UPDATE),)))
    assert "vm.db" in caught.value.cause
    assert caught.value.exit_code is ExitCode.STALE_PLAN
