"""Equal results once; exit statuses of many hosts; work on many hosts."""

import asyncio

import pytest

from novafleet.app.exec import HostOutcome, HostResult, exit_code
from novafleet.errors import ExitCode
from novafleet.model.fleet import Host
from novafleet.report.exec import show
from novafleet.transport.fanout import fan_out
from novafleet.transport.fold import fold


def test_fold_puts_the_many_first() -> None:
    assert fold(["b1", "a1", "a2", "b2", "a3"], lambda text: text[0]) == (("a1", "a2", "a3"), ("b1", "b2"))


OK, BAD, GONE = HostOutcome.OK, HostOutcome.FAILED, HostOutcome.UNREACHABLE


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ((OK, OK), ExitCode.OK),
        ((OK, BAD), ExitCode.PARTIAL),
        ((OK, GONE), ExitCode.PARTIAL),
        ((BAD, BAD), ExitCode.FAILED),
        ((BAD, GONE), ExitCode.FAILED),
        ((GONE,), ExitCode.UNREACHABLE),
    ],
)
def test_exit_code(outcomes: tuple[HostOutcome, ...], code: ExitCode) -> None:
    assert exit_code(set(outcomes)) is code


def test_output_is_folded_and_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    results = [HostResult(name, OK, 0, "[red]same[/red]\n") for name in ("kvm1", "kvm2")]
    results.append(HostResult("kvm3", BAD, 7, "one\n\x1b[2Jtwo\n"))
    show(results, "table")
    assert capsys.readouterr().out == "kvm1,kvm2: [red]same[/red]\nkvm3 (status 7):\none\n\\x1b[2Jtwo\n"


async def test_fan_out_is_bounded_and_in_order() -> None:
    running = most = 0

    async def work(host: Host) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return host.name

    hosts = [Host(f"kvm{n}", "") for n in range(20)]
    assert await fan_out(hosts, work, forks=3) == tuple(host.name for host in hosts)
    assert most == 3
