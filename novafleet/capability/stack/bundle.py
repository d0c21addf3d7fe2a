"""A stack's bundle: what lies on the host, what of it NovaFleet adds, and what containers it should have. Pure.

Every container is to carry Compose's project label, so that one label finds the containers of any stack: Compose
sets it, pods and quadlets are given it here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import yaml

from novafleet.errors import ConfigError
from novafleet.model.environment import Stack, StackFile
from novafleet.model.facts import ContainerFact
from novafleet.model.secret import Secret
from novafleet.observe.containers import PROJECT_LABEL, SERVICE_LABEL

ROOT = "/var/lib/novafleet/stacks"
RECORD = ".novafleet.json"
KUBE_FILE = ".novafleet.kube.yaml"
_WORKLOADS = ("Pod", "Deployment", "DaemonSet", "Job", "PersistentVolumeClaim")
_UNITS = (".container", ".volume", ".network")
_SECTION = re.compile(rb"(?m)^\[(Container|Volume|Network)\][ \t]*(?=\r?$)")
_ALWAYS = ("always", "unless-stopped")


@dataclass(frozen=True, slots=True)
class Expected:
    """``services`` maps each to whether it must run (False: it may have exited with 0), ``others`` says it of those
    whose names only the engine knows; ``count`` of containers."""

    services: Mapping[str, bool]
    count: int
    others: bool = False

    def done(self, container: ContainerFact) -> bool:
        """Is it a job that has ended well?"""
        ended = container.state == "exited" and container.exit_code == 0
        return ended and not self.services.get(container.service, self.others)


def directory(project: str) -> str:
    """Where a bundle lies."""
    return f"{ROOT}/{project}"


def digest(stack: Stack, engine: str) -> str:
    """What makes a bundle differ from another: its files, its images, its engine."""
    images = sorted((reference, artifact.sha256) for reference, artifact in stack.images.items())
    identity = [stack.digest, stack.kind, stack.entry, engine, images]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def record(environment: str, stack: Stack, engine: str, made: str, stale: Iterable[str] = ()) -> bytes:
    """``.novafleet.json``. ``made`` is the digest, empty until the stack was started with it, ``stale`` what earlier
    bundles left."""
    fields = {"environment": environment, "digest": made, "runtime": engine, "kind": stack.kind, "entry": stack.entry}
    return json.dumps({**fields, "files": sorted({*stale, *(file.path for file in files(stack))})}, indent=2).encode()


def recorded_files(text: bytes) -> tuple[str, ...]:
    """Paths an earlier record says were pushed; none that would leave the bundle."""
    try:
        found = json.loads(text)
    except ValueError:
        return ()
    paths = found.get("files", ()) if isinstance(found, dict) else ()
    return tuple(path for path in paths if isinstance(path, str) and _inside(path))


def _inside(path: str) -> bool:
    parts = PurePosixPath(path)
    return bool(path) and not parts.is_absolute() and ".." not in parts.parts


def files(stack: Stack) -> tuple[StackFile, ...]:
    """The files to push: the rendered ones, labelled where Compose would not do it; env files are root's alone."""
    made = [replace(file, mode=0o600) if file.path.endswith(".env") else file for file in stack.files]
    if stack.kind == "quadlet":
        made = [replace(file, content=Secret.of(_labelled_unit(file, stack.project))) for file in made]
    if stack.kind == "kube":
        made.append(StackFile(KUBE_FILE, Secret.of(_labelled_kube(stack)), 0o600))
    return tuple(made)


def _labelled_unit(file: StackFile, project: str) -> bytes:
    if not file.path.endswith(_UNITS):
        return file.content.reveal()
    service = PurePosixPath(file.path).stem

    def label(found: re.Match[bytes]) -> bytes:
        lines = [found[0], f"Label={PROJECT_LABEL}={project}".encode()]
        return b"\n".join([*lines, f"Label={SERVICE_LABEL}={service}".encode()] if found[1] == b"Container" else lines)

    return _SECTION.sub(label, file.content.reveal())


class _Loader(yaml.SafeLoader):
    """Dates, even those that no month has, and ``=`` are text, as they are to Compose and Podman."""


for _tag in ("timestamp", "value"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", lambda _, node: str(node.value))


class _Block(yaml.SafeDumper):
    """What may stand plain in ``[1:22]`` may do so on a line of its own too, but not the other way round."""

    def emit(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.CollectionStartEvent):
            event.flow_style = False
        super().emit(event)


def _labelled_kube(stack: Stack) -> str:
    """Labels put in between nodes: as values, YAML 1.1 would make 82 of ``1:22``."""
    content = next(file.content for file in stack.files if file.path == stack.entry)
    loader = yaml.SafeLoader(content.reveal())
    documents: list[yaml.Node] = []
    while loader.check_node() and (document := loader.get_node()) is not None:
        _label_kube(document, loader, stack.project)
        documents.append(document)
    text: str = yaml.serialize_all(documents, Dumper=_Block, allow_unicode=True)
    return text


def _label_kube(document: yaml.Node, loader: yaml.SafeLoader, project: str) -> None:
    if _text(document, loader, "kind") not in _WORKLOADS:
        return
    spec = _find(document, loader, "spec")
    template = _find(spec, loader, "template") if spec is not None else None
    for holder in (document, template):
        if isinstance(holder, yaml.MappingNode):
            labels = _within(_within(holder, loader, "metadata"), loader, "labels")
            kept = [(key, value) for key, value in labels.value if key.value != PROJECT_LABEL]
            labels.value = [*kept, (_scalar(PROJECT_LABEL), _scalar(project))]


def _text(node: yaml.Node, loader: yaml.SafeLoader, key: str) -> str:
    found = _find(node, loader, key)
    return str(found.value) if found is not None else ""


def _find(node: yaml.Node, loader: yaml.SafeLoader, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    loader.flatten_mapping(node)
    node.value = [(copy(name), value) for name, value in node.value]  # keys that were merged in are not to be aliases
    return next((value for name, value in node.value if name.value == key), None)


def _within(node: yaml.MappingNode, loader: yaml.SafeLoader, key: str) -> yaml.MappingNode:
    """The mapping under a key, made where there is none."""
    found = _find(node, loader, key)
    if isinstance(found, yaml.MappingNode):
        return found
    made = yaml.MappingNode("tag:yaml.org,2002:map", [])
    node.value = [*((name, value) for name, value in node.value if name.value != key), (_scalar(key), made)]
    return made


def _scalar(text: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", text)


def expected(stack: Stack) -> Expected:
    """The containers its files ask for. Raises ConfigError NF-STK-005 when the entry cannot be read."""
    if stack.kind == "quadlet":
        names = [PurePosixPath(file.path).stem for file in stack.files if _is_container(file.path)]
        return Expected(dict.fromkeys(names, True), len(names))
    if stack.kind == "kube":
        pods = [pod for document in _documents(stack) if (pod := _pod(document))]
        rerun = all(pod.get("restartPolicy", "Always") == "Always" for pod in pods)
        return Expected({}, sum(_containers(document) for document in _documents(stack)), others=rerun)
    services = [each for document in _documents(stack) for each in _mapping(document.get("services")).items()]
    wanted = {str(name): _replicas(fields) for name, fields in services if isinstance(fields, dict)}
    always = {str(name) for name, fields in services if isinstance(fields, dict) and fields.get("restart") in _ALWAYS}
    return Expected({name: name in always for name, count in wanted.items() if count}, sum(wanted.values()))


def _is_container(path: str) -> bool:
    """Is it a unit that is installed? What lies deeper is not."""
    return path.endswith(".container") and "/" not in path


def builds(stack: Stack) -> bool:
    """Are images built from the bundle, and none from elsewhere? Compose would keep those of an earlier bundle."""
    if stack.kind != "compose":
        return False
    services = [each for document in _documents(stack) for each in _mapping(document.get("services")).values()]
    built = [each for each in services if isinstance(each, dict) and each.get("build")]
    return bool(built) and all(_built_here(stack, service) for service in built)


def _built_here(stack: Stack, service: Mapping[str, Any]) -> bool:
    build = service["build"]
    context = PurePosixPath(str(build.get("context", ".") if isinstance(build, dict) else build))
    inside = any(PurePosixPath(file.path).is_relative_to(context) for file in stack.files)
    return inside and service.get("image") not in stack.images


def _replicas(service: Mapping[str, Any]) -> int:
    """Containers Compose makes of a service; none of one that belongs to a profile."""
    deploy = _mapping(service.get("deploy"))
    count = service.get("scale", deploy.get("replicas", 1))
    return 0 if service.get("profiles") else count if isinstance(count, int) else 1


def _pod(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pod's specification in a workload; empty when it has none."""
    spec = _mapping(document.get("spec"))
    if document.get("kind") not in _WORKLOADS or document.get("kind") == "PersistentVolumeClaim":
        return {}
    return _mapping(_mapping(spec["template"]).get("spec")) if "template" in spec else spec


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _containers(document: Mapping[str, Any]) -> int:
    replicas = _mapping(document.get("spec")).get("replicas", 1)
    return len(_pod(document).get("containers") or ()) * (replicas if isinstance(replicas, int) else 1)


def _documents(stack: Stack) -> Iterator[dict[str, Any]]:
    content = next((file.content for file in stack.files if file.path == stack.entry), None)
    if content is None:
        raise _unreadable(stack, "the bundle has no such file")
    try:
        documents = list(yaml.load_all(content.reveal(), Loader=_Loader))
    except yaml.YAMLError as error:
        raise _unreadable(stack, " ".join(str(getattr(error, "problem", "") or "not YAML").split())) from error
    if not any(isinstance(document, dict) for document in documents):
        raise _unreadable(stack, "no mapping in it")
    return (document for document in documents if isinstance(document, dict))


def _unreadable(stack: Stack, cause: str) -> ConfigError:
    return ConfigError(
        f"stack {stack.name}: {stack.entry} cannot be read",
        code="NF-STK-005",
        where=stack.source,
        cause=cause,
        hints=("look at what its templates render to; `entry` must name a file of the bundle",),
    )
