"""What lies between two hosts is looked at once for all VMs of a run."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from novafleet.capability.migration import survey
from novafleet.capability.migration.offer import Offer
from novafleet.capability.migration.survey import FRESH, Survey, Surveys
from novafleet.errors import ChannelError
from novafleet.hypervisor.fake import FakeHypervisor
from novafleet.model.fleet import Host


class End:
    """A host whose sockets are counted."""

    def __init__(self, name: str, greeting: bytes = b"SSH-2.0-OpenSSH_10.0\r\n") -> None:
        self.host = Host(name, f"{name}.example")
        self.hypervisor = FakeHypervisor(name)
        self.session: Any = self
        self.greeting = greeting
        self.opened: list[tuple[str, int]] = []

    async def open_tcp(self, address: str, port: int, *, timeout: float) -> Any:
        del timeout
        self.opened.append((address, port))
        if port != 22:
            raise ChannelError("refused", code="NF-SSH-401", cause="Connection refused")
        return self

    async def read(self, limit: int) -> bytes:
        return self.greeting[:limit]

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def offers(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    asked: Counter[str] = Counter()

    async def offer(end: End) -> Offer:
        asked[end.host.name] += 1
        await asyncio.sleep(0)
        return Offer(uid=0, socket="/run/libvirt/libvirt-sock", host_keys=("ssh-ed25519 AAAA",), programs=PROGRAMS)

    monkeypatch.setattr(survey, "offer", offer)
    return asked


PROGRAMS = frozenset(("ssh", "ssh-keygen", "systemd-run", "systemd", "userfaultfd"))


async def test_sshd_is_looked_for_once_a_pair(offers: Counter[str]) -> None:
    """It counts connections that do not log in, and shuts out who makes too many."""
    a, b, c = End("a"), End("b"), End("c")
    surveys = Surveys()
    pairs = [(a, b), (a, b), (a, c), (b, a), (a, b)]
    found = await asyncio.gather(*(surveys.of(*pair) for pair in pairs))  # type: ignore[arg-type]
    assert all(each.paths["tunnel"] == "" for each in found)
    assert [address for address, port in a.opened if port == 22] == ["b.example", "c.example"]
    assert [address for address, port in b.opened if port == 22] == ["a.example"]
    assert offers == {"a": 3, "b": 2, "c": 1}


async def test_an_old_look_is_none(offers: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("novafleet.capability.migration.survey.time.monotonic", lambda: now)
    surveys, a, b = Surveys(), End("a"), End("b")
    await surveys.of(a, b)  # type: ignore[arg-type]
    now += FRESH + 1
    await surveys.of(a, b)  # type: ignore[arg-type]
    assert offers == {"a": 2, "b": 2}


async def test_a_look_that_failed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Survey | Exception] = [OSError("gone"), Survey((Offer(), Offer()))]

    async def look(*_ends: Any) -> Survey:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(survey, "survey", look)
    surveys, a, b = Surveys(), End("a"), End("b")
    with pytest.raises(OSError, match="gone"):
        await surveys.of(a, b)  # type: ignore[arg-type]
    assert (await surveys.of(a, b)).offers == (Offer(), Offer())  # type: ignore[arg-type]


async def test_storage_is_proven_once_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, ...]] = []

    async def proven(_source: Any, _destination: Any, directories: tuple[str, ...]) -> frozenset[str]:
        written.append(directories)
        return frozenset(directories[:1])

    monkeypatch.setattr(survey, "proven", proven)
    surveys, a, b = Surveys(), End("a"), End("b")
    for _ in range(2):
        assert await surveys.shared(a, b, ("/srv", "/var")) == {"/srv"}  # type: ignore[arg-type]
        assert await surveys.shared(a, b, ("/srv",)) == {"/srv"}  # type: ignore[arg-type]
    assert written == [("/srv", "/var"), ("/srv",)]


async def test_a_vm_without_disks_shares_nothing(offers: Counter[str]) -> None:
    surveys, a, b = Surveys(), End("a"), End("b")
    await surveys.of(a, b)  # type: ignore[arg-type]
    assert await surveys.shared(a, b, ()) == frozenset()  # type: ignore[arg-type]


async def test_what_answers_otherwise_is_no_door(offers: Counter[str]) -> None:
    found = await survey.survey(End("a"), End("b", b"HTTP/1.1"))  # type: ignore[arg-type]
    assert found.door is not None, "it is the source that reads"
    found = await survey.survey(End("a", b"HTTP/1.1"), End("b"))  # type: ignore[arg-type]
    assert found.door is None
    assert "no sshd answers a at [b.example]:22" in found.paths["tunnel"]
