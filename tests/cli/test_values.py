"""Words of options: what each means, and which are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from novafleet.cli.values import bytes_of, pairs_of, seconds_of, share_of, word_of
from novafleet.errors import ConfigError


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (seconds_of, "", 0),
        (seconds_of, "0", 0),
        (seconds_of, "50ms", 0.05),
        (seconds_of, "90s", 90),
        (seconds_of, "10m", 600),
        (seconds_of, "12h", 43200),
        (seconds_of, "7d", 604800),
        (seconds_of, "1.5w", 907200),
        (bytes_of, "", 0),
        (bytes_of, "4096", 4096),
        (bytes_of, "50M", 50 << 20),
        (bytes_of, "50mib/s", 50 << 20),
        (bytes_of, "1.5GiB", 3 << 29),
        (share_of, "", 0),
        (share_of, "5%", 0.05),
        (share_of, "1", 1),
    ],
)
def test_values(read: Callable[[str, str], float], text: str, value: float) -> None:
    assert read(text, "--it") == value


@pytest.mark.parametrize(
    ("read", "text"),
    [(seconds_of, each) for each in ("7", "d", "7 days", "-1d", "1e3s")]
    + [(bytes_of, each) for each in ("M", "-1", "5 pages")]
    + [(share_of, each) for each in ("2", "101%", "-1%", "all")],
)
def test_what_is_none_is_refused_by_the_options_name(read: Callable[[str, str], float], text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--it takes .*, not ") as raised:
        read(text, "--it")
    assert raised.value.code == "NF-CFG-005"


def test_words_and_pairs() -> None:
    assert word_of("live", ("auto", "live"), "--mode") == "live"
    with pytest.raises(ConfigError, match="--mode takes auto, live, not 'dead'"):
        word_of("dead", ("", "auto", "live"), "--mode")
    assert pairs_of(["a=b", "c=d=e"], "--network") == {"a": "b", "c": "d=e"}
    for text in ("a", "a=", "=b", ""):
        with pytest.raises(ConfigError, match="--network takes OLD=NEW"):
            pairs_of([text], "--network")
