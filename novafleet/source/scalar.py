"""What a plain YAML scalar means: YAML 1.2's core schema, without YAML 1.1's surprises.

``no``, ``on``, ``012``, ``1:30`` and dates stay text (https://yaml.org/spec/1.2.2/#103-core-schema).
"""

from __future__ import annotations

import re

from novafleet.source.node import Scalar

_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,30})")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,32}")
_OCTAL = re.compile(r"0o[0-7]{1,32}")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*([eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)")


def resolve(text: str) -> Scalar:
    """The value of an unquoted scalar; what is no flag, number or null is text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _HEX.fullmatch(text):
        return int(text, 16)
    if _OCTAL.fullmatch(text):
        return int(text, 8)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
