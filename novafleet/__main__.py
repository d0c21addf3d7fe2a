"""Entry point of ``novafleet``, ``nf`` and ``python -m novafleet``."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from pkgutil import get_data
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from novafleet.errors import NovaFleetError


def main() -> None:
    """Show the help page from a file (made by docs/generate.py), or load the command line, which takes five times as
    long as that."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        sys.stdout.write((get_data("novafleet.cli", "help.txt") or b"").decode())
        return
    gc.set_threshold(50_000)  # 700 is for programs that make cycles: a twentieth of a short command
    atexit.register(gc.freeze)  # a process that ends need not search itself for cycles: 0.15 s
    from novafleet.cli.main import app
    from novafleet.cli.streams import guard_streams
    from novafleet.errors import NovaFleetError

    guard_streams()
    try:
        app(prog_name="novafleet")
    except (NovaFleetError, FileNotFoundError) as error:  # all but these are shown where they come from (cli/run.py)
        from novafleet.report import findings

        shown = _nowhere(error) if isinstance(error, FileNotFoundError) else error
        findings.show([shown])
        raise SystemExit(int(shown.exit_code)) from error


def _nowhere(error: FileNotFoundError) -> NovaFleetError:
    """What became of relative paths; the error itself is raised where the working directory is not to blame."""
    from novafleet.errors import ConfigError

    try:
        os.getcwd()  # noqa: PTH109 the same call, without a detour
    except FileNotFoundError:
        return ConfigError("the directory it was started in is gone", code="NF-RUN-018", hints=("cd ~",))
    raise error


if __name__ == "__main__":
    main()
