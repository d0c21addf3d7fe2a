"""NoCloud seeds: meta-data, user-data and network-config of one VM.

Formats: cloud-init's "NoCloud" data source and "Networking config version 2". Values are plain block YAML, so that
small guests without cloud-init can read them too.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from typing import Any

import yaml

from novafleet.model.environment import Environment, Network, NetworkMode, Nic, Vm
from novafleet.model.secret import Secret
from novafleet.render.iso9660 import iso9660

LABEL = "cidata"
LONGEST_INTERFACE = 15
"""Bytes of a Linux interface name (IFNAMSIZ minus its end)."""

Seed = Mapping[str, Secret]


def seed(environment: Environment, vm: Vm) -> Seed:
    """Content of the seed by file name; empty when the VM asks for no cloud-init.

    The instance-id is the VM's UUID, or with ``rerun: on-change`` the UUID and the content's digest: a new one makes
    cloud-init run again at the next boot.
    """
    if vm.cloud_init is None:
        return {}
    files = {"user-data": Secret.of("#cloud-config\n" + _yaml(_user_data(vm)))}
    if network := _network_config(environment, vm):
        files["network-config"] = Secret.of(_yaml(network))
    instance = vm.uuid if vm.cloud_init.rerun == "never" else f"{vm.uuid}-{digest(files)[:12]}"
    return {"meta-data": Secret.of(_yaml({"instance-id": instance, "local-hostname": vm.name})), **files}


def digest(files: Seed) -> str:
    """sha256 over names and content; "" for no seed."""
    if not files:
        return ""
    state = hashlib.sha256()
    for name in sorted(files):
        content = files[name].reveal()
        state.update(f"{name} {len(content)}\n".encode() + content)
    return state.hexdigest()


def seed_image(files: Seed) -> Secret:
    """The ISO 9660 image a guest mounts by its label ``cidata``."""
    return Secret.of(iso9660(LABEL, {name: content.reveal() for name, content in files.items()}))


def _user_data(vm: Vm) -> Mapping[str, Any]:
    data = _revealed(vm.cloud_init.user_data if vm.cloud_init else {})
    return data if "hostname" in data else {"hostname": vm.name, **data}


def _revealed(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal().decode()
    if isinstance(value, Mapping):
        return {key: _revealed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_revealed(item) for item in value]
    return value


def _network_config(environment: Environment, vm: Vm) -> Mapping[str, Any]:
    if vm.cloud_init is not None and vm.cloud_init.network_config is not None:
        config: Mapping[str, Any] = _revealed(vm.cloud_init.network_config)
        return config
    if not vm.nics:
        return {}
    networks = {name: environment.networks[nic.network] for name, nic in vm.nics.items()}
    outward = next((name for name, nic in vm.nics.items() if _leads_out(nic, networks[name])), "")
    interfaces = {name: _interface(nic, networks[name], default=name == outward) for name, nic in vm.nics.items()}
    return {"version": 2, "ethernets": interfaces}


def _leads_out(nic: Nic, network: Network) -> bool:
    """Does a default route go there? By DHCP only a network that is not isolated tells one."""
    return network.mode is not NetworkMode.ISOLATED and bool(network.gateway or not nic.ip)


def _interface(nic: Nic, network: Network, *, default: bool) -> Mapping[str, Any]:
    interface: dict[str, Any] = {"match": {"macaddress": nic.mac}}
    if len(nic.name) <= LONGEST_INTERFACE:
        interface["set-name"] = nic.name
    if not nic.ip:
        return interface | {"dhcp4": True}
    interface["addresses"] = [f"{nic.ip}/{ipaddress.ip_network(network.cidr, strict=False).prefixlen}"]
    if default:
        interface["routes"] = [{"to": "0.0.0.0/0", "via": network.gateway}]
    if network.gateway:
        interface["nameservers"] = {"addresses": [network.gateway]}
    return interface


def _yaml(data: Mapping[str, Any]) -> str:
    text: str = yaml.safe_dump(dict(data), sort_keys=False, default_flow_style=False, allow_unicode=True, width=1 << 20)
    return text
