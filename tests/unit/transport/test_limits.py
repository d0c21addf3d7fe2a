"""Gates: never more than their size at once, and a refusal makes them smaller."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novafleet.errors import ChannelError
from novafleet.transport.limits import CHANNELS, Gate, Handshakes, SessionGate, pause


@given(st.integers(1, 6), st.lists(st.integers(0, 3), max_size=30))
def test_a_gate_holds_its_size(size: int, turns: list[int]) -> None:
    async def run() -> int:
        gate, most = Gate(size), 0

        async def visit(steps: int) -> None:
            nonlocal most
            await gate.acquire()
            most = max(most, gate.used)
            for _ in range(steps):
                await asyncio.sleep(0)
            gate.release()

        await asyncio.gather(*(visit(steps) for steps in turns))
        assert gate.used == 0
        return most

    assert asyncio.run(run()) <= size


async def test_a_cancelled_waiter_does_not_eat_the_place() -> None:
    gate = Gate(1)
    await gate.acquire()
    first, second = asyncio.ensure_future(gate.acquire()), asyncio.ensure_future(gate.acquire())
    await asyncio.sleep(0)
    gate.release()
    first.cancel()
    await asyncio.wait_for(second, 1)
    assert gate.used == 1


async def test_sessions_are_learnt_from_refusals() -> None:
    gate = SessionGate("kvm1")
    for _ in range(CHANNELS):
        await gate.enter()
    assert all(gate.refused() for _ in range(CHANNELS - 2))
    assert (gate.gate.size, gate.gate.used) == (2, 2)
    gate.leave()
    assert not gate.refused()


async def test_a_small_server_that_stays_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("novafleet.transport.limits.PATIENCE", 0.05)
    gate = SessionGate("kvm1")
    await gate.enter()
    await gate.enter()
    gate.refused()
    with pytest.raises(ChannelError) as caught:
        await gate.enter()
    assert caught.value.code == "NF-SSH-401"


async def test_who_waits_long_for_a_session_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told, said = asyncio.Event(), []

    def warning(text: str, *words: object) -> None:
        said.append(text % words)
        told.set()

    monkeypatch.setattr("novafleet.transport.limits.PATIENCE", 0.01)
    monkeypatch.setattr("novafleet.transport.limits.log.warning", warning)
    gate = SessionGate("kvm1")
    for _ in range(CHANNELS):
        await gate.enter()
    assert not said
    waiting = asyncio.create_task(gate.enter())
    await asyncio.wait_for(told.wait(), 5)
    assert said == ["kvm1: all 8 sessions have been in use for 0 s; waiting for one"]
    gate.leave()
    await waiting


async def test_dropped_logins_make_room() -> None:
    handshakes, sshd = Handshakes(), ("kvm1", 22)
    async with handshakes.slot(sshd), handshakes.slot(sshd), handshakes.slot(sshd):
        handshakes.dropped(sshd)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02), handshakes.slot(sshd):
                pass


def test_pauses_grow_to_a_bound() -> None:
    assert all(0.05 <= pause(attempt) <= 4.0 for attempt in range(1, 12))
