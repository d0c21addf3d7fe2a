"""One command, many collectors: frames come back whole, and what a collector prints cannot make one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novafleet.observe.frame import Frame, command, split
from novafleet.observe.registry import Collector

MARK = "@@6b1f0c2e9d8a7755"
NAMES = st.lists(st.sampled_from(["system", "libvirt", "storage", "containers"]), unique=True, min_size=1)
TEXTS = st.one_of(
    st.text(),
    st.sampled_from(["\n@@-begin x\n", "@@ end", f"{MARK[:-1]}-end system 0\n", "-begin", "\0\x1b[2J", "x" * 100_000]),
)


def printed(frames: dict[str, tuple[str, int]], mark: str = MARK) -> str:
    return "".join(
        f"\n{mark}-begin {name}\n{text}\n{mark}-end {name} {status}\n" for name, (text, status) in frames.items()
    )


@given(st.dictionaries(st.sampled_from(["system", "libvirt", "storage"]), st.tuples(TEXTS, st.integers(0, 255))))
def test_frames_come_back(frames: dict[str, tuple[str, int]]) -> None:
    assert split(printed(frames), MARK) == {name: Frame(*frame) for name, frame in frames.items()}


@given(st.text(), st.text(), st.integers(min_value=0))
def test_any_output_is_survived(before: str, after: str, cut: int) -> None:
    text = before + printed({"system": ("a\nb", 0), "libvirt": (after, 3)})
    for name, frame in split(text[: cut % (len(text) + 1)], MARK).items():
        assert frame.status in {-1, 0, 3}
        assert name in "libvirt" or name in "system"


@given(st.integers(min_value=0))
def test_a_cut_frame_has_no_status(cut: int) -> None:
    whole = printed({"system": ("facts", 0)})
    for frame in split(whole[: cut % (len(whole) - 2)], MARK).values():
        assert frame.status == -1 or (frame.status == 0 and frame.text == "facts")


def run(*scripts: str, seconds: int = 60) -> dict[str, Frame]:
    each = [Collector(f"c{number}", script, lambda _text, _mark: {}) for number, script in enumerate(scripts)]
    done = subprocess.run(command(each, MARK, seconds=seconds, become=False).argv, capture_output=True, check=True)
    return dict(split(done.stdout.decode("utf-8", "replace"), MARK))


def test_run_by_a_real_shell() -> None:
    frames = run("echo one; echo two >&2; exit 7", 'echo "$MARK inside"', "cat", "printf '\\377\\000x'")
    assert frames["c0"] == Frame("one\ntwo\n", 7)
    assert frames["c1"] == Frame(f"{MARK} inside\n", 0)
    assert frames["c2"] == Frame("", 0), "a collector that reads its input finds it empty"
    assert frames["c3"].text == "\ufffd\0x"


def test_a_script_that_dies_does_not_take_the_others_along() -> None:
    frames = run("kill -9 $$", "set -e; false; echo unseen", "echo )", "echo fine")
    assert frames["c0"].status == 137
    assert frames["c1"] == Frame("", 1)
    assert frames["c2"].status == 2
    assert frames["c3"] == Frame("fine\n", 0)


def test_collectors_run_side_by_side(tmp_path: Path) -> None:
    os.mkfifo(fifo := tmp_path / "fifo")
    frames = run(f"cat {fifo}", "head -c 300000 /dev/zero | tr '\\0' x", f"echo met >{fifo}")
    assert frames["c0"] == Frame("met\n", 0), "the first waits for the last"
    assert len(frames["c1"].text) == 300_000, "more than a pipe holds"


def test_one_that_hangs_is_ended_and_the_others_told() -> None:
    frames = run("echo first; sleep 600 & wait", "trap '' TERM; sleep 600", "echo fine", seconds=1)
    assert (frames["c0"], frames["c0"].late) == (Frame("first\n", 124), True)
    assert frames["c1"].late
    assert (frames["c2"], frames["c2"].late) == (Frame("fine\n", 0), False)


def test_one_that_hangs_is_late_with_busybox_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is not installed")
    (tmp_path / "timeout").symlink_to(busybox)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    frames = run("echo half; sleep 600", "echo fine", seconds=1)
    assert frames["c0"].late, "half an answer is none"
    assert frames["c1"] == Frame("fine\n", 0)


def test_none_at_all() -> None:
    assert run() == {}
