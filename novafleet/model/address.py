"""Resource addresses and step ids: the one place they are made, so that edges cannot be misspelt."""

from __future__ import annotations

METADATA_NS = "https://novafleet.dev/xmlns/1"
METADATA_KEY = "novafleet"


def network(name: str, host: str) -> str:
    """``network.lab@kvm1``."""
    return f"network.{name}@{host}"


def image(name: str, host: str) -> str:
    """``image.mini@kvm1``."""
    return f"image.{name}@{host}"


def archive(stack_name: str, reference: str, host: str) -> str:
    """``image.edge.localhost/app:1@kvm1``: a container image shipped to the host of a stack."""
    return image(f"{stack_name}.{reference}", host)


def volume(vm_name: str, disk: str) -> str:
    """``volume.db.root``."""
    return f"volume.{vm_name}.{disk}"


def vm(name: str) -> str:
    """``vm.db``."""
    return f"vm.{name}"


def stack(name: str) -> str:
    """``stack.edge``."""
    return f"stack.{name}"


def step(address: str, verb: str) -> str:
    """``vm.db/define``. Verbs: network apply, remove; image fetch; volume create, resize, delete; vm snapshot,
    seed, define, start, change, stop, undefine, ready.N; stack push, images, start, stop, delete, ready.N."""
    return f"{address}/{verb}"


def ready(address: str, index: int) -> str:
    """``vm.db/ready.0``: the step of one readiness gate."""
    return step(address, f"ready.{index}")
