"""Networks against what libvirt holds: what is a difference, what it costs, what is kept."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novafleet.capability.network import xml
from novafleet.capability.network.plan import plan_down, plan_up
from novafleet.errors import ConfigError, ConfigErrors, GuardError, Location
from novafleet.model.environment import Environment, LeaseEntry, Network, NetworkMode
from novafleet.model.facts import Domain, FleetFacts, HostFacts, NetworkFact
from novafleet.model.plan import Change, Impact, PlanOptions, ResourceChange

CAPTURED = Path(__file__).parent / "captured"
HERE = Location("env.yml", 3)
DB = LeaseEntry("52:54:00:aa:00:01", "10.251.7.10", "db")
LAB = Network(
    "lab",
    "nftestnet-lab",
    NetworkMode.NAT,
    cidr="10.251.7.0/24",
    dhcp=True,
    domain="nftest.test",
    mtu=1400,
    hosts=("kvm1",),
    leases={"kvm1": (DB,)},
    source=HERE,
)


def environment(*networks: Network) -> Environment:
    return Environment("nftestnet", Location("env.yml"), networks={network.name: network for network in networks})


def fact(text: str, *, active: bool = True, autostart: bool = True) -> NetworkFact:
    root = ElementTree.fromstring(text)
    return NetworkFact(root.findtext("name", ""), root.findtext("uuid", ""), active, autostart, text)


def made(network: Network, **state: bool) -> NetworkFact:
    return fact(xml.definition("nftestnet", network, "kvm1"), **state)


def facts(*networks: NetworkFact, domains: tuple[Domain, ...] = (), bridges: tuple[str, ...] = ()) -> FleetFacts:
    host = HostFacts(
        "kvm1",
        0.0,
        networks={each.name: each for each in networks},
        domains={domain.name: domain for domain in domains},
        bridges=bridges,
    )
    return FleetFacts({"kvm1": host})


def up(wanted: Environment, seen: FleetFacts) -> tuple[ResourceChange, ...]:
    return plan_up(wanted, seen, PlanOptions())


def domain(name: str, network: str, metadata: str = "") -> Domain:
    card = f"<interface><source network='{network}'/></interface>"
    text = f"<domain><metadata>{metadata}</metadata><devices>{card}</devices></domain>"
    return Domain(name, "0", "running", text)


@pytest.mark.parametrize("path", sorted(CAPTURED.glob("*.xml")), ids=lambda path: path.stem)
def test_what_libvirt_added_is_no_change(path: Path) -> None:
    rewritten = path.read_text().replace("@kvm2", "@kvm1")
    [change] = up(environment(LAB), facts(fact(rewritten)))
    assert change.change is Change.NONE
    assert change.steps == ()


DIFFERENCES: dict[str, tuple[dict[str, Any], Impact, str]] = {
    "mode": ({"mode": NetworkMode.ISOLATED}, Impact.RECREATE, "network.restart"),
    "mtu": ({"mtu": 9000}, Impact.RECREATE, "network.restart"),
    "domain": ({"domain": "other.test"}, Impact.RECREATE, "network.restart"),
    "dhcp range": ({"dhcp_start": "10.251.7.100"}, Impact.RECREATE, "network.restart"),
    "gateway": ({"gateway": "10.251.7.254"}, Impact.RECREATE, "network.restart"),
    "lease": ({"leases": {"kvm1": (replace(DB, ip="10.251.7.77"),)}}, Impact.LIVE, "network.update"),
    "autostart": ({"autostart": False}, Impact.LIVE, "network.define"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_difference(name: str) -> None:
    changed, impact, action = DIFFERENCES[name]
    [change] = up(environment(replace(LAB, **changed)), facts(made(LAB)))
    assert (change.change, change.impact) == (Change.UPDATE, impact)
    assert [step.action for step in change.steps] == [action]
    assert all(reason.source == HERE for reason in change.reasons)


def test_new_leases_are_told_to_the_running_network() -> None:
    web = LeaseEntry("52:54:00:aa:00:02", "10.251.7.11", "web")
    [change] = up(environment(replace(LAB, leases={"kvm1": (DB, web)})), facts(made(LAB)))
    lease = {"mac": web.mac, "ip": web.ip, "name": web.name}
    assert change.steps[0].args["add"] == [lease, {"ip": web.ip, "name": web.name}]
    assert change.steps[0].args["remove"] == []


def test_a_second_nic_of_a_vm_gets_a_lease_without_a_name() -> None:
    second = LeaseEntry("52:54:00:aa:00:02", "10.251.7.11", "db")
    wanted = replace(LAB, leases={"kvm1": (DB, second)})
    [change] = up(environment(wanted), facts(made(LAB)))
    assert change.steps[0].args["add"] == [
        {"mac": second.mac, "ip": second.ip, "name": ""},
        {"ip": second.ip, "name": "db"},
    ]
    assert "name=" not in ElementTree.tostring(xml.lease(xml.Lease(second.mac, second.ip, "")), encoding="unicode")
    [settled] = up(environment(wanted), facts(made(wanted)))
    assert settled.change is Change.NONE


def test_one_that_stopped_is_defined_and_started_without_a_restart() -> None:
    [change] = up(environment(replace(LAB, mtu=9000)), facts(made(LAB, active=False)))
    assert (change.impact, change.steps[0].action) == (Impact.LIVE, "network.define")


def test_an_existing_bridge_needs_nothing_but_to_exist() -> None:
    bridged = Network("wan", "", NetworkMode.BRIDGE, bridge="br0", hosts=("kvm1",), source=HERE)
    [change] = up(environment(bridged), facts(bridges=("br0",)))
    assert change.change is Change.NONE
    with pytest.raises(ConfigError, match="no bridge 'br0'") as caught:
        up(environment(bridged), facts(bridges=("virbr0",)))
    assert caught.value.code == "NF-NET-001"
    assert "virbr0" in caught.value.hints[0]


@pytest.mark.parametrize(("libvirt", "able"), [("11.3.0", True), ("9.0.0", False)])
def test_a_vlan_needs_a_libvirt_that_tags_ports_of_linux_bridges(libvirt: str, able: bool) -> None:
    tagged = environment(Network("wan", "", NetworkMode.BRIDGE, bridge="br0", vlan=120, hosts=("kvm1",), source=HERE))
    host = replace(facts(bridges=("br0",)).hosts["kvm1"], values={"libvirt_version": libvirt})
    if able:
        [change] = up(tagged, FleetFacts({"kvm1": host}))
        assert change.change is Change.NONE
    else:
        with pytest.raises(ConfigError, match="cannot tag VLAN 120") as caught:
            up(tagged, FleetFacts({"kvm1": host}))
        assert caught.value.code == "NF-NET-003"


def test_a_network_of_that_name_which_is_not_ours_is_refused() -> None:
    stranger = fact("<network><name>nftestnet-lab</name><uuid>00000000-0000-4000-8000-000000000000</uuid></network>")
    with pytest.raises(GuardError) as caught:
        up(environment(LAB), facts(stranger))
    assert caught.value.code == "NF-GUARD-003"


def test_every_overlap_is_reported() -> None:
    default = fact(
        "<network><name>default</name><uuid>1</uuid><ip address='10.251.7.1' netmask='255.255.255.0'/></network>"
    )
    twin = replace(LAB, name="twin", libvirt_name="nftestnet-twin")
    with pytest.raises(ConfigErrors) as caught:
        up(environment(LAB, twin), facts(default))
    assert [error.code for error in caught.value.errors] == ["NF-NET-002"] * 3


def test_the_subnet_of_an_interface_is_taken_but_not_that_of_our_own_bridge() -> None:
    seen = facts(made(LAB)).hosts["kvm1"]
    bridge = xml.bridge_name("nftestnet", LAB.libvirt_name)
    own = replace(seen, subnets={bridge: ("10.251.7.1/24",), "eth0": ("172.31.250.11/24", "nonsense")})
    assert up(environment(LAB), FleetFacts({"kvm1": own}))[0].change is Change.NONE
    taken = replace(seen, subnets={"eth0": ("10.251.0.9/16",)})
    with pytest.raises(ConfigError, match="interface eth0") as caught:
        up(environment(LAB), FleetFacts({"kvm1": taken}))
    assert caught.value.code == "NF-NET-002"


def test_the_subnet_of_a_host_bridge_that_a_libvirt_network_names_is_taken() -> None:
    lan = "<network><name>lan</name><uuid>1</uuid><forward mode='bridge'/><bridge name='br0'/></network>"
    host = replace(facts(fact(lan)).hosts["kvm1"], subnets={"br0": ("10.251.7.3/24",)})
    with pytest.raises(ConfigError, match="interface br0") as caught:
        up(environment(LAB), FleetFacts({"kvm1": host}))
    assert caught.value.code == "NF-NET-002"


def test_one_that_is_no_longer_in_the_file_goes_after_its_vms_left_it() -> None:
    ours = domain("nftestnet-db", "nftestnet-lab", "<x xmlns='https://novafleet.dev/xmlns/1'/>")
    [change] = up(environment(), facts(made(LAB), domains=(ours,)))
    assert change.change is Change.DELETE
    assert change.steps[0].after == ("vm.db/undefine", "vm.db/change", "vm.db/define")


def test_its_successor_on_the_same_subnet_waits_for_it() -> None:
    heir = replace(LAB, name="heir", libvirt_name="nftestnet-heir")
    ours = domain("nftestnet-db", "nftestnet-lab", "<x xmlns='https://novafleet.dev/xmlns/1'/>")
    create, remove = up(environment(heir), facts(made(LAB), domains=(ours,)))
    assert create.steps[0].after == (remove.steps[0].id,)
    assert remove.steps[0].after == ("vm.db/undefine",)


def test_one_on_the_subnet_that_another_leaves_waits_for_it() -> None:
    moved = replace(LAB, cidr="10.251.8.0/24", leases={})
    heir = replace(LAB, name="heir", libvirt_name="nftestnet-heir", leases={})
    leave, create = up(environment(moved, heir), facts(made(LAB)))
    assert create.steps[0].after == (leave.steps[0].id,)
    assert leave.steps[0].after == ()
    idle, at_once = up(environment(moved, heir), facts(made(LAB, active=False)))
    assert idle.steps[0].after == at_once.steps[0].after == ()


def test_two_that_swap_their_subnets_do_not_wait_for_each_other() -> None:
    other = replace(LAB, name="heir", libvirt_name="nftestnet-heir", cidr="10.251.8.0/24", leases={})
    swapped = (replace(LAB, cidr=other.cidr, leases={}), replace(other, cidr=LAB.cidr))
    assert [change.steps[0].after for change in up(environment(*swapped), facts(made(LAB), made(other)))] == [(), ()]


def test_one_that_a_stranger_uses_is_kept() -> None:
    [change] = plan_down(environment(LAB), facts(made(LAB), domains=(domain("pet", "nftestnet-lab"),)), PlanOptions())
    assert change.change is Change.NONE
    assert "pet" in change.reasons[0].text


def test_hosts_that_could_not_be_observed_are_left_out() -> None:
    assert up(environment(LAB), FleetFacts({"kvm1": HostFacts("kvm1", 0.0, error="gone")})) == ()


SUBNETS = st.integers(0, 2**16 - 1).map(lambda n: IPv4Network((0x0A000000 + n * 256, 24)))
NETWORKS = st.builds(
    lambda subnet, mode, dhcp, domain, mtu, hosts: replace(
        LAB,
        mode=mode,
        cidr=str(subnet),
        dhcp=dhcp,
        domain=domain,
        mtu=mtu,
        leases={"kvm1": tuple(LeaseEntry(f"52:54:00:00:00:{n:02x}", str(subnet[n]), f"vm{n}") for n in hosts)},
    ),
    SUBNETS,
    st.sampled_from([NetworkMode.NAT, NetworkMode.ISOLATED, NetworkMode.ROUTED]),
    st.booleans(),
    st.sampled_from(["", "a.test"]),
    st.sampled_from([0, 1400, 9000]),
    st.sets(st.integers(2, 250), max_size=4),
)


@given(NETWORKS)
def test_what_was_applied_needs_no_change(network: Network) -> None:
    [change] = up(environment(network), facts(made(network)))
    assert change.change is Change.NONE


@given(NETWORKS, NETWORKS)
def test_a_lease_delta_leads_from_one_to_the_other(before: Network, after: Network) -> None:
    after = replace(after, mode=before.mode, cidr=before.cidr, dhcp=before.dhcp, domain=before.domain, mtu=before.mtu)
    [change] = up(environment(after), facts(made(before)))
    for step in change.steps:
        desired, live = (xml.shape(xml.definition("nftestnet", each, "kvm1")) for each in (after, before))
        leases = {xml.Lease(**each) for each in step.args["add"] if "mac" in each}
        gone = {xml.Lease(**each) for each in step.args["remove"] if "mac" in each}
        assert (live.leases - gone) | leases == desired.leases
