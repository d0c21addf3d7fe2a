"""Progress of work on a whole repository: one bar per phase on a terminal, elsewhere nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from novafleet.report import console


class Steps(AbstractContextManager["Steps"]):
    """Called with (phase, done, total); a total of 0 is unknown."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console.err(),
            transient=True,
        )
        live = console.err().is_terminal
        self._context: AbstractContextManager[object] = self._progress if live else nullcontext()
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Steps:
        self._context.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.__exit__(kind, error, trace)

    def __call__(self, phase: str, done: int, total: int) -> None:
        if phase not in self._tasks:
            self._tasks[phase] = self._progress.add_task(phase, total=total or None)
        self._progress.update(self._tasks[phase], completed=done, total=total or None)
