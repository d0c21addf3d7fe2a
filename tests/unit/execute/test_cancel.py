"""Ctrl-C in two stages."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from novafleet.execute.cancel import Cancellation, Stage


def test_stages_only_go_forward_and_the_first_reason_stays() -> None:
    cancellation, heard = Cancellation(), []
    with cancellation.listening(lambda: heard.append(cancellation.stage)):
        cancellation.request("first")
        cancellation.request("second", Stage.STOP)
        cancellation.request("third")
        cancellation.request("fourth")
    cancellation.request("fifth")
    assert heard == [Stage.STOP, Stage.ABORT]
    assert cancellation.because == "first"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_request_stages_and_the_third_is_the_systems_own(number: signal.Signals) -> None:
    cancellation = Cancellation()
    stages: asyncio.Queue[Stage] = asyncio.Queue()
    with cancellation.signals(stages.put_nowait):
        os.kill(os.getpid(), number)
        assert await asyncio.wait_for(stages.get(), 10) is Stage.STOP
        os.kill(os.getpid(), number)
        assert await asyncio.wait_for(stages.get(), 10) is Stage.ABORT
        handler = signal.getsignal(number)
    assert handler in (signal.SIG_DFL, signal.default_int_handler)
