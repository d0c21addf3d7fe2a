"""A Compose file for a copy that is cut off: what is taken out of it, and which stacks there can be no copy of."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import yaml

from novafleet.capability.backup.stack_apart import apart
from novafleet.capability.backup.stack_restore import renamed
from novafleet.errors import BackupError
from novafleet.model.backup import Consistency, Snapshot, SnapshotKind

LEFT_OUT = {"dev-edge_cloud": "driver rexray keeps it", "nfs": "its data lies elsewhere: :/srv"}
FACTS = {"volumes": {"dev-edge_data": {}, "shared": {}}, "left_out": LEFT_OUT}
SNAPSHOT = Snapshot(
    "s1", "stack.edge", "stack.dev-edge", "u", "kvm1", 0.0, Consistency.FS, facts=FACTS, kind=SnapshotKind.STACK
)
CALLED = partial(renamed, was="dev-edge", project="drill-dev-edge", apart=True)
HOME = """
name: dev-edge
services:
  web:
    image: web:1
    container_name: web
    build: .
    ports: ["${PORT}:80", {target: 443, published: 8443}]
    labels: {traefik.enable: "true"}
    logging: {driver: syslog, options: {syslog-address: "tcp://log:514"}}
    networks: {front: {ipv4_address: 10.1.2.3, aliases: [www]}, back: null}
    volumes:
      - ./site:/srv:rw
      - data:/data
      - /etc/localtime:/etc/localtime:ro
      - {type: bind, source: /etc/ssl, target: /ssl, read_only: true}
      - {type: tmpfs, target: /run}
      - /anonymous
    depends_on: [db]
    environment: {DB: db}
  db: {image: "db:2", network_mode: none, volumes: ["shared:/x"]}
networks:
  front: {external: true, name: proxy}
  back: {driver: macvlan, ipam: {config: [{subnet: 10.1.2.0/24}]}}
volumes:
  data:
  shared: {external: true}
  old: {external: {name: legacy}}
  own: {name: own-name, driver_opts: {type: none}}
"""


def made(text: str) -> Any:
    return yaml.safe_load(apart(text.encode(), SNAPSHOT, CALLED))


def test_what_a_copy_shares_with_nobody() -> None:
    copy = made(HOME)
    web = copy["services"]["web"]
    assert web.keys() == {"image", "networks", "volumes", "depends_on", "environment"}
    assert web["networks"] == {"front": {"aliases": ["www"]}, "back": None}
    assert copy["networks"] == {key: {"internal": True} for key in ("front", "back", "default")}
    assert copy["volumes"] == {
        "data": {},
        "shared": {"name": "drill-dev-edge_shared"},
        "old": {"name": "drill-dev-edge_legacy"},
        "own": {"name": "drill-dev-edge_own-name"},
    }
    assert "name" not in copy
    assert copy["services"]["db"] == {"image": "db:2", "network_mode": "none", "volumes": ["shared:/x"]}


def test_volumes_are_restored_under_the_names_the_copy_has() -> None:
    assert [CALLED(name) for name in ("dev-edge_data", "shared")] == ["drill-dev-edge_data", "drill-dev-edge_shared"]


@pytest.mark.parametrize(
    ("service", "why"),
    [
        ("network_mode: host", "service web has network_mode: host"),
        ("network_mode: '${MODE}'", "network_mode: ${MODE}"),
        ("privileged: true", "service web has privileged"),
        ("devices: [/dev/kvm]", "service web has devices"),
        ("pid: host", "pid: host"),
        ("ipc: 'container:other'", "ipc: container:other"),
        ("volumes_from: ['container:other']", "volumes_from"),
        ("extends: {file: base.yml, service: web}", "service web has extends"),
        ("build: .", "no name of its own"),
        ("volumes: ['/srv/data:/data']", "mounts /srv/data"),
        ("volumes: ['../data:/data']", "mounts ../data"),
        ("volumes: ['~/data:/data']", "mounts ~/data"),
        ("volumes: ['${DATA}:/data']", "mounts ${DATA}"),
        ("volumes: ['/var/run/docker.sock:/var/run/docker.sock:ro']", "mounts /var/run/docker.sock"),
        ("volumes: [{type: bind, source: /srv, target: /srv}]", "mounts /srv"),
    ],
)
def test_no_copy_of_what_leads_out(service: str, why: str) -> None:
    image = "" if service.startswith("build") else "image: web, "
    with pytest.raises(BackupError) as refused:
        made(f"services: {{web: {{{image}{service}}}}}")
    assert refused.value.code == "NF-BAK-051"
    assert why in refused.value.cause


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "services: {web: {image: a}}\nvolumes: {cloud: {driver: rexray}}",
            "volume cloud is not in the backup: driver",
        ),
        ("services: {web: {image: a}}\nvolumes: {n: {external: true, name: nfs}}", "volume nfs is not in the backup"),
        ("services: {web: {image: a}}\ninclude: [other.yml]", "it includes other files"),
        ("services: {web: {image: a, ports: !reset []}}", "cannot be read"),
        ("[]", "no services"),
    ],
)
def test_no_copy_of_what_is_not_all_there(text: str, why: str) -> None:
    with pytest.raises(BackupError, match="cut off") as refused:
        made(text)
    assert why in refused.value.cause
