"""A command's line means exactly its words to a POSIX shell."""

import re
import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from novafleet.errors import CommandError
from novafleet.model.command import Command, Completed
from novafleet.transport.quote import LINE_LIMIT, kill_command, remote_line
from novafleet.transport.shell import failure

NEW_LINE = re.compile(r"[\r\n]")
WORD = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)


@given(st.lists(WORD, max_size=5))
@settings(max_examples=60, deadline=None)
def test_words_survive_the_shell(words: list[str]) -> None:
    line = remote_line(Command.script('printf "%s\\0" "$@"', *words), "token")
    shown = subprocess.run(["sh", "-c", line], capture_output=True, check=True).stdout.decode()
    assert shown == "".join(f"{word}\0" for word in words or [""])


@pytest.mark.parametrize("shell", ["bash", "fish", "ksh", "tcsh", "zsh"])
def test_and_any_other_that_somebody_logs_in_with(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")

    @given(st.lists(WORD.filter(lambda word: shell != "tcsh" or not NEW_LINE.search(word)), max_size=5))
    @example(["\\", "\\\\", "\\'", "!x", "=x", "'", '"', "{a,b}", "~", "%1", "^a^b", "$HOME", "`id`", "*", "a\\nb"])
    @settings(max_examples=20, deadline=None)
    def agree(words: list[str]) -> None:
        line = remote_line(Command.script('printf "%s\\0" "$@"', *words), "token")
        shown = subprocess.run([shell, "-c", line], capture_output=True, check=True).stdout.decode()
        assert shown == "".join(f"{word}\0" for word in words or [""])

    agree()


@pytest.mark.parametrize("program", ["a=b", "-x"])
def test_odd_program_names_are_not_options(program: str) -> None:
    line = remote_line(Command((program,)), "token")
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 127


@pytest.mark.parametrize(
    "command",
    [Command(()), Command(("a\0b",)), Command(("true",), env={"A B": "c"}), Command(("x" * LINE_LIMIT,))],
)
def test_what_no_shell_carries(command: Command) -> None:
    with pytest.raises(CommandError) as caught:
        remote_line(command, "token")
    assert caught.value.code == "NF-CMD-003"


def test_kill_finds_the_processes_of_one_command() -> None:
    mine, other = (remote_line(Command(("sleep", "60")), token) for token in ("kill-me", "not-me"))
    with (
        subprocess.Popen(["sh", "-c", mine], start_new_session=True) as first,
        subprocess.Popen(["sh", "-c", other], start_new_session=True) as second,
    ):
        while subprocess.run(
            ["grep", "-qs", "NOVAFLEET_RUN=kill-me", f"/proc/{first.pid}/environ"], check=False
        ).returncode:
            assert first.poll() is None
        subprocess.run(kill_command("kill-me", "TERM", become=False).argv, check=True)
        assert first.wait(10) == -15
        assert second.poll() is None
        second.kill()


def test_csh_is_named_where_it_is_in_the_way() -> None:
    told = Completed(("sh",), 1, b"", b"Unmatched '''.")
    assert "chsh -s /bin/sh" in failure("kvm1", told).hints[0]
    assert failure("kvm1", Completed(("sh",), 1, b"", b"no")).hints == ()
