"""A stack's bundle with its templates rendered, checked and digested."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from novafleet.errors import ConfigError, Location
from novafleet.model.environment import Dependency, GateKind, Network, Scalar, Stack, StackFile, Vm
from novafleet.model.secret import Secret
from novafleet.playbook.bundle import Bundle, BundleFile
from novafleet.playbook.composefile import ComposeFile, read_compose
from novafleet.playbook.identity import domain_name
from novafleet.playbook.spec import Sheet, StackSpec
from novafleet.source.load import check_yaml, decoded
from novafleet.source.suggest import did_you_mean

ENV_FILE = ".env"
_BARE = re.compile(r"[\w./:@%+,=-]*", re.ASCII)
"""What every reader of such a file takes as it stands; some keep quotes."""


def build_stack(
    spec: StackSpec,
    bundle: Bundle,
    sheet: Sheet,
    vms: Mapping[str, Vm],
    networks: Mapping[str, Network],
    depends_on: tuple[Dependency, ...],
) -> Stack:
    """Raises ConfigError NF-ENV-043 (a template), NF-ENV-044 (the Compose file), NF-CFG-0xx (its YAML)."""
    context = _context(spec, sheet, vms, networks)
    rendered = tuple(_rendered(bundle, context))
    _check_entry(spec, bundle, rendered)
    secret = ((StackFile(ENV_FILE, _env_file(spec.env), 0o600),)) if spec.env else ()
    files = tuple(sorted((*rendered, *secret), key=lambda file: file.path))
    return Stack(
        name=spec.name,
        host=spec.host,
        project=domain_name(sheet.name, spec.name),
        kind=spec.kind,
        entry=bundle.entry,
        files=files,
        digest=_digest(spec, bundle.entry, files),
        runtime=spec.runtime,
        images=spec.images,
        ready=spec.ready,
        depends_on=depends_on,
        source=spec.source,
        origins=spec.origins,
    )


def _context(
    spec: StackSpec, sheet: Sheet, vms: Mapping[str, Vm], networks: Mapping[str, Network]
) -> Mapping[str, Any]:
    """What templates see; secrets are revealed here, into files that are secrets themselves."""
    variables = {name: _plain(value) for name, value in {**sheet.variables, **spec.vars}.items()}
    return {
        **variables,
        "environment": sheet.name,
        "stack": {"name": spec.name, "host": spec.host, "project": domain_name(sheet.name, spec.name)},
        "vms": {name: _vm(vm) for name, vm in vms.items()},
        "networks": {
            name: {"cidr": each.cidr, "gateway": each.gateway, "domain": each.domain} for name, each in networks.items()
        },
    }


def _vm(vm: Vm) -> Mapping[str, Any]:
    unknown = _Unknown(vm.name)
    nics = {name: {"ip": nic.ip or unknown, "mac": nic.mac, "network": nic.network} for name, nic in vm.nics.items()}
    ip = next((nic.ip for nic in vm.nics.values() if nic.ip), unknown)
    return {"name": vm.name, "host": vm.host, "domain": vm.domain, "ip": ip, "nics": nics}


class _Unknown:
    """An address that only DHCP will know: false, and an error where a template writes it."""

    def __init__(self, vm: str) -> None:
        self._vm = vm

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        raise ValueError(f"the address of {self._vm} is not known beforehand: give its nic an ip")


def _plain(value: Scalar | Secret) -> Scalar:
    return value.reveal().decode() if isinstance(value, Secret) else value


def _rendered(bundle: Bundle, context: Mapping[str, Any]) -> Iterator[StackFile]:
    from novafleet.render.environment import Templates  # Jinja is loaded by environments that have stacks

    texts = {file.written: _text(bundle, file) for file in bundle.files if file.template}
    templates = Templates(bundle.root, texts)
    for file in bundle.files:
        content = templates.render(file.written, context).encode() if file.template else file.content
        yield StackFile(file.path, Secret(content), file.mode)


def _text(bundle: Bundle, file: BundleFile) -> str:
    try:
        return file.content.decode()
    except UnicodeDecodeError as exc:
        where = Location(str(bundle.root / file.written))
        raise ConfigError("the template is not UTF-8 text", code="NF-ENV-043", where=where, cause=str(exc)) from exc


def _check_entry(spec: StackSpec, bundle: Bundle, files: tuple[StackFile, ...]) -> None:
    """Well-formed YAML, and for Compose its own references and those of gates and images."""
    if not bundle.entry or spec.kind == "quadlet":
        return
    written = next(file.written for file in bundle.files if file.path == bundle.entry)
    name = str(bundle.root / written)
    content = next(file.content for file in files if file.path == bundle.entry).reveal()
    text = decoded(content, name)
    if spec.kind == "kube":
        check_yaml(text, name)
        return
    present = frozenset(file.path for file in files) | ({ENV_FILE} if spec.env else frozenset())
    _check_names(spec, read_compose(text, name, present))


def _check_names(spec: StackSpec, compose: ComposeFile) -> None:
    if not compose.whole:
        return
    for gate in spec.ready:
        services = gate.target["services"] if gate.kind is GateKind.COMPOSE else ()
        for service in services:
            if service not in compose.services:
                hints = did_you_mean(service, compose.services, "services")
                what = f"the Compose file has no service {service!r}"
                raise ConfigError(what, code="NF-ENV-001", where=gate.source, hints=hints)
    if any("$" in image for image in compose.images):
        return
    for image in spec.images:
        if image not in compose.images:
            hints = did_you_mean(image, compose.images, "images")
            what = f"no service of the Compose file uses the image {image!r}"
            raise ConfigError(what, code="NF-ENV-001", where=spec.origins["images"], hints=hints)


def _env_file(env: Mapping[str, Scalar | Secret]) -> Secret:
    """Lines that Compose and python-dotenv read alike, but for one thing: podman-compose's python-dotenv replaces
    ``${NAME}`` in any value, quoted or not (https://github.com/theskumar/python-dotenv#variable-expansion)."""
    lines = (f"{name}={_quoted(_env_text(value))}\n" for name, value in env.items())
    return Secret.of("".join(lines))


def _env_text(value: Scalar | Secret) -> str:
    plain = _plain(value)
    if plain is None:
        return ""
    return str(plain).lower() if isinstance(plain, bool) else str(plain)


def _quoted(text: str) -> str:
    if _BARE.fullmatch(text):
        return text
    if "\n" not in text and "\\" not in text:
        return "'" + text.replace("'", "\\'") + "'"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("\n", "\\n")
    return f'"{escaped}"'


def _digest(spec: StackSpec, entry: str, files: tuple[StackFile, ...]) -> str:
    """sha256 over how it is run and every file's name, mode and content."""
    state = hashlib.sha256(f"{spec.kind}\n{entry}\n{spec.runtime}\n".encode())
    for file in files:
        content = file.content.reveal()
        state.update(f"{file.path}\n{file.mode:o}\n{len(content)}\n".encode() + content)
    for name, artifact in sorted(spec.images.items()):
        state.update(f"{name}\n{artifact.sha256}\n".encode())
    return state.hexdigest()
