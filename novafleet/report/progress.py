"""Progress of a run on stderr: a live view on a terminal, one line per event elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from novafleet.model.run import Event
from novafleet.report import console

SYMBOLS = {
    "step_done": ("✓", "green"),
    "step_failed": ("✗", "red"),
    "step_skipped": ("-", "yellow"),
    "step_retry": ("↻", "yellow"),
}


class RunProgress(AbstractContextManager["RunProgress"]):
    """Shows what runs now and what ended; ``total`` is the number of steps."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._ended = 0
        self._tasks: dict[str, TaskID] = {}
        self._live = console.err().is_terminal
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            console=console.err(),
            transient=True,
        )
        self._overall = self._progress.add_task("steps", total=total or None, note="")

    def __enter__(self) -> RunProgress:
        self._context: AbstractContextManager[object] = self._progress if self._live else nullcontext()
        self._context.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.__exit__(kind, error, trace)

    def __call__(self, event: Event) -> None:
        handler: Callable[[Event], None] | None = {
            "step_started": self._started,
            "step_progress": self._noted,
            "notice": self._notice,
        }.get(event.kind)
        if handler:
            handler(event)
        elif event.kind in SYMBOLS:
            self._show_end(event)

    def _started(self, event: Event) -> None:
        self._tasks[event.node] = self._progress.add_task(_name(event), total=None, note=event.text[:60])

    def _noted(self, event: Event) -> None:
        task = self._tasks.get(event.node)
        if task is not None:
            self._progress.update(task, note=event.text[:60], completed=event.done, total=event.total or None)

    def _notice(self, event: Event) -> None:
        console.err().print(console.text(event.text, "yellow"), soft_wrap=True)

    def _show_end(self, event: Event) -> None:
        symbol, style = SYMBOLS[event.kind]
        if event.kind != "step_retry":
            self._ended += 1
            task = self._tasks.pop(event.node, None)
            if task is not None:
                self._progress.remove_task(task)
            self._progress.update(self._overall, completed=self._ended, note=f"{self._ended}/{self._total}")
        line = console.text(f"{symbol} ", style) + console.text(_name(event))
        if event.text:
            line += console.text(f"  {event.text}", "dim")
        console.err().print(line, soft_wrap=True)


def _name(event: Event) -> str:
    return f"{event.host}  {event.node}"
