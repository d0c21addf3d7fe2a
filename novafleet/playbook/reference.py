"""The reference page of environment files."""

from __future__ import annotations

from novafleet.playbook.schema.environment import ENVIRONMENT
from novafleet.source.reference import page

_INTRODUCTION = """
<!-- Generated from novafleet/playbook/schema by novafleet.playbook.reference; a test keeps it up to date. -->

An environment file is YAML 1.2: `yes`, `on` and `012` are text, and only `true` and `false` are flags. Keys that are
not known here, keys written twice and tags are errors, each with file, line, column and the nearest valid key.

Names are DNS labels: `a-z`, `0-9` and `-`, at most 63 characters. Sizes take a unit of 1024 (`512MiB`, `2GiB`, `512M`);
durations are seconds or `500ms`, `30s`, `1m30s`, `2h`.

`${name}` stands for a variable, `${name:-default}` gives one for where it is not declared, `${env:NAME}` and
`${file:PATH}` are secrets: allowed in `cloud_init` content and in a stack's `vars` and `env`, never shown and never
written to a plan. A value that is nothing but one reference takes the variable's type. `$${` is a literal `${`.
"""


def environment_reference() -> str:
    """Markdown for ``docs/reference/environment.md``."""
    return page("Environment file", _INTRODUCTION, ENVIRONMENT)
