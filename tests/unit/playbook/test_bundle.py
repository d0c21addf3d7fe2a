"""Stack bundles: what is sent, and what may not be in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from novafleet.errors import ConfigError
from novafleet.model.environment import Stack
from tests.unit.playbook.fleet import environment

TEXT = "environment: e\nstacks: {s: {host: kvm1, %s}}\n"
COMPOSE = "services: {web: {image: 'localhost/web:1'}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "s"
    made.mkdir()
    (made / "compose.yaml").write_text(COMPOSE)
    return made


def stack(tmp_path: Path, keys: str = "compose: s") -> Stack:
    return environment(tmp_path, TEXT % keys).stacks["s"]


def refusal(tmp_path: Path, keys: str = "compose: s") -> str:
    with pytest.raises(ConfigError) as raised:
        stack(tmp_path, keys)
    return f"{raised.value.code} {raised.value.what}"


def test_modes_binaries_and_folders(tmp_path: Path, folder: Path) -> None:
    (folder / "bin").mkdir()
    (folder / "bin" / "run").write_bytes(b"\x00\xff")
    (folder / "bin" / "run").chmod(0o755)
    files = {file.path: (file.content.reveal(), file.mode) for file in stack(tmp_path).files}
    assert files == {"compose.yaml": (COMPOSE.encode(), 0o644), "bin/run": (b"\x00\xff", 0o755)}


def test_the_digest_follows_content_mode_and_runtime(tmp_path: Path, folder: Path) -> None:
    digests = [stack(tmp_path).digest, stack(tmp_path).digest, stack(tmp_path, "compose: s, runtime: podman").digest]
    (folder / "compose.yaml").chmod(0o755)
    digests.append(stack(tmp_path).digest)
    (folder / "compose.yaml").write_text(COMPOSE + "# changed\n")
    digests.append(stack(tmp_path).digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


def test_links_that_stay_inside_are_followed(tmp_path: Path, folder: Path) -> None:
    (folder / "also.yaml").symlink_to("compose.yaml")
    assert [file.path for file in stack(tmp_path).files] == ["also.yaml", "compose.yaml"]


@pytest.mark.parametrize(
    ("target", "code"), [("/etc/passwd", "042"), ("../env.yml", "042"), ("nowhere", "041"), ("link", "041")]
)
def test_links_that_lead_out_or_nowhere(tmp_path: Path, folder: Path, target: str, code: str) -> None:
    (folder / "link").symlink_to(target)
    assert refusal(tmp_path).startswith(f"NF-ENV-{code} the link")


def test_a_template_and_its_result(tmp_path: Path, folder: Path) -> None:
    (folder / "compose.yaml.j2").write_text(COMPOSE)
    assert "would both become compose.yaml" in refusal(tmp_path)


def test_reserved_name(tmp_path: Path, folder: Path) -> None:
    (folder / ".novafleet.json").write_text("{}")
    assert "a name of NovaFleet's own" in refusal(tmp_path)


DHCP = """\
environment: e
networks: {lan: {mode: bridge, bridge: br0}}
stacks: {s: {host: kvm1, compose: s}}
vms: {db: {host: kvm1, memory: 64 MiB, nics: {n: {network: lan}}}}
"""


def test_an_address_that_only_dhcp_will_know(tmp_path: Path, folder: Path) -> None:
    template = folder / "db.conf.j2"
    template.write_text("port=5432\nhost={{ vms.db.ip or 'db.lan' }}\n")
    files = {file.path: file.content.reveal() for file in environment(tmp_path, DHCP).stacks["s"].files}
    assert files["db.conf"] == b"port=5432\nhost=db.lan\n"
    for written in ("vms.db.ip", "vms.db.nics.n.ip ~ ':5432'"):
        template.write_text(f"port=5432\nhost={{{{ {written} }}}}\n")
        with pytest.raises(ConfigError, match="cannot be rendered") as raised:
            environment(tmp_path, DHCP)
        assert str(raised.value.where).endswith("db.conf.j2:2")
        assert "the address of db is not known beforehand: give its nic an ip" in raised.value.cause


def test_two_env_files(tmp_path: Path, folder: Path) -> None:
    (folder / ".env").write_text("A=1\n")
    assert "has a .env and the stack has env" in refusal(tmp_path, "compose: s, env: {A: 2}")


def test_unprintable_name(tmp_path: Path, folder: Path) -> None:
    (folder / "a\nb").write_text("")
    assert "unprintable" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("it's $5", "A='it\\'s $5'"),
        ("plain $HOME", "A='plain $HOME'"),
        ("two\\nlines", 'A="two\\nlines"'),
        ("", "A="),
        ("http://a/b", "A=http://a/b"),
    ],
)
def test_env_values_are_quoted(tmp_path: Path, folder: Path, value: str, line: str) -> None:
    text = stack(tmp_path, f'compose: s, env: {{A: "{value}"}}').files[0].content.reveal().decode()
    assert text == line + "\n"


def test_kube_entry_may_hold_several_documents(tmp_path: Path, folder: Path) -> None:
    (folder / "pod.yaml").write_text("kind: Pod\n---\nkind: Pod\n")
    assert stack(tmp_path, "kube: s/pod.yaml").entry == "pod.yaml"
    (folder / "pod.yaml").write_text("kind: [Pod\n")
    assert refusal(tmp_path, "kube: s/pod.yaml").startswith("NF-CFG-003")


def test_a_folder_without_quadlets(tmp_path: Path, folder: Path) -> None:
    assert "has no Quadlet unit" in refusal(tmp_path, "quadlet: s")


def test_a_template_of_no_name(tmp_path: Path, folder: Path) -> None:
    (folder / ".j2").write_text("x")
    assert "nothing is left of the name .j2" in refusal(tmp_path)


def test_services_of_other_files_count(tmp_path: Path, folder: Path) -> None:
    (folder / "compose.yaml").write_text("include: [web.yaml]\n")
    (folder / "web.yaml").write_text(COMPOSE)
    assert stack(tmp_path, "compose: s, ready: [{compose: [web]}]").entry == "compose.yaml"


def test_a_compose_file_in_another_encoding(tmp_path: Path, folder: Path) -> None:
    (folder / "compose.yaml").write_bytes(COMPOSE.encode() + b"# caf\xe9\n")
    assert refusal(tmp_path).startswith("NF-CFG-002")
