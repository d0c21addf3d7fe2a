"""The reference page of a schema: every key's type, default, meaning and example, from what decodes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from novafleet.source.scalars import words
from novafleet.source.schema import Either, Field, List, MapOf, OneOrMany, Record, Shape


def page(title: str, introduction: str, root: Record[Any]) -> str:
    """Markdown: a section for the root and for every record below it, in the order a reader meets them."""
    parts = [f"# {title}", introduction.strip(), *_section(root)]
    parts += [part for record in records(root)[1:] for part in (f"## {_heading(record)}", *_section(record))]
    return "\n\n".join(parts) + "\n"


def records(root: Record[Any]) -> list[Record[Any]]:
    """The record and all it is made of, breadth first, each once."""
    found: list[Record[Any]] = [root]
    for record in found:
        found.extend(inner for inner in _inside(record) if inner not in found)
    return found


def _inside(shape: Shape[Any]) -> Iterator[Record[Any]]:
    for part in shape.shapes():
        if isinstance(part, Record):
            yield part
        else:
            yield from _inside(part)


def _section(record: Record[Any]) -> list[str]:
    rows = [_row(field) for field in record.fields]
    table = ["| key | type | default | meaning |", "|---|---|---|---|", *rows]
    return [record.doc, "\n".join(table)]


def _row(field: Field) -> str:
    example = f" Example: `{field.name}: {field.example}`" if field.example else ""
    cells = (f"`{field.name}`", type_of(field.shape), _default(field), field.doc + example)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def type_of(shape: Shape[Any]) -> str:
    """A type for people, records as links."""
    match shape:
        case Record():
            return f"[{shape.name}](#{_heading(shape).lower().replace(' ', '-')})"
        case MapOf():
            return f"a mapping from names to {type_of(shape.of)}"
        case List():
            return f"a list, each {type_of(shape.of)}"
        case OneOrMany():
            return f"{type_of(shape.of)}, or a list of them"
        case Either():
            return words(dict.fromkeys(type_of(each) for each in shape.by_kind.values()))
        case _:
            return shape.label


def _heading(record: Record[Any]) -> str:
    return record.name[0].upper() + record.name[1:]


def _default(field: Field) -> str:
    if field.required:
        return "**required**"
    if field.shown:
        return field.shown
    default = field.default
    if isinstance(default, bool):
        return str(default).lower()
    return "" if default in (None, "", (), {}) else str(default)
