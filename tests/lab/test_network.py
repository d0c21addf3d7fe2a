"""Networks on real hosts: libvirt rewrites what it is given, and a second plan must see no difference."""

from __future__ import annotations

from dataclasses import replace

import pytest

from novafleet.capability.network.plan import plan_down, plan_up
from novafleet.errors import ConfigError, Location
from novafleet.model.environment import Environment, LeaseEntry, Network, NetworkMode
from novafleet.model.plan import Impact
from tests.lab.slices import bench

pytestmark = pytest.mark.lab
HOSTS = ("kvm1", "kvm2")
DB = LeaseEntry("52:54:00:aa:00:01", "10.251.7.10", "db")
WEB = LeaseEntry("52:54:00:aa:00:02", "10.251.7.11", "web")


def environment(host: str, *leases: LeaseEntry, **changed: object) -> Environment:
    network = Network(
        "lab",
        "nftestnet-lab",
        NetworkMode.NAT,
        cidr="10.251.7.0/24",
        dhcp=True,
        domain="nftest.test",
        hosts=(host,),
        leases={host: leases},
        source=Location("env.yml", 3),
    )
    return Environment("nftestnet", Location("env.yml"), networks={"lab": replace(network, **changed)})  # type: ignore[arg-type]


@pytest.mark.parametrize("host", HOSTS)
async def test_up_noop_lease_structure_down(host: str) -> None:
    async with bench(host) as lab:
        empty = Environment("nftestnet", Location("env.yml"))
        await lab.apply(empty, plan_down)
        try:
            await lab.apply(environment(host, DB), plan_up)
            assert (await lab.apply(environment(host, DB), plan_up))[1] == ()

            outcomes, changes = await lab.apply(environment(host, WEB), plan_up)
            assert [change.impact for change in changes] == [Impact.LIVE]
            assert list(outcomes.values()) == [{"removed": 2, "added": 2}]
            hosts = await lab.sh("cat /var/lib/libvirt/dnsmasq/nftestnet-lab.hostsfile")
            assert WEB.mac in hosts
            assert DB.mac not in hosts
            assert (await lab.apply(environment(host, WEB), plan_up))[1] == ()

            grown = environment(host, WEB, mtu=1400, dhcp_start="10.251.7.100", dhcp_end="10.251.7.200")
            _, changes = await lab.apply(grown, plan_up)
            assert [change.impact for change in changes] == [Impact.RECREATE]
            assert (await lab.apply(grown, plan_up))[1] == ()
            assert {change.name for change in (await lab.apply(empty, plan_up))[1]} == {"lab"}
        finally:
            await lab.apply(empty, plan_down)
        assert "nftestnet" not in await lab.sh("virsh net-list --all --name")


async def test_stopped_by_hand_is_started_again() -> None:
    async with bench("kvm2") as lab:
        wanted = environment("kvm2", DB, mode=NetworkMode.ISOLATED)
        try:
            await lab.apply(wanted, plan_up)
            await lab.sh("virsh net-destroy nftestnet-lab; virsh net-autostart --disable nftestnet-lab")
            _, changes = await lab.apply(wanted, plan_up)
            assert {reason.field for reason in changes[0].reasons} == {"active", "autostart"}
            assert (await lab.apply(wanted, plan_up))[1] == ()
        finally:
            await lab.apply(wanted, plan_down)


async def test_overlap_is_found_before_anything_is_touched() -> None:
    async with bench("kvm1") as lab:
        first = environment("kvm1")
        try:
            await lab.apply(first, plan_up)
            other = replace(first.networks["lab"], libvirt_name="nfother-lab")
            with pytest.raises(ConfigError, match="overlaps") as caught:
                await lab.apply(Environment("nfother", Location("o.yml"), networks={"lab": other}), plan_up)
            assert caught.value.code == "NF-NET-002"
        finally:
            await lab.apply(first, plan_down)
