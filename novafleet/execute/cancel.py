"""Ctrl-C in two stages: first no more steps start and running ones end; then running steps are cancelled too."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stage(IntEnum):
    """How urgently a run should end."""

    RUN = 0
    STOP = 1
    ABORT = 2


class Cancellation:
    """What a run asks before it starts a step; a signal handler, a failure or a fence requests the next stage."""

    def __init__(self) -> None:
        self.stage = Stage.RUN
        self.because = ""
        self._listeners: list[Callable[[], None]] = []

    def request(self, because: str = "interrupted", stage: Stage | None = None) -> None:
        """Go to ``stage``, or one further; never back. The first reason is kept."""
        wanted = stage if stage is not None else Stage(min(self.stage + 1, Stage.ABORT))
        if wanted <= self.stage:
            return
        self.stage = wanted
        self.because = self.because or because
        for listener in tuple(self._listeners):
            listener()

    @contextmanager
    def listening(self, listener: Callable[[], None]) -> Iterator[None]:
        """Call ``listener`` at each change of stage."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    @contextmanager
    def signals(self, notice: Callable[[Stage], None] = lambda _stage: None) -> Iterator[None]:
        """SIGINT and SIGTERM request the next stage; after the second the default handler ends the process."""
        loop = asyncio.get_running_loop()

        def caught() -> None:
            self.request()
            notice(self.stage)
            if self.stage is Stage.ABORT:
                restore()

        def restore() -> None:
            for each in SIGNALS:
                loop.remove_signal_handler(each)

        for each in SIGNALS:
            loop.add_signal_handler(each, caught)
        try:
            yield
        finally:
            restore()
