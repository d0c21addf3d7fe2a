"""``policies``: how VMs of an environment, or on an inventory's hosts, are moved and kept apart."""

from __future__ import annotations

from typing import Any

from novafleet.errors import ConfigError, Location
from novafleet.model.policies import Balance, Policies, Separation, VmClass
from novafleet.playbook.schema.policy import Share, TimesOfDay
from novafleet.playbook.spec import Origins
from novafleet.source.schema import (
    Choice,
    Duration,
    Either,
    Field,
    Flag,
    Integer,
    List,
    MapOf,
    OneOrMany,
    Record,
    Size,
    Text,
)

MODES = ("live", "postcopy", "warm", "cold")
HOUR = 3600.0
VM = Text(r"[A-Za-z0-9*?\[\]!][A-Za-z0-9._+*?\[\]!-]*", "a VM's name or glob")
LABEL = Text(r"[A-Za-z0-9][A-Za-z0-9._-]*", "the name of a label")
PRIORITY = Integer(-1000, 1000)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _class(source: Location, origins: Origins, **values: Any) -> VmClass:  # noqa: ARG001 - every record passes them
    return VmClass(**{**values, "max_downtime": _milliseconds(values["max_downtime"])})


CLASS = Record(
    "class",
    "VMs that are moved alike. A VM in several classes is of the first one written.",
    (
        Field("vms", OneOrMany(VM), doc="Names or globs; of an environment its names, else domains.", example="[db]"),
        Field("priority", PRIORITY, 0, "Who leaves a host first: the highest.", "10"),
        Field(
            "max_downtime", Duration(), 0.0, "How long it may stand still while live.", "100ms", shown="the policy's"
        ),
        Field("modes", OneOrMany(Choice(*MODES)), (), "How it may be moved.", "[live]", shown="the policy's"),
        Field("window", TimesOfDay(), None, "When its move may begin.", '"01:00-03:00"', shown="the policy's"),
        Field("stay", Flag(), False, "Only `migrate` moves it, never a drain or rebalancing.", "true"),
    ),
    into=_class,
)


def _separation(source: Location, origins: Origins, **values: Any) -> Separation:  # noqa: ARG001
    return Separation(**values)


SEPARATION = Record(
    "separation",
    "VMs that are kept apart.",
    (
        Field(
            "vms", List(VM, least=1), doc="Names or globs; no two of those they mean are together.", example='["db*"]'
        ),
        Field(
            "across",
            Choice("host", "domain"),
            "host",
            "`host`: on one host; `domain`: in one failure domain.",
            "domain",
            shown="host",
        ),
    ),
    into=_separation,
)


class _Apart(Either[Separation]):
    """A list of VMs, or the record."""

    def decode(self, node: Any, path: str = "") -> Separation:
        found: Any = super().decode(node, path)
        return found if isinstance(found, Separation) else Separation(found)


APART = _Apart(list=List(VM, least=1), mapping=SEPARATION)  # type: ignore[arg-type]
APART.label = "a list of VMs, or a mapping (separation)"


def _parallel(source: Location, origins: Origins, **values: Any) -> tuple[int, int]:  # noqa: ARG001
    return values["host"], values["link"]


PARALLEL = Record(
    "parallel",
    "How many moves go on at once.",
    (
        Field("host", Integer(1, 64), 2, "Out of, or into, one host.", "4", shown="2"),
        Field("link", Integer(1, 64), 2, "From one host to one other.", "1", shown="2"),
    ),
    into=_parallel,
)


def _balance(source: Location, origins: Origins, **values: Any) -> Balance:  # noqa: ARG001
    return Balance(**values)


REBALANCE = Record(
    "rebalance",
    "When `rebalance` finds a move worth it.",
    (
        Field("tolerance", Share(), 0.10, "How much fuller than the mean a host may be.", "15%", shown="10%"),
        Field(
            "gain", Share(), 0.01, "What a move must take off its source, as a share of that host.", "3%", shown="1%"
        ),
        Field("moves", Integer(1, 10_000), 8, "At most so many at a time.", "4", shown="8"),
        Field("cooldown", Duration(), HOUR, "How long a VM that moved stays.", "6h", shown="1h"),
        Field("window", Duration(), HOUR / 4, "Over how long load is looked at.", "1h", shown="15m"),
    ),
    into=_balance,
)


def _policies(source: Location, origins: Origins, **values: Any) -> Policies:
    host, link = values.pop("parallel")
    values["max_downtime"] = _milliseconds(values["max_downtime"])
    if link > host and "parallel" in origins:
        what = f"parallel.link {link} can never be reached with parallel.host {host}"
        raise ConfigError(what, code="NF-ENV-022", where=origins["parallel"], hints=("lower link, or raise host",))
    return Policies(**values, per_host=host, per_link=link, source=source, origins=origins)


POLICIES = Record(
    "policies",
    "How VMs are moved by `host drain`, `rebalance` and `migrate`, and what is kept apart: "
    "[migration policies](migration-policies.md).",
    (
        Field("window", TimesOfDay(), None, "When moves may begin.", '"22:00-05:00"', shown="always"),
        Field(
            "bandwidth", Size(), 0, "Bytes a second from one host to another, all moves.", "100MiB", shown="no limit"
        ),
        Field("parallel", PARALLEL, (2, 2), "How many moves at once.", "{host: 4, link: 1}", shown="2 and 2"),
        Field("modes", OneOrMany(Choice(*MODES)), (), "How VMs may be moved.", "[live, warm]", shown="all, in turn"),
        Field("max_downtime", Duration(), 0.0, "How long a live VM may stand still.", "300ms", shown="500ms"),
        Field("classes", MapOf(CLASS), {}, "Classes by name.", "{vital: {vms: [db], priority: 10}}", shown="none"),
        Field("anti_affinity", List(APART), (), "Kept apart, each list for itself.", '[["db*"], [a, b]]', shown="none"),
        Field(
            "affinity", List(List(VM, least=1)), (), "Kept on one host, each list for itself.", "[[app, cache]]",
            shown="none",
        ),
        Field("failure_domain", LABEL, "rack", "The hosts' label for what fails together.", "room", shown="rack"),
        Field(
            "spare",
            Integer(0, 100),
            0,
            "So many hosts may fail and every VM still has room; a drain that would break this is refused.",
            "1",
        ),
        Field(
            "rebalance",
            REBALANCE,
            Balance(),
            "When to rebalance.",
            "{tolerance: 15%}",
            attribute="balance",
            shown="see there",
        ),
    ),
    into=_policies,
)  # fmt: skip
