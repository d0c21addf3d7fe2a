"""Templates: rendered in a sandbox, and precise about what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from novafleet.errors import ConfigError, Location
from novafleet.render.environment import Templates

ROOT = Path("/bundle")


def render(text: str, **context: object) -> str:
    return Templates(ROOT, {"a.j2": text, "part.j2": "{{ x }}\n{{ missing }}"}).render("a.j2", context)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{ x }}\n", "1\n"),
        ("<b>&\n", "<b>&\n"),
        ("{{ y | default('z') }}", "z"),
        ("{% for n in [1, 2] %}{{ n }}{% endfor %}", "12"),
    ],
)
def test_rendered(text: str, result: str) -> None:
    assert render(text, x=1) == result


@pytest.mark.parametrize(
    ("text", "place", "cause"),
    [
        ("a\nb {{ nope }}\n", "/bundle/a.j2:2", "'nope' is undefined"),
        ("\n\n{{ x.nope }}\n", "/bundle/a.j2:3", "has no attribute 'nope'"),
        ("{% include 'part.j2' %}", "/bundle/part.j2:2", "'missing' is undefined"),
        ("{% include '../../etc/passwd' %}", "/bundle/a.j2:1", "the bundle has no template '../../etc/passwd'"),
        ("{% include 'a.j2' %}", "/bundle/a.j2", "itself without end"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "/bundle/a.j2", "itself without end"),
        ("{% if %}", "/bundle/a.j2:1", "Expected an expression"),
        ("x\n{{ 1 / 0 }}", "/bundle/a.j2:2", "division by zero"),
        ("{{ ''.__class__ }}", "/bundle/a.j2:1", "unsafe"),
        ("{% for n in range(10000000) %}{% endfor %}", "/bundle/a.j2:1", "Range too big"),
        ("{% for n in range(90000) %}" + "x" * 100 + "{% endfor %}", "/bundle/a.j2", "more than"),
    ],
)
def test_refused(text: str, place: str, cause: str) -> None:
    with pytest.raises(ConfigError) as raised:
        render(text, x=1)
    assert raised.value.code == "NF-ENV-043"
    assert isinstance(raised.value.where, Location)
    assert str(raised.value.where) == place
    assert cause in raised.value.cause
