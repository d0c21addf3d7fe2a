"""Variables: ``${name}``, ``${name:-default}``, ``${env:NAME}``, ``${file:PATH}`` and the escape ``$${``.

A scalar that is nothing but one reference takes the variable's type; elsewhere it is spliced in as text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from novafleet.errors import ConfigError, Location
from novafleet.model.secret import Secret
from novafleet.playbook.include import PATH, beside
from novafleet.source.load import load, read_text
from novafleet.source.node import Node, Scalar
from novafleet.source.scalar import resolve
from novafleet.source.schema import Findings, MapOf, Sensitive, Text, bad_value
from novafleet.source.suggest import did_you_mean

TEMPLATE_NAMES = ("environment", "networks", "stack", "vms")
RESERVED = ("index", *TEMPLATE_NAMES)
"""Names with a meaning of their own in environment files and templates."""

_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<body>[^}]*)(?P<end>\}?)")
_BODY = re.compile(rf"(?P<name>{_NAME})(?P<fallback>:-(?P<default>.*))?", re.DOTALL)


class VariableName(Text):
    """A name that has no other meaning."""

    def __init__(self, *reserved: str) -> None:
        super().__init__(_NAME, "a variable name of letters, digits and '_'")
        self._reserved = reserved

    def decode(self, node: Node, path: str = "") -> str:
        name = super().decode(node, path)
        if name in self._reserved:
            raise bad_value(node, path, f"{name!r} has a meaning of its own and cannot be a variable")
        return name


VARIABLES = MapOf(Sensitive(), key=VariableName(*RESERVED))


@dataclass(frozen=True, slots=True)
class Scope:
    """What references may mean: variables by name, and the process environment for ``${env:NAME}``."""

    values: Mapping[str, Scalar | Secret] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)

    def having(self, **values: Scalar) -> Scope:
        """The same scope with more variables."""
        return replace(self, values={**self.values, **values})


def scope_of(
    declared: Node | None, var_files: tuple[Path, ...], overrides: Mapping[str, str], env: Mapping[str, str]
) -> Scope:
    """All variables: the file's ``vars``, then ``var_files`` (the last wins), then ``overrides`` (``-e``).

    A variable may refer to others; one made from a secret is a secret. Raises ConfigError NF-CFG-023 (bad name),
    NF-CFG-030 (undefined, circular, or an override of what is not declared), NF-CFG-033.
    """
    nodes: dict[str, Node] = dict(_checked(declared)) if declared else {}
    for path in var_files:
        nodes.update(_checked(load(path)))
    declared_names = frozenset(nodes)
    for name, text in overrides.items():
        if name not in declared_names:
            raise _undeclared(name, declared_names)
        nodes.update(_checked(_override(name, text)))
    literal = frozenset(overrides)
    values: dict[str, Scalar | Secret] = {}
    for name in nodes:
        _settle(name, nodes, literal, Scope(values, env), values, ())
    return Scope(values, env)


def _undeclared(name: str, declared: frozenset[str]) -> ConfigError:
    return ConfigError(
        f"the environment file declares no variable {name!r}",
        code="NF-CFG-030",
        where=Location(f"-e {name}"),
        hints=(*did_you_mean(name, declared, "variables"), f"declare it in the file: vars: {{{name}: …}}"),
    )


def _override(name: str, text: str) -> Node:
    where = Location(f"-e {name}")
    value = resolve(text)
    kept = text if isinstance(value, float) and str(value) != text else value  # 1.20 is a version
    return Node({name: Node(kept, where)}, where, {name: where})


def _checked(node: Node) -> Mapping[str, Node]:
    VARIABLES.decode(node, "vars")
    return node.fields


def _settle(
    name: str,
    nodes: Mapping[str, Node],
    literal: frozenset[str],
    scope: Scope,
    values: dict[str, Scalar | Secret],
    chain: tuple[str, ...],
) -> None:
    if name in values:
        return
    node = nodes[name]
    if name in chain:
        cycle = " -> ".join((*chain[chain.index(name) :], name))
        raise ConfigError(
            f"the variable {name!r} refers to itself", code="NF-CFG-030", where=node.location, cause=cycle
        )
    if name not in literal:
        for other in references(node):
            if other in nodes:
                _settle(other, nodes, literal, scope, values, (*chain, name))
        node = substitute(node, scope)
    values[name] = Sensitive().decode(node, f"vars.{name}")


def references(node: Node) -> tuple[str, ...]:
    """Names of the variables a scalar refers to."""
    if not isinstance(node.value, str):
        return ()
    bodies = (match["body"] for match in _REFERENCE.finditer(node.value))
    matches = (_BODY.fullmatch(body) for body in bodies if body is not None)
    return tuple(match["name"] for match in matches if match)


def substitute_all(node: Node, scope: Scope, findings: Findings) -> Node:
    """A tree with every reference replaced; what cannot be is noted and left as it is."""
    if isinstance(node.value, tuple):
        return node.with_value(tuple(substitute_all(each, scope, findings) for each in node.value))
    if isinstance(node.value, Mapping):
        return node.with_value({key: substitute_all(each, scope, findings) for key, each in node.value.items()})
    return next(iter(findings.attempt(lambda: substitute(node, scope))), node)


def substitute(node: Node, scope: Scope) -> Node:
    """One scalar with its references replaced. Raises ConfigError NF-CFG-030, NF-CFG-033."""
    text = node.value
    if not isinstance(text, str) or "${" not in text:
        return node
    whole = _REFERENCE.fullmatch(text)
    if whole and whole["body"] is not None:
        return node.with_value(_lookup(whole, node.location, scope))
    parts: list[str | Secret] = []
    last = 0
    for match in _REFERENCE.finditer(text):
        value = "${" if match["body"] is None else _lookup(match, node.location, scope)
        parts += [text[last : match.start()], value if isinstance(value, Secret) else _as_text(value)]
        last = match.end()
    parts.append(text[last:])
    if any(isinstance(part, Secret) for part in parts):
        return node.with_value(Secret.of(b"".join(_bytes(part) for part in parts)))
    return node.with_value("".join(str(part) for part in parts))


def _lookup(match: re.Match[str], where: Location, scope: Scope) -> Scalar | Secret:
    body = match["body"]
    kind, colon, argument = body.partition(":")
    if match["end"] and colon and kind in ("env", "file") and argument and not argument.startswith("-"):
        return _from_environment(argument, where, scope.env) if kind == "env" else _from_file(argument, where)
    parsed = _BODY.fullmatch(body) if match["end"] else None
    if parsed and "${" in (parsed["default"] or ""):
        raise ConfigError(
            f"the default of {parsed['name']!r} holds a reference itself",
            code="NF-CFG-030",
            where=where,
            hints=(f"declare it: vars: {{{parsed['name']}: …}}, and write ${{{parsed['name']}}}",),
        )
    if not parsed:
        raise ConfigError(
            f"{match.group()!r} is no reference to a variable",
            code="NF-CFG-030",
            where=where,
            hints=("write ${name} or ${name:-default}", f"or ${match.group()} for the characters themselves"),
        )
    if parsed["name"] in scope.values:
        return scope.values[parsed["name"]]
    if parsed["fallback"]:
        return resolve(parsed["default"])
    raise undefined(parsed["name"], where, scope)


def undefined(name: str, where: Location, scope: Scope) -> ConfigError:
    """NF-CFG-030 for an unknown name."""
    hints = (*did_you_mean(name, scope.values, "variables"), f"declare it: vars: {{{name}: …}}")
    if name == "index":
        hints = ("${index} exists only in a VM with count",)
    escape = f"or write $${{{name}}} for the characters themselves"
    return ConfigError(f"the variable {name!r} is not defined", code="NF-CFG-030", where=where, hints=(*hints, escape))


def _from_environment(name: str, where: Location, env: Mapping[str, str]) -> Secret:
    if name not in env:
        raise ConfigError(
            f"the environment variable {name} is not set", code="NF-CFG-033", where=where, hints=(f"export {name}=…",)
        )
    return Secret.of(env[name])


def _from_file(path: str, where: Location) -> Secret:
    """The file's text without its last newline."""
    try:
        return Secret.of(read_text(beside(where, PATH.decode(Node(path, where)))).removesuffix("\n"))
    except ConfigError as exc:
        what = f"the secret file {path} cannot be read"
        raise ConfigError(what, code="NF-CFG-033", where=where, cause=exc.cause) from exc


def _as_text(value: Scalar) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bytes(part: str | Secret) -> bytes:
    return part.reveal() if isinstance(part, Secret) else part.encode()
