"""Memory and disks straight from QEMU to QEMU by TLS, where both hosts have its certificates."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.lab.movebench import POOL
from tests.lab.test_migrate import Fleet, Pinned, made
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.thorough, pytest.mark.timeout(600)]
HERE, THERE = "kvm2", "kvm3"
PLACE = "/etc/pki/qemu"
"""Where QEMU of libvirt looks (qemu.conf, ``default_tls_x509_cert_dir``)."""
PUT = 'mkdir -p "$1" && cat >"$1/$2" && chown libvirt-qemu "$1/$2" && chmod 0400 "$1/$2"'


class Authority:
    """Signs what hosts show each other, for an hour."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab")])
        usage = x509.BasicConstraints(ca=True, path_length=None)
        self.certificate = self._signed(self._name, self._key.public_key(), usage)

    def _signed(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        hour = datetime.timedelta(hours=1)
        made = x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key)
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - hour).not_valid_after(now + hour)
        return made.add_extension(extension, critical=False).sign(self._key, SHA256())

    def pair(self, address: str) -> tuple[bytes, bytes]:
        """A certificate for an address, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
        certificate = self._signed(subject, key.public_key(), names)
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return certificate.public_bytes(Encoding.PEM), secret


def equip(lab: Lab, host: str, authority: Authority, address: str) -> None:
    """Give a host's QEMU what it shows as server and as client."""
    certificate, key = authority.pair(address)
    files = {"ca-cert.pem": authority.certificate.public_bytes(Encoding.PEM)}
    for role in ("server", "client"):
        files |= {f"{role}-cert.pem": certificate, f"{role}-key.pem": key}
    for name, content in files.items():
        lab.on(host, "sh", "-c", PUT, "sh", PLACE, name, stdin=content.decode())


@pytest.fixture
def fleet(lab: Lab, fleet_home: Path) -> Iterator[Fleet]:
    """A guest on the first of two hosts; nobody has certificates when it is over."""
    try:
        yield from made(lab, fleet_home, Pinned(lab, "ma-tls"), HERE, THERE)
    finally:
        for host in (HERE, THERE):
            lab.on(host, "rm", "-rf", PLACE)


def test_tls_is_taken_where_it_is_set_up(fleet: Fleet) -> None:
    label = f"{HERE}/{fleet.guest.name}"
    assert fleet.run(label, "--to", THERE, "--plan")["path"] == "tunnel"
    authority = Authority()
    for host in fleet.hosts:
        equip(fleet.lab, host, authority, fleet.lab.hosts[host].address)
    assert fleet.move(HERE, THERE, "--mode", "live")["path"] == "direct"


def test_a_host_whose_certificate_is_anothers_gets_nothing(fleet: Fleet) -> None:
    authority = Authority()
    equip(fleet.lab, HERE, authority, fleet.lab.hosts[HERE].address)
    equip(fleet.lab, THERE, authority, "192.0.2.1")
    last = fleet.guest.said(HERE)
    label = f"{HERE}/{fleet.guest.name}"
    refused = fleet.run(label, "--to", THERE, "--mode", "live", "--path", "direct", "--yes", status=1)
    assert "192.0.2.1" in str(refused) or "ertificate" in str(refused), refused
    fleet.guest.counts(HERE, beyond=last)
    assert (fleet.guest.state(HERE), fleet.guest.state(THERE)) == ("running", "")
    assert not fleet.lab.on(THERE, "sh", "-c", 'ls "$1" | grep "$2"; :', "sh", POOL, fleet.guest.name)
