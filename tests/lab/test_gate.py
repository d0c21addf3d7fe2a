"""Gates see a real guest behind NAT, through its host: port, SSH, HTTP, serial console, cloud-init, power-off."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from novafleet.capability.image import plan as image
from novafleet.capability.network import plan as network
from novafleet.errors import Location, NotFoundError
from novafleet.execute.gate import probe_once, wait
from novafleet.model.environment import (
    Artifact,
    Environment,
    Gate,
    GateKind,
    Image,
    Network,
    NetworkMode,
    Nic,
    Vm,
)
from novafleet.model.facts import HostFacts
from novafleet.model.plan import PlanOptions
from novafleet.plan.storage import image_path, serial_log
from tests.lab.slices import STATE, Bench, bench

pytestmark = pytest.mark.lab
HERE = Location("env.yml", 1)
NETWORK = "nfgate-lab"
PATIENCE = {"timeout": 240.0, "interval": 0.5, "source": HERE}
GATES = (
    Gate(GateKind.SERIAL, {"pattern": "login:"}, **PATIENCE),  # type: ignore[arg-type]
    Gate(GateKind.CLOUD_INIT, **PATIENCE),  # type: ignore[arg-type]
    Gate(GateKind.TCP, {"port": 22}, **PATIENCE),  # type: ignore[arg-type]
    Gate(GateKind.SSH, **PATIENCE),  # type: ignore[arg-type]
    Gate(GateKind.HTTP, {"port": 80, "status": 200}, **PATIENCE),  # type: ignore[arg-type]
)
DOMAIN = """<domain type='qemu'><name>nfgate-db</name><memory unit='MiB'>160</memory><vcpu>1</vcpu>
<os><type arch='x86_64'>hvm</type><kernel>{kernel}</kernel>
<initrd>{initrd}</initrd><cmdline>console=ttyS0</cmdline></os>
<features><acpi/></features>
<devices>
<interface type='network'><mac address='52:54:00:0a:7e:01'/>
<source network='nfgate-lab'/><model type='virtio'/></interface>
<serial type='file'><source path='{log}'/></serial>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
</devices></domain>"""


def artifact(name: str) -> Artifact:
    found = sorted((STATE / "images").glob(f"mini-*/{name}"))
    if not found:
        pytest.skip("no guest image: run `novafleet lab up`")
    return Artifact(path=str(found[-1]), sha256=hashlib.sha256(found[-1].read_bytes()).hexdigest())


def environment(host: str) -> Environment:
    mini = Image("mini", kernel=artifact("vmlinuz"), initrd=artifact("initrd.img"), source=HERE)
    nics = {"lan": Nic("lan", "lab", "52:54:00:0a:7e:01")}
    db = Vm("db", "db", "nfgate-db", "0", host, 1, nics=nics, boot="mini", ready=GATES, agent=False, source=HERE)
    lab = Network("lab", NETWORK, NetworkMode.NAT, cidr="10.251.8.0/24", dhcp=True, hosts=(host,), source=HERE)
    return Environment("nfgate", HERE, images={"mini": mini}, networks={"lab": lab}, vms={"db": db})


def definition(facts: HostFacts, wanted: Environment) -> str:
    mini = wanted.images["mini"]
    assert mini.kernel is not None
    assert mini.initrd is not None
    paths = {"kernel": image_path(facts, mini.kernel.sha256), "initrd": image_path(facts, mini.initrd.sha256)}
    return DOMAIN.format(**paths, log=serial_log(wanted.vms["db"]))


async def clean(lab: Bench, wanted: Environment) -> None:
    try:
        await lab.hypervisor.destroy_domain("nfgate-db")
        await lab.hypervisor.undefine_domain("nfgate-db")
    except NotFoundError:
        pass
    await lab.apply(wanted, network.plan_down, image.plan_down, options=PlanOptions(volumes=True))


@pytest.mark.parametrize("host", ["kvm1", "kvm2"])
async def test_a_guest_behind_nat(host: str, tmp_path: Path) -> None:
    wanted = environment(host)
    async with bench(host) as lab:
        await clean(lab, wanted)
        try:
            await lab.apply(wanted, network.plan_up, image.plan_up)
            context = await lab.context(wanted)
            await lab.hypervisor.define_domain(definition(context.facts, wanted))
            await lab.hypervisor.start_domain("nfgate-db")
            waits = (wait(context, {"resource": "vm.db", "index": index}) for index in range(len(GATES)))
            outcomes = await asyncio.gather(*waits)
            assert "10.251.8." in outcomes[2]["evidence"]
            db = wanted.vms["db"]
            closed = await probe_once(context, Gate(GateKind.TCP, {"port": 4242}), db)
            assert not closed.ok
            assert not (await probe_once(context, Gate(GateKind.STOPPED), db)).ok
            await lab.hypervisor.destroy_domain("nfgate-db")
            assert (await wait(context, {"resource": "vm.db", "completed": True}))["tries"] == 1
        finally:
            await clean(lab, wanted)
