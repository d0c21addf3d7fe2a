"""``ready``: gates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from novafleet.errors import ConfigError, Location
from novafleet.model.environment import Gate, GateKind
from novafleet.playbook.spec import Origins
from novafleet.source.node import Node
from novafleet.source.schema import (
    Choice,
    Duration,
    Either,
    Field,
    Flag,
    Integer,
    Ip,
    List,
    OneOrMany,
    Record,
    Shape,
    Text,
    bad_value,
)

Target = Mapping[str, Any]
PORT = Integer(1, 65535)
BARE = (GateKind.SSH, GateKind.AGENT, GateKind.CLOUD_INIT, GateKind.COMPOSE, GateKind.STOPPED)
"""Gates that may be written as a mere word."""


class As(Shape[Target]):
    """A shape whose value becomes one entry of a gate's target."""

    def __init__(self, key: str, of: Shape[Any]) -> None:
        self.label, self._key, self._of = of.label, key, of

    def decode(self, node: Node, path: str = "") -> Target:
        return {self._key: self._of.decode(node, path)}


SERVICES = As("services", OneOrMany(Text(what="the name of a service", empty=False)))


class Only(Shape[Target]):
    """``true``, standing for a fixed target."""

    label = "true"

    def __init__(self, **target: Any) -> None:
        self._target = target

    def decode(self, node: Node, path: str = "") -> Target:
        if node.value is not None and not Flag().decode(node, path):
            raise bad_value(node, path, "a gate is there or not: remove it, or write true")
        return self._target


class Pattern(Text):
    """A Python regular expression."""

    def __init__(self) -> None:
        super().__init__(what="a regular expression", empty=False)

    def decode(self, node: Node, path: str = "") -> str:
        text = super().decode(node, path)
        try:
            re.compile(text)
        except re.error as exc:
            raise bad_value(node, path, f"{text!r} is not a regular expression: {exc}") from exc
        return text


def _http(source: Location, origins: Origins, **target: Any) -> Target:  # noqa: ARG001 - every record passes them
    return target


HTTP = Record(
    "http gate",
    "An HTTP request made from the host.",
    (
        Field("port", PORT, 80, "TCP port.", "8080"),
        Field("path", Text(r"/[^\s\x00-\x1f]*", "a path that starts with '/'"), "/", "What to ask for.", "/healthz"),
        Field("status", Integer(100, 599), 200, "The status that counts.", "204"),
        Field("tls", Flag(), False, "Use HTTPS; the certificate is not checked.", "true"),
    ),
    into=_http,
)


def _gate(source: Location, origins: Origins, **values: Any) -> Gate:
    kinds = [kind for kind in GateKind if values[kind] is not None]
    if len(kinds) != 1:
        what = (
            f"a gate looks at one thing, this one at {len(kinds)}: {', '.join(kinds)}"
            if kinds
            else "a gate says what it looks at"
        )
        hints = ("write one list entry for each",) if kinds else (f"add one of {', '.join(GateKind)}",)
        raise ConfigError(what, code="NF-ENV-023", where=source, hints=hints)
    timing = {key: values[key] for key in ("address", "interval", "timeout", "retries", "start_period")}
    return Gate(kind=kinds[0], target=values[kinds[0]], source=origins.get(kinds[0], source), **timing)


class GateWord(Shape[Gate]):
    """``agent`` for ``{agent: true}``."""

    label = " | ".join(BARE)

    def decode(self, node: Node, path: str = "") -> Gate:
        word = Choice(*BARE).decode(node, path)
        where = node.location
        return GATE.decode(Node({word: Node(True, where)}, where, {word: where}), path)


def _kind(kind: GateKind, shape: Shape[Target], doc: str, example: str) -> Field:
    return Field(kind.value, shape, None, doc, example, shown="")


GATE = Record(
    "gate",
    "One check that must succeed before the VM or stack counts as healthy. It is made through the resource's host, so "
    "guests on NAT networks are reached. Exactly one of the first nine keys is needed; `ssh`, `agent`, `cloud_init`, "
    "`compose` and `stopped` may also stand alone as a word.",
    (
        _kind(GateKind.TCP, As("port", PORT), "The port accepts a connection.", "22"),
        _kind(
            GateKind.HTTP, Either(number=As("port", PORT), mapping=HTTP), "The answer has the status.", "{port: 8080}"
        ),
        _kind(
            GateKind.SSH,
            Either(number=As("port", PORT), flag=Only(port=22), nothing=Only(port=22)),
            "An SSH server introduces itself.",
            "true",
        ),
        _kind(GateKind.AGENT, Either(flag=Only(), nothing=Only()), "The QEMU guest agent answers.", "true"),
        _kind(
            GateKind.CLOUD_INIT, Either(flag=Only(), nothing=Only()), "cloud-init has finished without error.", "true"
        ),
        _kind(GateKind.SERIAL, As("pattern", Pattern()), "The serial console shows it.", '"login:"'),
        _kind(
            GateKind.COMPOSE,
            Either(
                flag=Only(services=()),
                nothing=Only(services=()),
                text=SERVICES,
                list=SERVICES,
            ),
            "The stack's services named, or all its containers with `true`, run and are healthy.",
            "[web, cache]",
        ),
        _kind(
            GateKind.EXEC,
            As("argv", List(Text(what="a word of the command"), least=1)),
            "The command, a list of words and no shell line, ends with 0 on the host.",
            "[test, -e, /run/done]",
        ),
        _kind(
            GateKind.STOPPED, Either(flag=Only(), nothing=Only()), "It has stopped by itself, without error.", "true"
        ),
        Field("address", Ip(), "", "Where to connect.", "10.20.0.10", shown="the VM's first address"),
        Field("interval", Duration(0.05), 1.0, "Time between two tries.", "1s", shown="1s"),
        Field("timeout", Duration(0.1), 120.0, "How long to try altogether.", "5m", shown="2m"),
        Field("retries", Integer(0, 100_000), 0, "Give up after so many failures.", "10", shown="as many as fit"),
        Field("start_period", Duration(), 0.0, "Time in which failures do not count.", "30s", shown="0s"),
    ),
    into=_gate,
)
READY = List(Either(mapping=GATE, text=GateWord()))
