"""Where a file of the VM goes on the destination, and how networks are called there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from posixpath import basename, dirname

from novafleet.model.facts import PoolFact
from novafleet.model.migration import Wanted
from novafleet.plan.firmware import NVRAM, TPM_STATE
from novafleet.plan.storage import DEFAULT_PATH, DEFAULT_POOL, IMAGE_PREFIX


def pool_of(path: str, pools: Mapping[str, PoolFact]) -> str:
    """The pool whose directory a file is in; "" for none."""
    return next((name for name, pool in sorted(pools.items()) if pool.path.rstrip("/") == dirname(path)), "")


def directory(path: str, source: Mapping[str, PoolFact], destination: Mapping[str, PoolFact], wanted: Wanted) -> str:
    """The destination's directory for a file of the source: the pool asked for, else the same directory, else the
    pool of the same name, else the default one. A content-addressed image is in the default pool of every host."""
    home = dirname(path)
    if home in (NVRAM, TPM_STATE):  # libvirt looks for them there, whatever a definition says of disks
        return home
    if basename(path).startswith(IMAGE_PREFIX):
        return _path(destination, DEFAULT_POOL)
    if wanted.pool:
        return _path(destination, wanted.pool)
    if pool_of(path, destination):
        return home
    name = pool_of(path, source)
    return _path(destination, name if name in destination else DEFAULT_POOL) if name else home


def arrival(path: str, source: Mapping[str, PoolFact], destination: Mapping[str, PoolFact], wanted: Wanted) -> str:
    """The whole path there."""
    return f"{directory(path, source, destination, wanted)}/{basename(path)}"


def _path(pools: Mapping[str, PoolFact], name: str) -> str:
    fact = pools.get(name)
    return fact.path.rstrip("/") if fact is not None and fact.path else DEFAULT_PATH


def network(name: str, wanted: Wanted) -> str:
    """What a network or bridge of the source is called on the destination."""
    return wanted.networks.get(name, name)
