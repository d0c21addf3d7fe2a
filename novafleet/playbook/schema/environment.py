"""The root of an environment file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from novafleet.errors import Location
from novafleet.model.policies import Policies
from novafleet.model.policy import Policy
from novafleet.playbook.include import PATH
from novafleet.playbook.schema.image import IMAGE
from novafleet.playbook.schema.network import NETWORK
from novafleet.playbook.schema.policies import POLICIES
from novafleet.playbook.schema.policy import BACKUP
from novafleet.playbook.schema.stack import STACK
from novafleet.playbook.schema.vm import VM
from novafleet.playbook.spec import Origins
from novafleet.playbook.variables import VARIABLES
from novafleet.source.schema import Field, Free, MapOf, Name, OneOrMany, Record

SECTIONS: Mapping[str, MapOf[Any]] = {
    "images": MapOf(IMAGE),
    "networks": MapOf(NETWORK),
    "vms": MapOf(VM),
    "stacks": MapOf(STACK),
}
"""What is looked at entry by entry, so that one wrong entry does not hide the errors of another."""

DEFAULTS = Record(
    "defaults",
    "What entries have when they do not say otherwise.",
    (Field("vm", Free(), None, "Keys of every VM; mappings are merged key by key.", "{memory: 1GiB}", shown="none"),),
    into=lambda **values: values["vm"],
)


@dataclass(frozen=True, slots=True)
class Head:
    """What the file says of the environment itself."""

    name: str
    backup: Policy | None
    policies: Policies | None


def _head(source: Location, origins: Origins, **values: Any) -> Head:  # noqa: ARG001 - every record passes them
    return Head(values["environment"], values["backup"], values["policies"])


ENVIRONMENT = Record(
    "environment file",
    "One file describes one environment. Keys that start with `x-` are left alone, for YAML anchors.",
    (
        Field("environment", Name(), doc="Its name, the prefix of everything it makes on hosts.", example="devlab"),
        Field(
            "vars",
            VARIABLES,
            {},
            "Variables and their defaults; `-e NAME=VALUE` and `--var-file` replace what is declared here.",
            "{domain: lab.test}",
            shown="none",
        ),
        Field(
            "include",
            OneOrMany(PATH),
            (),
            "Files whose entries belong to this environment too, relative to this file. A name may be defined once.",
            "[networks.yml]",
            shown="none",
        ),
        Field(
            "defaults",
            DEFAULTS,
            None,
            "What entries have when they do not say otherwise.",
            "{vm: {vcpus: 2}}",
            shown="none",
        ),
        Field("backup", BACKUP, None, "The backup policy of its VMs.", "{schedule: daily}", shown="none"),
        Field("policies", POLICIES, None, "How its VMs are moved and kept apart.", "{spare: 1}", shown="none"),
        Field("images", SECTIONS["images"], {}, "Images by name.", "{mini: {path: mini.qcow2}}", shown="none"),
        Field("networks", SECTIONS["networks"], {}, "Networks by name.", "{lab: {cidr: 10.20.0.0/24}}", shown="none"),
        Field("vms", SECTIONS["vms"], {}, "Virtual machines by name.", "{db: {host: kvm1}}", shown="none"),
        Field(
            "stacks",
            SECTIONS["stacks"],
            {},
            "Container stacks by name.",
            "{edge: {host: kvm3, compose: edge}}",
            shown="none",
        ),
    ),
    into=_head,
    extensions=True,
)
