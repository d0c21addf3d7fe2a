"""Prints the files of this machine that ``parts.py PROGRAM`` needs to run elsewhere: Python, modules, libraries."""

from __future__ import annotations

import subprocess
import sys
from importlib import util
from pathlib import Path

spec = util.spec_from_file_location("program", sys.argv[1])
assert spec is not None
assert spec.loader is not None
spec.loader.exec_module(util.module_from_spec(spec))
found = {module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)}
modules = {path for path in found if path and path.startswith("/usr/lib/python3")}
binaries = {"/usr/bin/python3.11", *(path for path in modules if path.endswith(".so"))}
said = subprocess.run(["ldd", *sorted(binaries)], capture_output=True, text=True, check=True).stdout
libraries = {word for word in said.split() if word.startswith("/") and not word.endswith(":")}
encodings = {str(path) for path in Path("/usr/lib/python3.11/encodings").glob("*.py") if path.stem in {"ascii", "idna"}}
print(*sorted(modules | binaries | libraries | encodings), sep="\n")
