"""``fetch.sh``, ``place.sh`` and the controller's download, run on this machine against a server that misbehaves."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from novafleet.capability.image import download
from novafleet.errors import ImageError
from tests.lab.webserver import serving

CONTENT = bytes(range(256)) * 512
SHA = hashlib.sha256(CONTENT).hexdigest()
SCRIPTS = resources.files("novafleet.capability.image")


def run(script: str, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    text = SCRIPTS.joinpath(script).read_text()
    env = {"PATH": path} if path else None
    return subprocess.run(
        ["/bin/sh", "-c", text, "novafleet", *arguments], capture_output=True, text=True, env=env, check=False
    )


def only(tool: str, folder: Path) -> str:
    """A PATH with everything the script needs and one downloader (or none)."""
    needed = ("stat", "sleep", "sha256sum", "cut", "mkdir", "dirname", "flock", "rm", "sed", "tail", tool)
    for name in needed:
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"no {name} on this machine")
        (folder / name).symlink_to(found)
    return str(folder)


@pytest.fixture(params=["curl", "wget"])
def tool(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    (tmp_path / "bin").mkdir()
    return only(request.param, tmp_path / "bin")


def test_fetch_resume_place(tool: str, tmp_path: Path) -> None:
    target = tmp_path / "pool" / "image"
    with serving(CONTENT, "127.0.0.1") as site:
        site.break_at = 1000
        assert run("fetch.sh", site.url, str(target), SHA, path=tool).returncode == 95
        done = run("fetch.sh", site.url, str(target), SHA, path=tool)
        assert done.stdout.splitlines()[-1] == "ready"
        assert ("GET", "bytes=1000-") in site.requests
        assert run("place.sh", str(target), SHA, "").returncode == 0
        assert run("fetch.sh", site.url, str(target), SHA, path=tool).stdout == "present\n"
    assert target.read_bytes() == CONTENT
    assert sorted(path.name for path in target.parent.iterdir()) == ["image", "image.sha256"]


def test_another_beginning_is_thrown_away(tool: str, tmp_path: Path) -> None:
    (tmp_path / "image.part").write_bytes(b"of another file")
    with serving(CONTENT, "127.0.0.1") as site:
        done = run("fetch.sh", site.url, str(tmp_path / "image"), SHA, path=tool)
    assert done.stdout.splitlines()[-1] == "ready"
    assert (tmp_path / "image.part").read_bytes() == CONTENT


def test_wrong_digest(tool: str, tmp_path: Path) -> None:
    with serving(b"else", "127.0.0.1") as site:
        done = run("fetch.sh", site.url, str(tmp_path / "image"), SHA, path=tool)
    assert done.returncode == 93
    assert done.stdout.splitlines()[-1] == f"digest {hashlib.sha256(b'else').hexdigest()}"
    assert not (tmp_path / "image.part").exists()


def test_refused_and_not_reached(tool: str, tmp_path: Path) -> None:
    with serving(CONTENT, "127.0.0.1") as site:
        site.missing = True
        assert run("fetch.sh", site.url, str(tmp_path / "image"), SHA, path=tool).returncode == 91
    assert run("fetch.sh", site.url, str(tmp_path / "image"), SHA, path=tool).returncode == 92


def test_no_downloader(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    path = only("true", tmp_path / "bin")
    assert run("fetch.sh", "http://127.0.0.1:1/x", str(tmp_path / "image"), SHA, path=path).returncode == 90


def test_place_verifies_what_was_uploaded(tmp_path: Path) -> None:
    (tmp_path / "image.part").write_bytes(b"else")
    assert run("place.sh", str(tmp_path / "image"), SHA, "verify").returncode == 93
    assert list(tmp_path.iterdir()) == []


def test_remove_spares_what_a_volume_backs_on(tmp_path: Path) -> None:
    image = tmp_path / "novafleet-image-1"
    for name in ("", ".sha256", ".part"):
        Path(f"{image}{name}").write_bytes(b"x")
    volume = tmp_path / "other.qcow2"
    volume.write_bytes(b"QFI\xfb....." + str(image).encode())
    assert run("remove.sh", str(image), str(tmp_path)).stdout == f"used {volume}\n"
    volume.unlink()
    assert run("remove.sh", str(image), str(tmp_path)).stdout == ""
    assert list(tmp_path.iterdir()) == []


async def test_download_resumes_and_verifies(tmp_path: Path) -> None:
    with serving(CONTENT, "127.0.0.1") as site:
        site.break_at = 1000
        with pytest.raises(ImageError):
            await download.download(site.url, SHA, tmp_path, lambda done, total: None)
        (tmp_path / f"{SHA}.part").write_bytes(CONTENT[:1000])
        got = await download.download(site.url, SHA, tmp_path, lambda done, total: None)
        assert got.read_bytes() == CONTENT
        assert ("GET", "bytes=1000-") in site.requests
        with pytest.raises(ImageError) as caught:
            await download.download(site.url, "0" * 64, tmp_path, lambda done, total: None)
    assert caught.value.code == "NF-IMG-002"
    assert SHA in caught.value.cause
    assert not (tmp_path / ("0" * 64)).exists()
