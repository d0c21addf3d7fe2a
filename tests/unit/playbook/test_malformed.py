"""Every file of tests/content/environment is wrong in one way, said in its header: code, line, message."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from novafleet.errors import ConfigError, ConfigErrors, ExitCode, Location
from tests.unit.playbook.fleet import draft

CONTENT = Path(__file__).parents[2] / "content" / "environment"
FILES = sorted(CONTENT.glob("*.yml"))


def header(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^# (\w+): (.*)$", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_one_precise_error(path: Path) -> None:
    expected = header(path)
    with pytest.raises(ConfigError) as raised:
        draft(path).place({}, {})
    error = raised.value
    assert not isinstance(error, ConfigErrors), [str(each) for each in getattr(error, "errors", ())]
    assert error.code == expected["code"], error
    assert expected["message"] in error.what
    assert error.exit_code is ExitCode.USAGE
    assert isinstance(error.where, Location)
    if "file" in expected:
        assert f"{error.where.file}:{error.where.line}" == str(CONTENT / expected["file"])
    else:
        assert (error.where.file, error.where.line) == (str(path), int(expected["line"]))
    assert f"{error.where.line} | " in error.cause, "the line is shown"
    assert expected.get("cause", "") in error.cause
    assert expected.get("hint", "") in " | ".join(error.hints)


def test_there_are_enough() -> None:
    assert len(FILES) >= 60
