"""The lab itself, looked at without NovaFleet: hosts, ways in, storage, guests, containers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from novafleet.app.lab import ssh_argv
from novafleet.lab.layout import ENGINES
from novafleet.render.iso9660 import iso9660
from tests.labfixture import LAB_PLACE, Lab

pytestmark = pytest.mark.lab
HOSTS = ("kvm1", "kvm2", "kvm3")
BOOT = 180
"""Seconds a guest may take on a busy machine; on a quiet one it is at its prompt in five."""
NETWORK = "labtest"
NETWORK_XML = f"""<network><name>{NETWORK}</name><forward mode='nat'/><bridge name='labtest0' stp='off'/>
<ip address='10.99.7.1' netmask='255.255.255.0'><dhcp><range start='10.99.7.100' end='10.99.7.200'/></dhcp></ip>
</network>"""
WAIT_FOR_TEXT = 'timeout "$1" sh -c \'until grep -q "$1" "$2" 2>/dev/null; do sleep 0.2; done\' _ "$2" "$3"'
WAIT_UNTIL_GONE = 'timeout 60 sh -c \'while virsh domstate "$1" >/dev/null 2>&1; do sleep 0.1; done\' _ "$1"'


def ssh(lab: Lab, host: str, user: str, *command: str, stdin: str = "") -> str:
    argv = ssh_argv(LAB_PLACE, host, command, user)
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("host", HOSTS)
def test_everyone_gets_in_with_the_key_and_a_known_host(lab: Lab, host: str) -> None:
    assert ssh(lab, host, "root", "hostname").strip() == host
    assert ssh(lab, host, "ops", "sudo -n id -u").strip() == "0"
    assert ssh(lab, host, "opspw", "sudo -S -p '' id -u", stdin="lab-sudo-password\n").strip() == "0"


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_is_what_it_claims(lab: Lab, host: str) -> None:
    flavour = lab.hosts[host].flavour
    assert f"VERSION_CODENAME={flavour}" in lab.on(host, "cat", "/etc/os-release")
    assert lab.on(host, "virsh", "-q", "uri").strip() == "qemu:///system"
    assert lab.answers(host, ENGINES[flavour], "info")
    capabilities = ET.fromstring(lab.on(host, "virsh", "capabilities"))
    assert (capabilities.findtext("host/uuid") or "").replace("-", "") == lab.hosts[host].machine_id


def test_hosts_have_a_pool_and_share_a_path(lab: Lab) -> None:
    for host in HOSTS:
        pool = lab.on(host, "virsh", "pool-info", "default")
        assert "running" in pool
        assert pool.count("yes") == 2, "persistent and autostarted"
    lab.on("kvm1", "sh", "-c", "echo from kvm1 >/srv/shared/labtest")
    assert lab.on("kvm3", "cat", "/srv/shared/labtest") == "from kvm1\n"
    lab.on("kvm2", "rm", "/srv/shared/labtest")


@pytest.mark.parametrize("host", HOSTS)
def test_an_archive_becomes_a_running_container(lab: Lab, host: str) -> None:
    engine = ENGINES[lab.hosts[host].flavour]
    image = "localhost/novafleet/httpd:1"
    words = ("docker", "exec", "--interactive", lab.hosts[host].container, engine, "load")
    subprocess.run(words, input=lab.httpd.read_bytes(), capture_output=True, check=True)
    try:
        lab.on(host, engine, "run", "--detach", "--name", "labtest", "--publish", "18099:80", image)
        assert lab.on(host, "curl", "-sf", "--retry", "5", "--retry-connrefused", "http://127.0.0.1:18099/")
        assert lab.answers(host, engine, "exec", "labtest", "wget", "-qO-", "http://127.0.0.1/")
    finally:
        lab.on(host, engine, "rm", "--force", "labtest", check=False)


@pytest.fixture(params=["kvm1", "kvm2"])
def guest_host(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    """A host with a network for guests, left as it was found."""
    host: str = request.param
    clean(lab, host)
    lab.on(host, "mkdir", "/var/lib/libvirt/images/labtest")
    lab.on(host, "virsh", "net-create", "/dev/stdin", stdin=NETWORK_XML)
    yield host
    clean(lab, host)


def clean(lab: Lab, host: str) -> None:
    lab.on(host, "virsh", "destroy", "labtest", check=False)
    lab.on(host, "virsh", "net-destroy", NETWORK, check=False)
    lab.on(host, "sh", "-c", "rm -rf /var/lib/libvirt/images/labtest /var/log/libvirt/qemu/labtest*")


def images(lab: Lab) -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    found: Mapping[str, Mapping[str, Mapping[str, str]]] = yaml.safe_load(lab.images.read_text())["images"]
    return found


def fetch(lab: Lab, host: str, artifact: Mapping[str, str], name: str) -> str:
    path = f"/var/lib/libvirt/images/labtest/{name}"
    lab.on(host, "curl", "-sf", "-o", path, artifact["url"])
    assert lab.on(host, "sha256sum", path).split()[0] == artifact["sha256"]
    return path


def seed(lab: Lab, host: str) -> str:
    key = LAB_PLACE.key.with_name("id_ed25519.pub").read_text().strip()
    user_data = {
        "hostname": "labtest-guest",
        "ssh_authorized_keys": [key],
        "write_files": [{"path": "/etc/labtest", "content": "two\n lines\n", "permissions": "0640"}],
        "runcmd": [
            "mkdir -p /srv/www && hostname > /srv/www/ran",
            ["sh", "-c", 'echo "$1" >> /srv/www/ran', "-", "a b"],
        ],
    }
    lan = {"match": {"macaddress": "52:54:00:99:07:05"}, "set-name": "lan", "addresses": ["10.99.7.5/24"]}
    content = iso9660(
        "cidata",
        {
            "meta-data": b"instance-id: labtest\n",
            "user-data": b"#cloud-config\n" + yaml.safe_dump(user_data).encode(),
            "network-config": yaml.safe_dump({"version": 2, "ethernets": {"lan": lan}}).encode(),
        },
    )
    path = "/var/lib/libvirt/images/labtest/seed.iso"
    words = ("docker", "exec", "--interactive", lab.hosts[host].container, "tee", path)
    subprocess.run(words, input=content, stdout=subprocess.DEVNULL, check=True)
    return path


def start(lab: Lab, host: str, boot: Mapping[str, str], disks: Mapping[str, str], mebibytes: int) -> str:
    """Create a guest of an image with a seed; the path of its serial log."""
    domain = ET.Element("domain", type="qemu")
    for name, text in (("name", "labtest"), ("memory", str(mebibytes * 1024)), ("vcpu", "1")):
        ET.SubElement(domain, name).text = text
    system = ET.SubElement(domain, "os")
    ET.SubElement(system, "type", arch="x86_64", machine="pc").text = "hvm"
    for name, text in boot.items():
        ET.SubElement(system, name).text = text
    ET.SubElement(ET.SubElement(domain, "features"), "acpi")
    devices = ET.SubElement(domain, "devices")
    for target, path in disks.items():
        disk = ET.SubElement(devices, "disk", type="file")
        ET.SubElement(disk, "driver", name="qemu", type="raw" if path.endswith(".iso") else "qcow2")
        ET.SubElement(disk, "source", file=path)
        ET.SubElement(disk, "target", dev=target, bus="virtio")
        if path.endswith(".iso"):
            ET.SubElement(disk, "readonly")
    nic = ET.SubElement(devices, "interface", type="network")
    ET.SubElement(nic, "mac", address="52:54:00:99:07:05")
    ET.SubElement(nic, "source", network=NETWORK)
    ET.SubElement(nic, "model", type="virtio")
    log = "/var/log/libvirt/qemu/labtest-serial.log"
    ET.SubElement(ET.SubElement(devices, "serial", type="pty"), "log", file=log)
    channel = ET.SubElement(devices, "channel", type="unix")
    ET.SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    lab.on(host, "virsh", "create", "/dev/stdin", stdin=ET.tostring(domain, encoding="unicode"))
    return log


def in_guest(lab: Lab, host: str, *command: str) -> str:
    """Through the host, as the gates do."""
    through = " ".join(ssh_argv(LAB_PLACE, host, ())[:-1]) + f" -W %h:%p root@{lab.hosts[host].address}"
    options = ("-o", f"ProxyCommand={through}", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
    argv = ("ssh", "-F", "none", "-i", str(lab.key), *options, "-o", "LogLevel=ERROR", "root@10.99.7.5", *command)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("way", ["kernel", "disk"])
def test_the_mini_guest_obeys_its_seed(lab: Lab, guest_host: str, way: str) -> None:
    found = images(lab)
    if way == "kernel":
        mini = found["mini"]
        boot = {name: fetch(lab, guest_host, mini[name], name) for name in ("kernel", "initrd")}
        boot["cmdline"] = str(mini["cmdline"])
        disks = {}
    else:
        boot = {}
        disks = {"vda": fetch(lab, guest_host, found["mini-disk"], "root.qcow2")}  # type: ignore[arg-type]
    log = start(lab, guest_host, boot, {**disks, "vdz": seed(lab, guest_host)}, 128)
    lab.on(guest_host, "sh", "-c", WAIT_FOR_TEXT, "_", str(BOOT), "login:", log, timeout=BOOT + 10)
    said = lab.on(guest_host, "cat", log)
    assert "cloud-init: done" in said
    assert "labtest-guest login:" in said
    assert lab.on(guest_host, "curl", "-sf", "http://10.99.7.5/ran") == "labtest-guest\na b\n"
    assert in_guest(lab, guest_host, "cat", "/etc/labtest") == "two\n lines\n"
    assert "status: done" in in_guest(lab, guest_host, "cloud-init", "status", "--wait")
    agent = lab.on(guest_host, "virsh", "-q", "qemu-agent-command", "labtest", '{"execute":"guest-get-host-name"}')
    assert json.loads(agent)["return"]["host-name"] == "labtest-guest"
    lab.on(guest_host, "virsh", "shutdown", "labtest", "--mode", "agent" if way == "disk" else "acpi")
    lab.on(guest_host, "sh", "-c", WAIT_UNTIL_GONE, "_", "labtest")


@pytest.mark.slow
def test_a_whole_debian_obeys_its_seed(lab: Lab, guest_host: str) -> None:
    found = images(lab)
    if "debian" not in found:
        pytest.skip("the Debian guest is not built (novafleet lab up --debian)")
    root = fetch(lab, guest_host, found["debian"], "root.qcow2")  # type: ignore[arg-type]
    log = start(lab, guest_host, {}, {"vda": root, "vdz": seed(lab, guest_host)}, 512)
    lab.on(guest_host, "sh", "-c", WAIT_FOR_TEXT, "_", "480", "labtest-guest login:", log, timeout=500)
    assert lab.on(guest_host, "curl", "-s", "--retry", "1", "http://10.99.7.5/", check=False) == "", (
        "it serves no pages"
    )
    asked = '{"execute":"guest-get-host-name"}'
    agent = 'timeout 300 sh -c \'until virsh -q qemu-agent-command labtest "$1" 2>/dev/null; do sleep 1; done\' _ "$1"'
    assert "labtest-guest" in lab.on(guest_host, "sh", "-c", agent, "_", asked, timeout=310)
    lab.on(guest_host, "sh", "-c", WAIT_FOR_TEXT, "_", "300", "Cloud-init .* finished", log, timeout=310)


def test_the_command_line_shows_the_lab(lab: Lab) -> None:
    command = Path(sys.executable).parent / "novafleet"
    if not command.exists():
        command = Path(shutil.which("novafleet") or pytest.skip("novafleet is not installed in this environment"))
    done = subprocess.run([command, "lab", "status", "-o", "json"], capture_output=True, text=True, check=True)
    rows = {row["host"]: row for row in json.loads(done.stdout)["hosts"]}
    assert {name: row["state"] for name, row in rows.items()} == dict.fromkeys(lab.hosts, "ready")
    done = subprocess.run([command, "lab", "ssh", "kvm2", "--", "hostname"], capture_output=True, text=True, check=True)
    assert done.stdout == "kvm2\n"
    done = subprocess.run([command, "lab", "ssh", "kvm99"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "NF-LAB-009" in done.stderr
