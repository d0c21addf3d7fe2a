"""One look at what a gate asks for: sockets through the host's connection, libvirt, the serial log, containers.

A probe never raises because what it looks for is not there yet; it raises when the host itself is out of reach.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from novafleet.errors import ChannelError, CommandError, DeadlineError, HypervisorError
from novafleet.model.command import Command
from novafleet.model.environment import Gate, GateKind, Stack, Vm
from novafleet.observe.containers import Container, Verdict, containers, finished, healthy, parse_inspect
from novafleet.plan.storage import serial_log
from novafleet.ports import ActionContext, Channel, HostSession

PROBE_SECONDS = 10.0
QUIET_SECONDS = 0.2
"""A port that opens and stays open this long is listened on; forwarders of dead services close at once."""
SERIAL_TAIL = 65536
LOOPBACK = "127.0.0.1"
_ABSENT = (ChannelError, CommandError, DeadlineError, HypervisorError)
_DONE = re.compile(r"cloud-init: done|Cloud-init v\. .* finished at", re.IGNORECASE)
_FAILED = re.compile(r"cloud-init: failed.*", re.IGNORECASE)
_TAIL = 'tail -c "$2" -- "$1"'
_ADDRESS = """for source in lease agent arp; do
  found=$(virsh -q -c qemu:///system domifaddr "$1" --source "$source" 2>/dev/null |
    sed -n 's/.* ipv4  *\\([0-9.]*\\)\\/.*/\\1/p' | grep -v '^127\\.' | head -n 1)
  [ -z "$found" ] || { echo "$source $found"; exit 0; }
done"""
_INSPECT = """for engine in docker podman; do
  command -v "$engine" >/dev/null || continue
  ids=$("$engine" ps -aq --filter "label=com.docker.compose.project=$1" 2>/dev/null)
  [ -n "$ids" ] || continue
  printf '\\n@%s\\n' "$engine"
  "$engine" container inspect $ids 2>/dev/null
done"""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a probe saw. ``final``: looking again cannot change it."""

    ok: bool
    text: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """Where a probe looks and for what."""

    ctx: ActionContext
    gate: Gate
    resource: Vm | Stack


Probe = Callable[[Look], Awaitable[Evidence]]


async def probe_once(ctx: ActionContext, gate: Gate, resource: Vm | Stack) -> Evidence:
    """Look once, within ``PROBE_SECONDS`` (a command of an exec gate: within the gate's timeout).

    Raises UnreachableError, TrustError or AuthError when the host itself cannot be reached.
    """
    seconds = gate.timeout if gate.kind is GateKind.EXEC else PROBE_SECONDS
    try:
        async with asyncio.timeout(seconds):
            return await PROBES[gate.kind](Look(ctx, gate, resource))
    except TimeoutError:
        return Evidence(False, f"no answer within {seconds:g} s")
    except _ABSENT as error:
        return Evidence(False, f"{error.what} ({error.cause})" if error.cause else error.what)


async def _address(look: Look) -> str:
    if look.gate.address:
        return look.gate.address
    if isinstance(look.resource, Stack):
        return LOOPBACK
    if fixed := next((nic.ip for nic in look.resource.nics.values() if nic.ip), ""):
        return fixed.partition("/")[0]
    _, found = await address_of(look.ctx.session, look.resource.domain)
    if not found:
        raise ChannelError(f"{look.resource.name} has no address yet: no DHCP lease, no word from its agent")
    return found


async def address_of(session: HostSession, domain: str) -> tuple[str, str]:
    """A running guest's IPv4 address and who told its host (lease, agent or arp); both empty when nobody did."""
    said = (await session.run(Command.script(_ADDRESS, domain, become=True), check=False)).text.split()
    return (said[0], said[1]) if len(said) == 2 else ("", "")


async def _connect(look: Look, default: int = 0) -> tuple[Channel, str]:
    address, port = await _address(look), int(look.gate.target.get("port") or default)
    return await look.ctx.session.open_tcp(address, port, timeout=PROBE_SECONDS), f"{address}:{port}"


async def _tcp(look: Look) -> Evidence:
    channel, place = await _connect(look)
    try:
        async with asyncio.timeout(QUIET_SECONDS):
            first = await channel.read(1)
    except TimeoutError:
        return Evidence(True, f"{place} is open")
    finally:
        await channel.close()
    return Evidence(True, f"{place} is open") if first else Evidence(False, f"{place} opened and closed at once")


async def _ssh(look: Look) -> Evidence:
    channel, place = await _connect(look, 22)
    try:
        banner = await _first_line(channel)
    finally:
        await channel.close()
    if banner.startswith("SSH-"):
        return Evidence(True, f"{place} says {banner}")
    return Evidence(False, f"{place} is not an SSH server: {banner!r}")


async def _http(look: Look) -> Evidence:
    tls = bool(look.gate.target.get("tls"))
    raw, place = await _connect(look, 443 if tls else 80)
    path = str(look.gate.target.get("path") or "/")
    try:
        channel = await _Tls.over(raw) if tls else raw
        request = f"GET {path} HTTP/1.1\r\nHost: {place}\r\nUser-Agent: novafleet\r\nConnection: close\r\n\r\n"
        await channel.write(request.encode())
        answer = await _first_line(channel)
    except ssl.SSLError as error:
        return Evidence(False, f"{place} does not speak TLS: {error.reason or error}")
    finally:
        await raw.close()
    return _judged(look.gate, f"{place}{path}", answer)


def _judged(gate: Gate, place: str, answer: str) -> Evidence:
    words = answer.split()
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdecimal():
        return Evidence(False, f"{place} does not answer in HTTP: {answer[:80]!r}")
    status, wanted = int(words[1]), gate.target.get("status")
    accepted = wanted if isinstance(wanted, list | tuple) else (wanted,)
    ok = status in accepted if wanted else 200 <= status < 400
    return Evidence(ok, f"{place} answers {status}")


async def _first_line(channel: Channel) -> str:
    seen = b""
    while b"\n" not in seen and len(seen) < 4096 and (piece := await channel.read()):
        seen += piece
    return seen.partition(b"\n")[0].decode("utf-8", "replace").strip()


class _Tls:
    """TLS over a channel. Certificates are not checked: a gate asks whether the service is there, not who it is."""

    def __init__(self, channel: Channel) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._channel = channel
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out)

    @classmethod
    async def over(cls, channel: Channel) -> _Tls:
        """Shake hands. Raises ssl.SSLError."""
        made = cls(channel)
        await made._until(made._tls.do_handshake)
        return made

    async def _until(self, work: Callable[[], bytes | None]) -> bytes:
        while True:
            try:
                return work() or b""
            except ssl.SSLWantReadError:
                await self._flush()
                piece = await self._channel.read()
                self._in.write(piece) if piece else self._in.write_eof()
            finally:
                await self._flush()

    async def _flush(self) -> None:
        if self._out.pending:
            await self._channel.write(self._out.read())

    async def read(self, limit: int = 65536) -> bytes:
        """Decrypted bytes; empty at the end."""
        with suppress(ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return await self._until(lambda: self._tls.read(limit))
        return b""

    async def write(self, data: bytes) -> None:
        """Encrypt and send."""
        self._tls.write(data)
        await self._flush()

    async def write_eof(self) -> None:
        """Say goodbye: nothing more will be written."""

    async def close(self) -> None:
        """Close the channel beneath."""
        await self._channel.close()


async def _agent(look: Look) -> Evidence:
    await look.ctx.hypervisor.agent(_vm(look.resource).domain, '{"execute":"guest-ping"}')
    return Evidence(True, "the guest agent answers")


async def _cloud_init(look: Look) -> Evidence:
    vm = _vm(look.resource)
    serial = await _tail(look.ctx, vm)
    if failed := _FAILED.search(serial):
        return Evidence(False, failed[0].strip(), final=True)
    if done := _DONE.search(serial):
        return Evidence(True, f"the serial console says {done[0]!r}")
    if not vm.agent:
        return Evidence(False, "the serial console does not say that cloud-init is done")
    said = await _guest_output(look.ctx, vm, "cloud-init", "status")
    status = next((line for line in said.splitlines() if line.startswith("status:")), "no status")
    word = status.removeprefix("status:").strip()
    return Evidence(word in ("done", "degraded done"), f"cloud-init status: {word}", final=word == "error")


async def _guest_output(ctx: ActionContext, vm: Vm, program: str, *arguments: str) -> str:
    """Standard output of a program in the guest, run by its agent (QEMU's docs/interop/qemu-ga-ref: guest-exec)."""
    request = {"path": program, "arg": list(arguments), "capture-output": True}
    started = await _ask(ctx, vm, "guest-exec", request)
    while True:
        state = await _ask(ctx, vm, "guest-exec-status", {"pid": started.get("pid")})
        if state.get("exited"):
            return base64.b64decode(str(state.get("out-data", ""))).decode("utf-8", "replace")
        await asyncio.sleep(QUIET_SECONDS)


async def _ask(ctx: ActionContext, vm: Vm, name: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
    answer = json.loads(await ctx.hypervisor.agent(vm.domain, json.dumps({"execute": name, "arguments": arguments})))
    found = answer.get("return") if isinstance(answer, dict) else None
    return found if isinstance(found, dict) else {}


async def _serial(look: Look) -> Evidence:
    pattern = str(look.gate.target["pattern"])
    found = re.search(pattern, await _tail(look.ctx, _vm(look.resource)), re.MULTILINE)
    text = f"the serial console says {found[0][:80]!r}" if found else f"the serial console has no {pattern!r} yet"
    return Evidence(found is not None, text)


async def _tail(ctx: ActionContext, vm: Vm) -> str:
    command = Command.script(_TAIL, serial_log(vm), str(SERIAL_TAIL), become=True)
    return (await ctx.session.run(command, check=False)).text.replace("\r", "")


async def last_words(ctx: ActionContext, vm: Vm, count: int = 3) -> str:
    """The last lines of a VM's serial console, printable characters only (they come from the guest)."""
    lines = (
        "".join(each for each in line if each.isprintable()).strip() for line in (await _tail(ctx, vm)).split("\n")
    )
    return " | ".join([line for line in lines if line][-count:])[-300:]


async def _compose(look: Look) -> Evidence:
    verdict = healthy(
        await _containers(look.ctx, look.resource), services=tuple(look.gate.target.get("services") or ())
    )
    return _evidence(verdict)


async def _containers(ctx: ActionContext, resource: Vm | Stack) -> tuple[Container, ...]:
    assert isinstance(resource, Stack)
    seen = await ctx.session.run(Command.script(_INSPECT, resource.project, become=True), check=False)
    return containers(parse_inspect(seen.text))


def _evidence(verdict: Verdict) -> Evidence:
    return Evidence(verdict.ok, verdict.text, verdict.final)


async def _exec(look: Look) -> Evidence:
    argv = tuple(str(word) for word in look.gate.target["argv"])
    done = await look.ctx.session.run(
        Command(argv, become=look.ctx.host.become.enabled), check=False, timeout=look.gate.timeout
    )
    said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-200:]
    return Evidence(done.ok, f"{argv[0]} ended with {done.status}" + (f": {said}" if said and not done.ok else ""))


async def _stopped(look: Look) -> Evidence:
    if isinstance(look.resource, Stack):
        return _evidence(finished(await _containers(look.ctx, look.resource)))
    domain = await look.ctx.hypervisor.domain_state(look.resource.domain)
    text = f"{look.resource.domain} is {domain.state}" + (f" ({domain.reason})" if domain.reason else "")
    return Evidence(
        domain.state == "shutoff" and domain.reason != "crashed", text, final="crashed" in (domain.state, domain.reason)
    )


def _vm(resource: Vm | Stack) -> Vm:
    assert isinstance(resource, Vm)  # the schema allows these gates on VMs only
    return resource


PROBES: Mapping[GateKind, Probe] = {
    GateKind.TCP: _tcp,
    GateKind.HTTP: _http,
    GateKind.SSH: _ssh,
    GateKind.AGENT: _agent,
    GateKind.CLOUD_INIT: _cloud_init,
    GateKind.SERIAL: _serial,
    GateKind.COMPOSE: _compose,
    GateKind.EXEC: _exec,
    GateKind.STOPPED: _stopped,
}
