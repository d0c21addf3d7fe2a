"""``stacks``."""

from __future__ import annotations

from typing import Any

from novafleet.errors import ConfigError, Location
from novafleet.playbook.include import PATH, beside
from novafleet.playbook.schema.artifact import ARTIFACT
from novafleet.playbook.schema.depend import DependsOn
from novafleet.playbook.schema.gate import READY
from novafleet.playbook.spec import Origins, StackSpec
from novafleet.playbook.variables import TEMPLATE_NAMES, VariableName
from novafleet.source.schema import Choice, Field, MapOf, Record, Sensitive, Text

KINDS = ("compose", "kube", "quadlet")
IMAGE_NAME = Text(r"[a-z0-9][A-Za-z0-9._/:@-]*", "a container image name such as localhost/web:1")
VARIABLES = MapOf(Sensitive(), key=VariableName(*TEMPLATE_NAMES))
ENVIRONMENT = MapOf(Sensitive(), key=Text("[A-Za-z_][A-Za-z0-9_]*", "an environment variable name"))


def _stack(source: Location, origins: Origins, **values: Any) -> StackSpec:
    paths = {kind: values.pop(kind) for kind in KINDS}
    kinds = [kind for kind in KINDS if paths[kind]]
    if len(kinds) != 1:
        what = f"{' and '.join(kinds)} exclude each other" if kinds else "a stack needs compose, kube or quadlet"
        raise _wrong(what, origins.get(kinds[1], source) if kinds else source, "keep exactly one")
    kind = kinds[0]
    if kind != "compose" and values["runtime"] == "docker":
        raise _wrong(f"{kind} runs with podman only", origins["runtime"], "remove runtime, or write runtime: podman")
    if kind != "compose" and values["env"]:
        raise _wrong(f"env is for compose, this is {kind}", origins["env"], "put it into the unit, as a template")
    path = str(beside(origins[kind], paths[kind]).absolute())
    return StackSpec(name="", kind=kind, path=path, source=source, origins=origins, **values)


def _wrong(what: str, where: Location, *hints: str) -> ConfigError:
    return ConfigError(what, code="NF-ENV-040", where=where, hints=hints)


_BUNDLE = "The bundle is the folder it is in, which holds nothing else: all of it is sent, `*.j2` rendered first."

STACK = Record(
    "stack",
    "Containers run on a host with what it has. Files named `*.j2` are Jinja templates: they see the variables, "
    "`vars`, `environment`, `stack`, `vms` and `networks` (`{{ vms.db.ip }}`), and an undefined name is an error.",
    (
        Field("host", Text(empty=False), doc="The host it runs on.", example="kvm3"),
        Field("compose", PATH, "", f"A Compose file, or the folder of one. {_BUNDLE}", "stacks/edge/compose.yaml"),
        Field("kube", PATH, "", "A Kubernetes YAML file for `podman kube play`, likewise.", "stacks/edge/pod.yaml"),
        Field("quadlet", PATH, "", "A Quadlet unit, or a folder of them.", "stacks/edge"),
        Field(
            "runtime",
            Choice("auto", "docker", "podman"),
            "auto",
            "What runs it.",
            "podman",
            shown="auto: what is there",
        ),
        Field(
            "images",
            MapOf(ARTIFACT, key=IMAGE_NAME),
            {},
            "Archives (docker-save or OCI) of images, sent to the host when it lacks the image.",
            "{localhost/web:1: {path: web.tar}}",
            shown="none",
        ),
        Field(
            "vars",
            VARIABLES,
            {},
            "More variables for its templates; secrets are allowed.",
            "{port: 8080}",
            shown="none",
        ),
        Field(
            "env",
            ENVIRONMENT,
            {},
            "Written to the bundle's `.env`, mode 0600; secrets are allowed.",
            "{TAG: v1}",
            shown="none",
        ),
        Field("ready", READY, (), "Gates that prove it is up.", "[compose]", shown="none"),
        Field("depends_on", DependsOn(), (), "What must be up before it starts.", "[web]", shown="nothing"),
    ),
    into=_stack,
)
