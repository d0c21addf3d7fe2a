"""The reference page of NovaFleet's own inventory format."""

from __future__ import annotations

from novafleet.inventory.own import INVENTORY
from novafleet.source.reference import page

_INTRODUCTION = """
<!-- Generated from novafleet/inventory/own.py by novafleet.inventory.reference; a test keeps it up to date. -->

How to use it, patterns, what wins, and Ansible's formats: [guide](../guides/inventory.md).

An inventory is YAML 1.2: `yes`, `on` and `012` are text, and only `true` and `false` are flags. Keys that are not known
here, keys written twice and tags are errors, each with file, line, column and the nearest valid key; all errors are
reported together.

Names of hosts and groups hold letters, digits and `. _ -`. What is left out is left to `ssh`: `~/.ssh/config` counts.
"""


def inventory_reference() -> str:
    """Markdown for ``docs/reference/inventory.md``."""
    return page("Inventory file", _INTRODUCTION, INVENTORY)
