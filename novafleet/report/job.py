"""Jobs: what moves VMs, now and before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from novafleet.model.encode import encode
from novafleet.report import console
from novafleet.report.runs import STYLES, when

if TYPE_CHECKING:
    from novafleet.app.job import Job
    from novafleet.model.run import Record


def show_list(jobs: Sequence[Job], form: str) -> None:
    """A table, or ``{jobs: […]}``."""
    if form != "table":
        console.document({"jobs": encode(jobs)}, form)
        return
    grid = console.table("", "JOB", "VERB", "ABOUT", "STATE", "MOVED", "STARTED", "HOLDER")
    for job in jobs:
        state = console.text(job.state, STYLES.get(job.state, "red" if job.state == "killed" else ""))
        moved = f"{job.moved}/{len(job.vms)}"
        words = (job.id, job.verb, job.about or "-")
        grid.add_row(*(console.text(word) for word in words), state, moved, when(job.started), console.text(job.holder))
    console.out().print(grid)


def tell(record: Record) -> None:
    """One record as it appears."""
    from novafleet.app.job import words

    console.err().print(console.text(f"{when(record.at)}  {words(record)}"), soft_wrap=True)


def show_one(job: Job, form: str) -> None:
    """How it stands, or the job's document."""
    if form != "table":
        console.document(encode(job), form)
        return
    line = f"{job.id}  {job.verb} {job.about}: {job.state}, {job.moved} of {len(job.vms)} arrived"
    console.out().print(console.text(line, STYLES.get(job.state, "")), soft_wrap=True)
