"""A few daemon threads: a call nobody can free must not keep the interpreter from ending, as an executor's would."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
Job = tuple[Future[Any], Callable[[], Any]]


class Workers:
    """At most ``size`` threads, started as work comes and ended by ``dismiss``."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._started = 0

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have ``work`` done by the next free thread."""
        future: Future[T] = Future()
        self._jobs.put((future, work))
        if self._started < self._size:
            self._started += 1
            name = f"{self._name}-{self._started}"
            threading.Thread(target=_serve, args=(self._jobs,), name=name, daemon=True).start()
        return future

    def dismiss(self) -> None:
        """Let every thread end once what was submitted before is done; may be called again."""
        for _ in range(self._started):
            self._jobs.put(None)
        self._started = 0


def _serve(jobs: SimpleQueue[Job | None]) -> None:
    while (job := jobs.get()) is not None:
        _do(*job)
        del job  # an idle thread must hold neither results nor libvirt objects


def _do(future: Future[Any], work: Callable[[], Any]) -> None:
    if future.set_running_or_notify_cancel():
        with _Handover(future):
            future.set_result(work())


class _Handover:
    """Gives whatever is raised inside, interrupts included, to the task that awaits the future."""

    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        if error is not None:
            self._future.set_exception(error)
        return True
