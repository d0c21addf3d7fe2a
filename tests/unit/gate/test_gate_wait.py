"""Gates against real sockets and processes on this machine, and a libvirt in memory."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from novafleet.errors import ChannelError, GateError, Location
from novafleet.execute.gate import ACTIONS, probe_once
from novafleet.hypervisor.fake import FakeHypervisor
from novafleet.model.environment import Environment, Gate, GateKind, Stack, Vm
from novafleet.model.facts import HostFacts
from novafleet.model.fleet import Host
from tests.fakes.processes import ProcessSession, SocketChannel
from tests.lab.slices import Context

HERE = Location("env.yml", 11)
DOMAIN = """<domain type='qemu'><name>lab-db</name><uuid>11111111-1111-4111-8111-111111111111</uuid>
<memory>65536</memory><vcpu>1</vcpu><os><type arch='x86_64'>hvm</type></os></domain>"""


class Channel(SocketChannel):
    """A reset reads as the end, as it does through SSH."""

    async def read(self, limit: int = 65536) -> bytes:
        with suppress(ConnectionResetError):
            return await super().read(limit)
        return b""


class Session(ProcessSession):
    """A host whose sockets are this machine's."""

    async def open_tcp(self, address: str, port: int, *, timeout: float = 10.0) -> SocketChannel:
        try:
            return Channel(*await asyncio.open_connection(address, port))
        except OSError as error:
            raise ChannelError(f"{address}:{port} refused the connection") from error


def vm(tmp_path: Path, *gates: Gate, **changed: Any) -> Vm:
    log = tmp_path / "serial.log"
    log.touch()
    made = Vm("db", "db", "lab-db", "0", "kvm1", 1, ready=gates, serial_log=str(log), source=HERE)
    return replace(made, **changed)


def say(resource: Vm, text: str) -> None:
    """What the guest writes on its console."""
    Path(resource.serial_log).write_text(text)


def context(resource: Vm | Stack) -> Context:
    host = Host("kvm1", "127.0.0.1")
    vms = {resource.name: resource} if isinstance(resource, Vm) else {}
    stacks = {resource.name: resource} if isinstance(resource, Stack) else {}
    environment = Environment("lab", HERE, vms=vms, stacks=stacks)
    session: Any = Session(host)
    hypervisor: Any = FakeHypervisor()
    return Context(host, session, hypervisor, environment, HostFacts("kvm1", 0.0))


async def wait(made: Context, **args: object) -> Any:
    name = next(iter((*made.environment.vms, *made.environment.stacks)))
    kind = "vm" if made.environment.vms else "stack"
    return await ACTIONS["gate.wait"].do(made, {"resource": f"{kind}.{name}", "index": 0, **args})


@asynccontextmanager
async def server(answer: bytes, tls: ssl.SSLContext | None = None, *, close: bool = False) -> AsyncIterator[int]:
    """Says ``answer`` to whoever connects (over TLS: to whoever asks), then holds the line or closes it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        if not close:
            await reader.read(-1)
        writer.close()

    made = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield made.sockets[0].getsockname()[1]
    finally:
        made.close()


def gate(kind: GateKind, port: int = 0, **target: object) -> Gate:
    return Gate(kind, {"port": port, **target}, address="127.0.0.1", interval=0.01, timeout=1.0, source=HERE)


ANSWERS: dict[str, tuple[GateKind, bytes, bool, dict[str, Any], bool, str]] = {
    "open port": (GateKind.TCP, b"", False, {}, True, "is open"),
    "talkative port": (GateKind.TCP, b"220 hello\r\n", True, {}, True, "is open"),
    "a forwarder of nothing": (GateKind.TCP, b"", True, {}, False, "opened and closed at once"),
    "ssh": (GateKind.SSH, b"SSH-2.0-dropbear\r\n", False, {}, True, "says SSH-2.0-dropbear"),
    "not ssh": (GateKind.SSH, b"HTTP/1.1 400 Bad\r\n", True, {}, False, "not an SSH server"),
    "http": (GateKind.HTTP, b"HTTP/1.1 200 OK\r\n\r\n", False, {"status": 200}, True, "answers 200"),
    "http, moved": (GateKind.HTTP, b"HTTP/1.0 301 Moved\r\n\r\n", False, {}, True, "answers 301"),
    "http, broken": (GateKind.HTTP, b"HTTP/1.1 503 Busy\r\n\r\n", False, {}, False, "answers 503"),
    "http, as asked": (GateKind.HTTP, b"HTTP/1.1 404 No\r\n\r\n", False, {"status": 404}, True, "answers 404"),
    "http, not so": (GateKind.HTTP, b"SSH-2.0-x\r\n", False, {}, False, "does not answer in HTTP"),
    "http, silent": (GateKind.HTTP, b"", True, {}, False, "does not answer in HTTP"),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_socket(name: str, tmp_path: Path) -> None:
    kind, answer, close, target, ok, text = ANSWERS[name]
    resource = vm(tmp_path)
    async with server(answer, close=close) as port:
        seen = await probe_once(context(resource), gate(kind, port, **target), resource)
    assert seen.ok is ok
    assert text in seen.text


async def test_a_closed_port_is_no_error(tmp_path: Path) -> None:
    resource = vm(tmp_path)
    async with server(b"") as port:
        pass
    seen = await probe_once(context(resource), gate(GateKind.TCP, port), resource)
    assert (seen.ok, seen.text) == (False, f"127.0.0.1:{port} refused the connection")


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    pair = ("-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "crt"), "-subj", "/CN=guest", "-days", "1")
    command = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *pair)
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    return context


async def test_https(tmp_path: Path, tls: ssl.SSLContext) -> None:
    resource = vm(tmp_path)
    async with server(b"HTTP/1.1 204 Nothing\r\n\r\n", tls) as port:
        seen = await probe_once(context(resource), gate(GateKind.HTTP, port, tls=True), resource)
    assert (seen.ok, seen.text) == (True, f"127.0.0.1:{port}/ answers 204")
    async with server(b"HTTP/1.1 200 OK\r\n\r\n") as port:
        seen = await probe_once(context(resource), gate(GateKind.HTTP, port, tls=True), resource)
    assert "does not speak TLS" in seen.text


async def test_serial(tmp_path: Path) -> None:
    resource = vm(tmp_path, gate(GateKind.SERIAL, pattern=r"^db login:"))
    say(resource, "boot\r\ndb login: \r\n")
    outcome = await wait(context(resource))
    assert outcome == {"evidence": "the serial console says 'db login:'", "tries": 1}


CLOUD_INIT: dict[str, tuple[str, str | None, bool, bool]] = {
    "mini guest is done": ("cloud-init: done after 3 s", None, True, False),
    "debian is done": ("Cloud-init v. 22.4.2 finished at Sat, 21 Nov 2026", None, True, False),
    "mini guest failed": ("cloud-init: failed: runcmd 0", None, False, True),
    "agent says done": ("", "status: done\n", True, False),
    "agent says running": ("", "status: running\n", False, False),
    "agent says error": ("", "status: error\n", False, True),
    "nobody says anything": ("", None, False, False),
}


@pytest.mark.parametrize("name", CLOUD_INIT)
async def test_cloud_init(name: str, tmp_path: Path) -> None:
    serial, status, ok, final = CLOUD_INIT[name]
    resource = vm(tmp_path)
    say(resource, serial)
    made = await running(context(resource), answers(status) if status else None)
    seen = await probe_once(made, gate(GateKind.CLOUD_INIT), resource)
    assert (seen.ok, seen.final) == (ok, final), seen.text


def answers(status: str) -> Callable[[str], str]:
    def agent(request: str) -> str:
        execute = json.loads(request)["execute"]
        output = base64.b64encode(status.encode()).decode()
        replies = {"guest-exec": {"pid": 7}, "guest-exec-status": {"exited": True, "out-data": output}}
        return json.dumps({"return": replies.get(execute, {})})

    return agent


async def running(made: Context, agent: Callable[[str], str] | None = None) -> Context:
    hypervisor: Any = made.hypervisor
    await hypervisor.define_domain(DOMAIN)
    await hypervisor.start_domain("lab-db")
    if agent:
        hypervisor.agents["lab-db"] = agent
    return made


async def test_agent(tmp_path: Path) -> None:
    resource = vm(tmp_path)
    asked = gate(GateKind.AGENT)
    assert not (await probe_once(await running(context(resource)), asked, resource)).ok
    assert (await probe_once(await running(context(resource), answers("")), asked, resource)).ok


async def test_stopped_waits_for_the_power_off(tmp_path: Path) -> None:
    resource = vm(tmp_path)
    made = await running(context(resource))
    assert (await probe_once(made, gate(GateKind.STOPPED), resource)).text.startswith("lab-db is running")
    await made.hypervisor.shutdown_domain("lab-db")
    assert (await wait(made, completed=True))["evidence"].startswith("lab-db is shutoff")


async def test_exec_is_waited_for(tmp_path: Path) -> None:
    script = f"echo x >>{tmp_path}/count; test $(wc -l <{tmp_path}/count) -ge 3 || {{ echo not yet >&2; exit 4; }}"
    resource = vm(tmp_path, gate(GateKind.EXEC, argv=["sh", "-c", script]))
    made = context(resource)
    assert (await wait(made))["tries"] == 3
    assert made.said == ["sh ended with 4: not yet", "sh ended with 0"]


async def test_a_timeout_says_what_was_seen_last_and_what_the_guest_said(tmp_path: Path) -> None:
    resource = vm(tmp_path, replace(gate(GateKind.EXEC, argv=["sh", "-c", "echo nope; false"]), timeout=0.2))
    say(resource, "one\ntwo\nKernel \x1b[31mpanic\n")
    with pytest.raises(GateError) as caught:
        await wait(await running(context(resource)))
    error = caught.value
    assert (error.code, error.where) == ("NF-GATE-001", HERE)
    assert "after 0.2 s" in error.what
    assert "ended with 1: nope" in error.cause
    assert "lab-db is running" in error.cause
    assert "two | Kernel [31mpanic" in error.cause
    assert error.hints[0].endswith(resource.serial_log)


async def test_retries_are_counted_after_the_start_period(tmp_path: Path) -> None:
    failing = replace(gate(GateKind.EXEC, argv=["false"]), retries=2, timeout=30.0)
    resource = vm(tmp_path, failing)
    with pytest.raises(GateError, match="after 3 tries") as caught:
        await wait(context(resource))
    assert caught.value.code == "NF-GATE-002"
    patient = vm(tmp_path, replace(failing, start_period=30.0, timeout=0.3))
    with pytest.raises(GateError) as caught:
        await wait(context(patient))
    assert caught.value.code == "NF-GATE-001"


async def test_what_cannot_come_any_more_is_not_waited_for(tmp_path: Path) -> None:
    resource = vm(tmp_path, replace(gate(GateKind.CLOUD_INIT), timeout=60.0))
    say(resource, "cloud-init: failed: runcmd 0")
    with pytest.raises(GateError, match="will not be") as caught:
        await wait(context(resource))
    assert caught.value.code == "NF-GATE-002"
