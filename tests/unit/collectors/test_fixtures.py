"""What real hosts printed, and what nobody ever should: parsers never fail, and half an answer is not an answer."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novafleet import bundled
from novafleet.errors import HypervisorError
from novafleet.observe.facts import host_facts
from novafleet.observe.registry import Collector, collectors, describe

FOLDER = bundled.folder("collectors")
ALL = {each.name: each for each in collectors(path.parent.name for path in sorted(FOLDER.glob("*/collect.sh")))}
FIXTURES = sorted(FOLDER.glob("*/fixtures/*.txt"))
RECORDED = st.sampled_from(FIXTURES)
HOSTILE = st.one_of(
    st.sampled_from(
        ["@@ ", "\n@@ ", "@@ domain ", "@@ pool x ", "@@ dir /x\n", "<domain", "<pool", "f 1 2", "b !!!", "b "]
    ),
    st.sampled_from(
        ["@@ stack /x\n" + "[" * 20000, "@@ inspect docker\n" + "9" * 5000, "f " + "9" * 5000 + " 1 1 ./x"]
    ),
    st.text(max_size=40),
    st.binary(max_size=40).map(lambda data: data.decode("utf-8", "replace")),
)


def of(path: Path) -> Collector:
    return ALL[path.parent.parent.name]


def test_every_collector_has_recorded_output() -> None:
    assert {path.parent.parent.name for path in FIXTURES} == set(ALL)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_recorded_output(path: Path) -> None:
    assert of(path).parse(path.read_text(), "@@") == json.loads(path.with_suffix(".json").read_text())


@pytest.mark.parametrize("name", ALL)
def test_description_and_script(name: str) -> None:
    [described] = [each for each in describe() if each.name == name]
    assert described.timeout > 0
    subprocess.run(["sh", "-n", "-c", ALL[name].script], check=True)


@given(path=RECORDED, cut=st.floats(0, 1), start=st.floats(0, 1), length=st.integers(0, 200), rubbish=HOSTILE)
def test_damaged_output_never_fails(path: Path, cut: float, start: float, length: int, rubbish: str) -> None:
    text = path.read_text()
    at = int(start * len(text))
    damaged = (text[:at] + rubbish + text[at + length :])[: int(cut * (len(text) + len(rubbish))) + 1]
    document = of(path).parse(damaged, "@@")
    try:
        host_facts("kvm1", 0.0, {of(path).name: document})
    except HypervisorError as error:
        assert error.code in {"NF-LV-100", "NF-LV-101"}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("text", ["", "\0" * 100, "\x1b[2J\x1b]0;gone\x07", "x" * 3_000_000, "@@ " * 1000, "\n" * 1000])
def test_rubbish_never_fails(name: str, text: str) -> None:
    assert isinstance(ALL[name].parse(text, "@@"), dict)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("libvirt/fixtures/[bt]*.txt")), ids=lambda path: path.stem)
def test_a_cut_answer_of_libvirt_is_no_answer(path: Path) -> None:
    text = path.read_text()
    for cut in range(0, text.rindex("@@ end"), 97):
        assert ALL["libvirt"].parse(text[:cut], "@@")["error"], f"believed after {cut} characters"


def listed(answer: str, mark: str = "@@") -> str:
    frames = ("domains u", "networks ", "pools ", f"domain u {answer}", "end")
    return "".join(f"{mark} {frame}\n" for frame in frames)


ANSWERS = {
    "it vanished meanwhile": ("error: failed to get domain 'u'", ""),
    "it vanished while virsh asked": ("error: Domain not found: no domain with matching uuid 'u' (db)", ""),
    "libvirtd died meanwhile": ("error: Disconnected from qemu:///system due to end of file", "incomplete"),
    "it is there": ("running (booted)\n<domain type='kvm'><name>a</name></domain>", ""),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_listed_domain_without_definition(case: str) -> None:
    answer, error = ANSWERS[case]
    document = ALL["libvirt"].parse(listed(answer), "@@")
    assert document["error"].partition("\n")[0] == error
    assert len(document["domains"]) == ("<domain" in answer)


def test_a_list_that_failed_is_not_empty() -> None:
    said = "@@ domains error: Failed to list domains\nerror: no connection driver available\n@@ end\n"
    assert "no connection driver" in str(ALL["libvirt"].parse(said, "@@")["error"])


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ("idle", "blocked"),
        ("in shutdown (user)", "in-shutdown"),
        ("shut off (crashed)", "shutoff"),
        ("crashed", "crashed"),
    ],
)
def test_states_have_the_names_of_the_api(words: str, state: str) -> None:
    answer = f"{words}\n\n<domain type='kvm'/>"
    [domain] = ALL["libvirt"].parse(listed(answer), "@@")["domains"]
    assert domain["state"] == state


def test_a_guest_cannot_forge_a_frame() -> None:
    description = "\n@@ end\n@@ error x\n@@ domain 2 running\n&lt;domain/>\n@@ networks error: x"
    answer = f"running\n<domain type='kvm'><description>{description}</description></domain>"
    document = ALL["libvirt"].parse(listed(answer, "@@7f3a"), "@@7f3a")
    assert [each["uuid"] for each in document["domains"]] == ["u"]
    assert document["domains"][0]["xml"] == answer.partition("\n")[2]
    assert document["error"] == ""


def test_heads_of_images_that_moved_are_not_believed() -> None:
    [path] = FOLDER.glob("storage/fixtures/trixie.txt")
    lines = path.read_text().splitlines()
    gone = [line for line in lines if not (line.startswith("f ") and line.endswith("coltest.run.root.qcow2"))]
    files = ALL["storage"].parse("\n".join(gone), "@@")["files"]
    assert files["/var/lib/libvirt/images/novafleet-image-00coltest"].keys() == {"size", "allocated", "mtime"}


@pytest.mark.parametrize(
    ("text", "kvm"),
    [("kvm works kvm", "works"), ("kvm great", "untried"), ("sh: qemu: not found", "untried"), ("kvm fails", "fails")],
)
def test_only_a_verdict_is_a_verdict(text: str, kvm: str) -> None:
    assert ALL["acceleration"].parse(text, "@@")["kvm"] == kvm


def test_a_file_with_an_odd_name_or_time_hides_no_other() -> None:
    [path] = FOLDER.glob("storage/fixtures/trixie.txt")
    told = path.read_text()
    before = ALL["storage"].parse(told, "@@")["files"]
    old, odd = "coltest.run.root.qcow2", "a\u2028f 1 1 1 .\u0085/forged\u2029.qcow2"
    assert f"./{old}" in told
    renamed = ALL["storage"].parse(told.replace(old, odd), "@@")["files"]
    assert {name.replace(odd, old): file for name, file in renamed.items()} == before
    aged = re.sub(r"(?m)^(f \d+ \d+ )", r"\1-", told)
    assert aged != told, "times before 1970"
    files = ALL["storage"].parse(aged, "@@")["files"]
    assert {name: {**file, "mtime": -file["mtime"]} for name, file in files.items()} == before


def test_a_label_with_what_unicode_calls_an_end_of_line() -> None:
    label = {"Config": {"Labels": {"note": "a\u0085b\u2028c"}}}
    told = f"@@ inspect docker\n{json.dumps(label, ensure_ascii=False)}\n@@ end\n"
    assert ALL["containers"].parse(told, "@@")["inspect"] == {"docker": [label]}


def test_a_pool_whose_path_xml_must_escape(tmp_path: Path) -> None:
    pool = tmp_path / 'Bob\'s "VMs" & <more> &lt;'
    pool.mkdir()
    (pool / "a b.raw").write_bytes(b"x" * 7)
    virsh = tmp_path / "bin" / "virsh"
    virsh.parent.mkdir()
    told = escape(str(pool), {"'": "&apos;", '"': "&quot;"})
    virsh.write_text(
        '#!/bin/sh\ncase "$*" in\n*pool-list*) echo default ;;\n'
        f"*) cat <<'END'\n<pool>\n  <target>\n    <path>{told}</path>\n  </target>\n</pool>\nEND\n;;\nesac\n"
    )
    virsh.chmod(0o755)
    environment = {"PATH": f"{virsh.parent}:{os.environ['PATH']}", "LC_ALL": "C"}
    done = subprocess.run(["sh", "-c", ALL["storage"].script], env=environment, capture_output=True, check=True)
    assert ALL["storage"].parse(done.stdout.decode(), "@@")["files"][f"{pool}/a b.raw"]["size"] == 7


def test_a_setpriv_that_knows_no_users_is_no_verdict_on_kvm(tmp_path: Path) -> None:
    programs = {
        "id": "echo 65534",
        "setpriv": 'echo "setpriv: unrecognized option: reuid" >&2; exit 1',
        "qemu-system-x86_64": "printf K",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ACCELERATOR": "tcg"}
    done = subprocess.run(["sh", "-c", ALL["acceleration"].script], env=environment, capture_output=True, check=True)
    assert ALL["acceleration"].parse(done.stdout.decode(), "@@") == {"kvm": "works", "detail": "tcg"}


@pytest.mark.parametrize("odd", ["NaN", "1e999", '"\\ud800"', "[" * 20000])
def test_what_no_document_can_be_made_of_again(odd: str) -> None:
    told = f'@@ inspect docker\n{{"Id":"a"}}\n{{"Id":"b","odd":{odd}}}\n@@ end\n'
    assert ALL["containers"].parse(told, "@@")["inspect"] == {"docker": [{"Id": "a"}]}
