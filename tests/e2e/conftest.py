"""Controllers and environments of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.controller import Controller, traces
from tests.labfixture import Lab

Write = Callable[[str, str], Path]


@pytest.fixture
def controller(lab: Lab, tmp_path: Path) -> Controller:
    """A controller that never saw these hosts."""
    return Controller(lab, tmp_path / "home")


@pytest.fixture
def environment(lab: Lab, controller: Controller, tmp_path: Path) -> Iterator[Write]:
    """Writes an environment file of a name and a text; whatever came of it is gone afterwards."""
    written: dict[str, Path] = {}

    def write(name: str, text: str) -> Path:
        written[name] = tmp_path / f"{name}.yml"
        written[name].write_text(f"environment: {name}\ninclude: {lab.images}\n{text}")
        return written[name]

    yield write
    for name, path in written.items():
        done = controller.run("down", str(path), "--yes", "--volumes", "--destroy-protected")
        assert done.returncode == 0, done.stderr
        assert not any(traces(lab, name).values()), "the environment left something behind"
