"""Entry point of ``novafleet``, ``nf`` and ``python -m novafleet``."""

from __future__ import annotations

import atexit
import gc
import sys
from pkgutil import get_data


def main() -> None:
    """Show the help page from a file (made by docs/generate.py), or load the command line, which takes five times as
    long as that."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        sys.stdout.write((get_data("novafleet.cli", "help.txt") or b"").decode())
        return
    gc.set_threshold(50_000)  # 700 is for programs that make cycles: a twentieth of a short command
    atexit.register(gc.freeze)  # a process that ends need not search itself for cycles: 0.15 s
    from novafleet.cli.main import app

    app(prog_name="novafleet")


if __name__ == "__main__":
    main()
