"""Terminals that are not of UTF-8: what they lack is a number, and documents stay whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml

SHOW = """
import sys
from novafleet.cli.streams import guard_streams
from novafleet.model.finding import Finding, Severity
from novafleet.report import doctor
guard_streams()
doctor.show([Finding("kvm1", "ssh", Severity.OK, "caf\\u00e9 \\u2713 \\U0001f600")], sys.argv[1])
"""


def shown(form: str, encoding: str) -> str:
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", SHOW, form], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_findings_where_the_terminal_has_no_unicode(encoding: str) -> None:
    assert "ssh      caf" in shown("table", encoding)
    for found in (json.loads(shown("json", encoding)), yaml.safe_load(shown("yaml", encoding))):
        assert found["findings"][0]["what"] == "caf\u00e9 \u2713 \U0001f600"
