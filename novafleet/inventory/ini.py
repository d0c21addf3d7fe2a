"""Ansible's INI inventories, read unchanged.

Syntax and the typing of values follow ansible-core's ``plugins/inventory/ini.py`` as observed with
2.19: host variables are split as a shell would, values are Python literals where they are one.
"""

from __future__ import annotations

import ast
import io
import re
import shlex
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from novafleet.errors import ConfigError, Location
from novafleet.inventory import hostpattern, names
from novafleet.inventory.layer import Document, GroupEntry, HostEntry, Mention, Setting
from novafleet.source.schema import Findings
from novafleet.source.suggest import nearest

_SECTION = re.compile(r"\[([^:\]\s]+)(?::(\w+))?\]\s*(?:#.*)?")
_NO_SECTION = re.compile(r"\[[^]]*|\[.*\]|\[[^]]*\]\s*;.*")
_WORD = re.compile(r"\S+")
_NEEDS_SHELL_RULES = re.compile(r"[\"'\\#]")
_SURELY_TEXT = re.compile(r"(?!(?:True|False|None)$)[A-Za-z_][\w./@-]*")
_KINDS = ("hosts", "children", "vars")


def parse(text: str, file: str) -> Document:
    """The document of an INI inventory. Raises ConfigError NF-INV-003, -004, -005; several as ConfigErrors."""
    reader = _Reader(file)
    findings = Findings()
    for number, line in enumerate(text.split("\n"), 1):
        findings.attempt(lambda n=number, raw=line: reader.line(n, raw.rstrip()))  # type: ignore[misc]
    findings.check()
    return Document(tuple(reader.hosts), tuple(reader.groups))


class _Reader:
    """State of one pass over the lines: which section they belong to."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._group = "ungrouped"
        self._kind = "hosts"
        self.hosts: list[HostEntry] = []
        self.groups: list[GroupEntry] = []
        self._by_kind: dict[str, Callable[[int, str], None]] = {
            "hosts": self._host,
            "children": self._child,
            "vars": self._variable,
        }

    def line(self, number: int, raw: str) -> None:
        line = raw.lstrip()
        if not line or line[0] in "#;":
            return
        if match := _SECTION.fullmatch(line):
            self._section(self._at(number, raw), match[1], match[2] or "hosts")
        elif _NO_SECTION.fullmatch(line):
            hint = "write [NAME], [NAME:children] or [NAME:vars], and # before a comment"
            raise self._error("this is not a section", self._at(number, raw), hint)
        elif self._kind in self._by_kind:
            self._by_kind[self._kind](number, raw)

    def _section(self, where: Location, group: str, kind: str) -> None:
        self._group, self._kind = group, kind
        names.check_group(group, where)
        if kind not in _KINDS:
            near = nearest(kind, _KINDS)
            hint = f"did you mean [{group}:{near}]?" if near else "write [NAME], [NAME:children] or [NAME:vars]"
            raise self._error(f"a section cannot be of the kind {kind!r}", where, hint)
        self.groups.append(GroupEntry(group, where, declares=kind != "vars"))

    def _host(self, number: int, raw: str) -> None:
        words = list(self._words(number, raw))
        if not words:
            return
        text, where = words[0]
        self._refuse_yaml(text, where)
        pattern = hostpattern.parse(text, where)
        settings = dict(self._assignment(word, place) for word, place in words[1:])
        if pattern.port:
            settings = {"vars.ansible_port": Setting(pattern.port, where), **settings}
        self.hosts.extend(HostEntry(name, where, settings) for name in pattern.hosts)
        mentions = tuple(Mention(name, where) for name in pattern.hosts)
        self.groups.append(GroupEntry(self._group, where, hosts=mentions))

    def _refuse_yaml(self, text: str, where: Location) -> None:
        if text == "---" or text.endswith(":"):
            raise self._error(
                f"{text!r} looks like YAML in a file read as INI", where, "give the file the extension .yml"
            )

    def _child(self, number: int, raw: str) -> None:
        where = self._at(number, raw)
        name = raw.split("#", 1)[0].strip()
        if " " in name or "=" in name:
            raise self._error(
                f"expected one group name, found {name!r}", where, "write one group a line, without variables"
            )
        mention = Mention(names.check_group(name, where), where)
        self.groups.append(GroupEntry(self._group, where, children=(mention,)))

    def _variable(self, number: int, raw: str) -> None:
        where = self._at(number, raw)
        key, equals, value = raw.partition("=")
        if not equals:
            raise self._error(f"expected name=value, found {raw.strip()!r}", where, "write name=value")
        setting = Setting(literal(value.strip()), where)
        self.groups.append(GroupEntry(self._group, where, settings={f"vars.{key.strip()}": setting}, declares=False))

    def _assignment(self, word: str, where: Location) -> tuple[str, Setting]:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise self._error(
                f"expected name=value, found {word!r}", where, "quote values with spaces: name='two words'"
            )
        return f"vars.{key}", Setting(literal(value), where)

    def _words(self, number: int, raw: str) -> Iterator[tuple[str, Location]]:
        if not _NEEDS_SHELL_RULES.search(raw):
            for match in _WORD.finditer(raw):
                yield match.group(), Location(self._file, number, match.start() + 1)
            return
        stream = io.StringIO(raw)
        lexer = shlex.shlex(stream, posix=True, punctuation_chars=False)
        lexer.whitespace_split = True
        end = 0
        try:
            for word in lexer:
                start = end + len(raw[end:]) - len(raw[end:].lstrip())
                yield word, Location(self._file, number, start + 1)
                end = stream.tell()
        except ValueError as exc:
            where = Location(self._file, number, end + 1)
            raise self._error("a quote is not closed", where, "close the quote in this line", str(exc)) from exc

    def _at(self, number: int, raw: str) -> Location:
        return Location(self._file, number, len(raw) - len(raw.lstrip()) + 1)

    def _error(self, what: str, where: Location, hint: str, cause: str = "") -> ConfigError:
        return ConfigError(what, code="NF-INV-003", where=where, cause=cause, hints=(hint,))


def literal(text: str) -> Any:
    """The Python literal a value spells (``5``, ``True``, ``['a', 'b']``, ``"quoted"``), else the text itself."""
    if _SURELY_TEXT.fullmatch(text):
        return text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            return _plain(ast.literal_eval(text))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "..." if value is ... else str(value) if isinstance(value, complex) else value
