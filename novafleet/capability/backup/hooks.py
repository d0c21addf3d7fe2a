"""Scripts run before and after: in the guest around the moment a backup is of, on the host around all of it.

A script travels as standard input of the interpreter its first line names; nothing of it is written anywhere.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from novafleet.errors import BackupError, CommandError, DeadlineError, HypervisorError, NovaFleetError, Retry
from novafleet.model.command import Command
from novafleet.ports import ActionContext, Clock

SHELL = "/bin/sh"
SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PAUSE = 0.2
"""Seconds between two looks at a program in the guest."""
LAST = 400
"""Characters of what a script said that are shown."""


@dataclass(frozen=True, slots=True)
class Hook:
    """One script: its path on the controller, and what is in it."""

    path: str
    content: bytes

    @property
    def interpreter(self) -> tuple[str, ...]:
        """The words of its first line (at most two, as the kernel splits them), else the shell."""
        first, _, _ = self.content.partition(b"\n")
        words = first.removeprefix(b"#!").decode("utf-8", "replace").split(None, 1) if first.startswith(b"#!") else []
        return tuple(word.strip() for word in words) or (SHELL,)


@dataclass(frozen=True, slots=True)
class Hooks:
    """The hooks of one VM's backup, by ``guest_pre`` and the like. ``strict``: a failure fails the backup; ``failed``
    gathers what went wrong and did not keep the backup from being made."""

    clock: Clock
    scripts: Mapping[str, Hook] = field(default_factory=dict)
    timeout: float = 60.0
    strict: bool = True
    failed: list[BackupError] = field(default_factory=list)


@asynccontextmanager
async def in_guest(ctx: ActionContext, hooks: Hooks, domain: str) -> AsyncIterator[None]:
    """Around the moment the backup is of. Raises BackupError NF-BAK-070 when ``guest_pre`` fails and must not."""

    async def run(when: str, hook: Hook) -> None:
        await _run_in_guest(ctx, hooks, hook, domain, when)

    async with _around(ctx, hooks, "guest", run):
        yield


@asynccontextmanager
async def on_host(ctx: ActionContext, hooks: Hooks, domain: str) -> AsyncIterator[None]:
    """Around the whole backup. Raises BackupError NF-BAK-070 when ``host_pre`` fails and must not."""

    async def run(when: str, hook: Hook) -> None:
        await _run_on_host(ctx, hooks, hook, domain, when)

    async with _around(ctx, hooks, "host", run):
        yield


@asynccontextmanager
async def _around(ctx: ActionContext, hooks: Hooks, where: str, run: Any) -> AsyncIterator[None]:
    """``post`` runs whatever happened before; that it failed is told when all is done."""
    try:
        if (hook := hooks.scripts.get(f"{where}_pre")) is not None and (error := await _tried(ctx, run, "pre", hook)):
            if hooks.strict:
                raise error
            _note(ctx, hooks, error)
        yield
    finally:
        if (hook := hooks.scripts.get(f"{where}_post")) is not None and (error := await _tried(ctx, run, "post", hook)):
            _note(ctx, hooks, error)


def _note(ctx: ActionContext, hooks: Hooks, error: BackupError) -> None:
    hooks.failed.append(error)
    ctx.progress(str(error))


async def _tried(ctx: ActionContext, run: Any, when: str, hook: Hook) -> BackupError | None:
    try:
        await run(when, hook)
    except BackupError as error:
        return error
    except NovaFleetError as error:
        return _failure(ctx, hook, str(error), error)
    return None


def _failure(ctx: ActionContext, hook: Hook, cause: str, error: NovaFleetError | None = None) -> BackupError:
    failure = BackupError(
        f"hook {hook.path} failed",
        code="NF-BAK-070",
        where=ctx.host.name,
        cause=cause,
        hints=("on_error: warn lets backups be made all the same (--hook-on-error warn)",),
        retry=Retry.AFTER_FIX,
    )
    failure.__cause__ = error
    return failure


def _words(domain: str, when: str) -> dict[str, str]:
    """What a script is told, as environment variables."""
    return {"NOVAFLEET_HOOK": when, "NOVAFLEET_DOMAIN": domain, "PATH": SEARCHED}


async def _run_on_host(ctx: ActionContext, hooks: Hooks, hook: Hook, domain: str, when: str) -> None:
    command = Command(hook.interpreter, become=True, mutates=True, env=_words(domain, when))
    try:
        await ctx.session.run(command, stdin=hook.content, timeout=hooks.timeout)
    except CommandError as error:
        raise _failure(ctx, hook, f"it ended with {error.status}: {error.stderr.strip()[-LAST:]}", error) from error
    except DeadlineError as error:
        raise _failure(ctx, hook, f"it took longer than {hooks.timeout:g} s", error) from error


async def _run_in_guest(ctx: ActionContext, hooks: Hooks, hook: Hook, domain: str, when: str) -> None:
    """QEMU's docs/interop/qemu-ga-ref: guest-exec. A program that takes too long cannot be ended there."""
    path, *arguments = hook.interpreter
    deadline = hooks.clock.monotonic() + hooks.timeout
    request = {
        "path": path,
        "arg": arguments,
        "env": [f"{name}={value}" for name, value in _words(domain, when).items()],
        "input-data": base64.b64encode(hook.content).decode(),
        "capture-output": True,
    }
    number = (await _ask(ctx, hook, domain, "guest-exec", request)).get("pid")
    while not (state := await _ask(ctx, hook, domain, "guest-exec-status", {"pid": number})).get("exited"):
        if hooks.clock.monotonic() > deadline:
            raise _failure(ctx, hook, f"it took longer than {hooks.timeout:g} s in {domain}, and goes on there")
        await hooks.clock.sleep(PAUSE)
    if state.get("exitcode"):
        said = base64.b64decode(str(state.get("err-data") or state.get("out-data") or ""))
        cause = f"in {domain} it ended with {state['exitcode']}: {said.decode('utf-8', 'replace').strip()[-LAST:]}"
        raise _failure(ctx, hook, cause)


async def _ask(
    ctx: ActionContext, hook: Hook, domain: str, name: str, arguments: Mapping[str, Any]
) -> Mapping[str, Any]:
    request = json.dumps({"execute": name, "arguments": arguments})
    try:
        answer = json.loads(await ctx.hypervisor.agent(domain, request, timeout=10.0))
    except (HypervisorError, ValueError) as error:
        raise _failure(ctx, hook, f"the agent of {domain}: {error}") from error
    found = answer.get("return") if isinstance(answer, dict) else None
    return found if isinstance(found, dict) else {}
