"""Scripts before and after: what runs where, what a failure means, and that ``post`` always runs."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from novafleet.app.backuphooks import hooks_for, read_hooks, rules_of
from novafleet.capability.backup.hooks import Hook, Hooks, in_guest, on_host
from novafleet.errors import BackupError, ConfigError, HypervisorError
from novafleet.model.fleet import Host
from novafleet.ports import ActionContext, HostSession
from tests.localsession import local_session


@dataclass
class Clock:
    at: float = 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


@dataclass
class Guest:
    """An agent that runs nothing: what it is asked for ends with ``status``, after ``looks`` looks."""

    status: int = 0
    looks: int = 0
    refuses: bool = False
    ran: list[dict[str, Any]] = field(default_factory=list)

    async def agent(self, name: str, request: str, *, timeout: float = 5.0) -> str:
        assert name == "db"
        asked = json.loads(request)
        if self.refuses:
            raise HypervisorError("the command guest-exec has been disabled", code="NF-LV-162")
        if asked["execute"] == "guest-exec":
            self.ran.append(asked["arguments"])
            return '{"return": {"pid": 7}}'
        assert asked["arguments"] == {"pid": 7}
        self.looks -= 1
        if self.looks > 0:
            return '{"return": {"exited": false}}'
        said = base64.b64encode(b"no such table").decode()
        return json.dumps({"return": {"exited": True, "exitcode": self.status, "err-data": said}})


@dataclass
class Context:
    session: HostSession
    hypervisor: Guest = field(default_factory=Guest)
    told: list[str] = field(default_factory=list)
    host: Host = field(default_factory=lambda: Host("kvm1", "192.0.2.1"))

    def progress(self, text: str, done: int = 0, total: int = 0) -> None:
        self.told.append(text)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(local_session(tmp_path))


def hooks(strict: bool = True, **scripts: str) -> Hooks:
    found = {place: Hook(f"/{place}", text.encode()) for place, text in scripts.items()}
    return Hooks(Clock(), found, timeout=5.0, strict=strict)


def ctx(context: Context) -> ActionContext:
    return cast("ActionContext", context)


async def test_scripts_travel_as_input_of_their_interpreter(context: Context) -> None:
    made = hooks(guest_pre="#!/usr/bin/env python3 -u\nprint(1)\n", guest_post="echo $NOVAFLEET_HOOK\n")
    async with in_guest(ctx(context), made, "db"):
        assert len(context.hypervisor.ran) == 1
    first, second = context.hypervisor.ran
    assert (first["path"], first["arg"]) == ("/usr/bin/env", ["python3 -u"])
    assert base64.b64decode(first["input-data"]) == b"#!/usr/bin/env python3 -u\nprint(1)\n"
    assert (second["path"], second["arg"]) == ("/bin/sh", [])
    assert {"NOVAFLEET_HOOK=post", "NOVAFLEET_DOMAIN=db"} <= set(second["env"])
    assert made.failed == []


async def test_on_the_host(context: Context, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = hooks(host_pre=f'echo "$NOVAFLEET_HOOK $NOVAFLEET_DOMAIN" >>{out}', host_post=f"echo end >>{out}")
    async with on_host(ctx(context), made, "db; rm -rf /"):
        assert out.read_text() == "pre db; rm -rf /\n"
    assert out.read_text() == "pre db; rm -rf /\nend\n"


async def test_no_backup_when_pre_fails_but_post_runs(context: Context, tmp_path: Path) -> None:
    made = hooks(host_pre="echo lacking >&2; exit 3", host_post=f"echo >{tmp_path}/post")
    with pytest.raises(BackupError, match="ended with 3: lacking") as caught:
        async with on_host(ctx(context), made, "db"):
            pytest.fail("it went on")
    assert caught.value.code == "NF-BAK-070"
    assert (tmp_path / "post").exists()


async def test_post_runs_when_the_backup_fails(context: Context) -> None:
    with pytest.raises(RuntimeError):
        async with in_guest(ctx(context), hooks(guest_post="true"), "db"):
            raise RuntimeError
    assert len(context.hypervisor.ran) == 1


async def test_warn_goes_on(context: Context) -> None:
    context.hypervisor.status = 1
    made = hooks(False, guest_pre="false", guest_post="false")
    async with in_guest(ctx(context), made, "db"):
        pass
    assert [each.cause for each in made.failed] == ["in db it ended with 1: no such table"] * 2


async def test_a_post_that_fails_is_told_at_the_end(context: Context) -> None:
    made = hooks(host_post="exit 1")
    async with on_host(ctx(context), made, "db"):
        pass
    assert [each.code for each in made.failed] == ["NF-BAK-070"]


@pytest.mark.parametrize(
    ("guest", "cause"), [(Guest(looks=99), "longer than 5 s in db"), (Guest(refuses=True), "disabled")]
)
async def test_guests_that_do_not_answer(context: Context, guest: Guest, cause: str) -> None:
    context.hypervisor = guest
    with pytest.raises(BackupError, match=cause):
        async with in_guest(ctx(context), hooks(guest_pre="sleep 9"), "db"):
            pytest.fail("it went on")


def test_options(tmp_path: Path) -> None:
    script = tmp_path / "a=b.sh"
    script.write_text("true\n")
    rules = rules_of([f"guest_pre={script}"], 5.0, "warn")
    assert (rules.guest_pre, rules.timeout, rules.on_error) == (str(script), 5.0, "warn")
    assert read_hooks(rules)["guest_pre"].content == b"true\n"
    for words, on_error in ((["nowhere=x"], "fail"), (["guest_pre"], "fail"), ([], "maybe")):
        with pytest.raises(ConfigError) as caught:
            rules_of(words, 5.0, on_error)
        assert caught.value.code == "NF-CFG-005"
    script.write_bytes(bytes(300_000))
    for path in (script, tmp_path / "absent"):
        with pytest.raises(ConfigError) as caught:
            read_hooks(rules_of([f"host_post={path}"], 5.0, "fail"))
        assert caught.value.code == "NF-BAK-071"


async def test_what_options_name_is_what_runs(context: Context, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = []
    for place in ("guest_pre", "guest_post", "host_pre", "host_post"):
        (tmp_path / place).write_text(f"echo {place} >>{out}\n")
        words.append(f"{place}={tmp_path / place}")
    rules = rules_of(words, 5.0, "fail")
    made = hooks_for(read_hooks(rules), rules, Clock())
    assert made is not None
    async with on_host(ctx(context), made, "db"), in_guest(ctx(context), made, "db"):
        assert len(context.hypervisor.ran) == 1
    assert len(context.hypervisor.ran) == 2
    assert out.read_text() == "host_pre\nhost_post\n"
    assert hooks_for({}, rules, Clock()) is None
