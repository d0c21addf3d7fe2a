"""A fleet of three hosts for tests of environment files."""

from __future__ import annotations

from pathlib import Path

from novafleet.model.environment import Environment
from novafleet.model.fleet import Fleet, Group, Host
from novafleet.playbook import Draft, load_draft

HOSTS = ("kvm1", "kvm2", "kvm3")
FLEET = Fleet(
    {name: Host(name, name) for name in HOSTS},
    {"all": Group("all", HOSTS), "kvm": Group("kvm", HOSTS[:2]), "ungrouped": Group("ungrouped", ("kvm3",))},
)
ENV = {"PASSWORD": "s3cr3t"}


def draft(path: Path, fleet: Fleet = FLEET, **overrides: str) -> Draft:
    """Load a file."""
    return load_draft(path, fleet=fleet, overrides=overrides, var_files=(), env=ENV)


def written(folder: Path, text: str, name: str = "env.yml") -> Path:
    """Write a file into a folder of its own test."""
    path = folder / name
    path.write_text(text)
    return path


def environment(folder: Path, text: str, **overrides: str) -> Environment:
    """The environment of a text, nothing known of any host."""
    return draft(written(folder, text), **overrides).place({}, {})
