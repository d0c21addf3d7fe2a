"""Sizes, durations and plain scalars, there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novafleet.errors import ConfigError, Location
from novafleet.source.node import Node
from novafleet.source.scalar import resolve
from novafleet.source.scalars import Cidr, Duration, Flag, Ip, Name, Size, Text, name_problem, size
from novafleet.source.shape import Shape


def decode(shape: Shape[object], value: object) -> object:
    return shape.decode(Node(value, Location("f", 1, 1)), "key")  # type: ignore[arg-type]


@given(st.integers(1, 2**62))
def test_a_size_survives_being_written(value: int) -> None:
    assert decode(Size(), size(value)) == value


@given(st.integers(0, 365), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_a_duration_is_the_sum_of_its_parts(
    days: int, hours: int, minutes: int, seconds: int, milliseconds: int
) -> None:
    written = f"{days}d{hours}h{minutes}m{seconds}s{milliseconds}ms"
    expected = days * 86400 + hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    assert decode(Duration(), written) == pytest.approx(expected)


@given(st.text(max_size=80))
def test_names_hold_nothing_a_shell_or_path_minds(text: str) -> None:
    if name_problem(text):
        with pytest.raises(ConfigError):
            decode(Name(), text)
    else:
        assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert not text.startswith("-")


@given(st.text(max_size=200))
def test_nothing_but_config_errors_for_any_text(text: str) -> None:
    for shape in (Size(), Duration(), Name(), Ip(), Cidr(), Flag(), Text("[a-z]+")):
        try:
            decode(shape, text)
        except ConfigError as error:
            assert error.code.startswith("NF-CFG-02")


@pytest.mark.parametrize(
    ("text", "value"),
    [("512M", 2**29), ("512MiB", 2**29), ("1.5GiB", 3 * 2**29), ("700B", 700), ("1t", 2**40)],
)
def test_sizes(text: str, value: int) -> None:
    assert decode(Size(), text) == value


@pytest.mark.parametrize("value", ["1.3B", "512", "512MB", "0B", "-1GiB", 512, True, None, "9999PiB", "1e3M"])
def test_refused_sizes(value: object) -> None:
    with pytest.raises(ConfigError):
        decode(Size(), value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("no", "no"), ("on", "on"), ("012", "012"), ("1:30", "1:30"), ("2026-01-01", "2026-01-01"), ("0x10", 16),
     ("0o17", 15), ("1e3", 1000.0), ("true", True), ("~", None), ("1_000", "1_000"), ("-7", -7)],
)  # fmt: skip
def test_plain_scalars_are_yaml_1_2(text: str, value: object) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)
