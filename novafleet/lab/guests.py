"""What the lab serves to its hosts: guest images and a container image, each in a folder named by its recipe's digest.

A directory is filled under another name and renamed when it is whole, so that a killed build leaves nothing that looks
like a result.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml

from novafleet.lab.build import RECIPE, digest, ensure_builder, ensure_httpd, ensure_product_image
from novafleet.lab.docker import BUILD, attempt, docker, listed
from novafleet.lab.layout import HTTPD_IMAGE, LABEL, MIRROR, MIRROR_ADDRESS, NAME, NETWORK
from novafleet.lab.place import Place, replace
from novafleet.lab.progress import Progress

SUMS = "SHA256SUMS"
TAKES = {"mini": "a few seconds", "debian": "two or three minutes"}
CMDLINE = "console=ttyS0 quiet"
HEADER = "# Written by `novafleet lab up`. Include it in an environment file to use the lab's images.\n"


def ensure(place: Place, progress: Progress, *, debian: bool = False) -> None:
    """Build what is missing or whose recipe changed, run the mirror and write ``images.yml``. Raises LabError."""
    folders = _folders(place, debian)
    for name, folder in folders.items():
        if not folder.exists():
            _guest(folder, name, progress)
    _httpd(place, progress)
    _mirror(place, progress)
    replace(place.images_file, _document(folders), 0o644)


def complete(place: Place, *, debian: bool = False) -> bool:
    """Has ``ensure`` nothing to do?"""
    folders = _folders(place, debian)
    built = all(folder.exists() for folder in (*folders.values(), _httpd_folder(place)))
    written = built and place.images_file.exists() and place.images_file.read_text() == _document(folders)
    return written and any(row["State"] == "running" for row in listed("container", f"name=^{MIRROR}$"))


def _folders(place: Place, debian: bool) -> dict[str, Path]:
    """Where each wanted guest's files are or will be; one that was built once stays wanted."""
    wanted = ("mini", *(("debian",) if debian or any(place.images.glob("debian-*")) else ()))
    return {name: place.images / f"{name}-{digest(RECIPE / 'builder', RECIPE / name)}" for name in wanted}


def _httpd_folder(place: Place) -> Path:
    return place.images / f"httpd-{digest(RECIPE / 'builder', RECIPE / 'httpd')}"


def _document(folders: Mapping[str, Path]) -> str:
    return HEADER + yaml.safe_dump({"images": images(folders)}, sort_keys=False)


def images(folders: Mapping[str, Path]) -> dict[str, object]:
    """The ``images`` of an environment file, for what was built."""
    mini = _urls(folders["mini"])
    found: dict[str, object] = {
        "mini": {"kernel": mini["vmlinuz"], "initrd": mini["initrd.img"], "cmdline": CMDLINE},
        "mini-disk": {**mini["mini.qcow2"], "format": "qcow2"},
    }
    if "debian" in folders:
        found["debian"] = {**_urls(folders["debian"])["debian.qcow2"], "format": "qcow2"}
    return found


def _urls(folder: Path) -> dict[str, dict[str, str]]:
    """URL and digest of each file of a built directory."""
    rows = (line.split("  ", 1) for line in (folder / SUMS).read_text().splitlines())
    return {name: {"url": f"http://{MIRROR_ADDRESS}/{folder.name}/{name}", "sha256": sum_} for sum_, name in rows}


def _guest(folder: Path, name: str, progress: Progress) -> None:
    """Fill a guest's directory, built in a container that has no network."""
    builder = ensure_builder(progress)
    with progress.step(f"building the guest image {name} ({TAKES[name]})"):
        image = ensure_product_image(name, builder)
        new = _scratch(folder.parent, name)
        container = f"{NAME}-build-{name}"
        attempt("rm", "--force", container)
        inside = ("sh", "-c", "mkdir /out && exec sh /recipe/build.sh /out")
        docker("create", "--name", container, "--label", f"{LABEL}=build", "--network", "none", image, *inside)
        docker("cp", f"{RECIPE / name}/.", f"{container}:/recipe")
        docker("start", "--attach", container, timeout=BUILD, code="NF-LAB-004")
        docker("cp", f"{container}:/out/.", str(new))
        docker("rm", container)
        if image != builder:
            docker("rmi", image)
            docker("image", "prune", "--force", "--filter", f"label={LABEL}")
        _publish(new, folder, name)


def _httpd(place: Place, progress: Progress) -> None:
    """``images/httpd.tar``: the web server's image as ``docker save`` writes it, for hosts without a registry."""
    folder = _httpd_folder(place)
    if not folder.exists():
        ensure_httpd(progress)
        new = _scratch(folder.parent, "httpd")
        docker("save", "--output", str(new / "httpd.tar"), HTTPD_IMAGE)
        _publish(new, folder, "httpd")
    link = place.images / "httpd.tar"
    if not link.is_symlink() or link.readlink() != Path(folder.name) / "httpd.tar":
        new_link = place.images / ".httpd.tar.new"
        new_link.unlink(missing_ok=True)
        new_link.symlink_to(Path(folder.name) / "httpd.tar")
        new_link.replace(link)


def _scratch(images: Path, name: str) -> Path:
    """An empty directory, the same for every recipe, so that what a killed build left is found."""
    new = images / f".{name}.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o755)
    return new


def _publish(new: Path, folder: Path, name: str) -> None:
    """Give a whole directory its name; directories of older recipes go."""
    files = sorted(path for path in new.iterdir() if path.name != SUMS)
    for path in files:
        path.chmod(0o644)
    (new / SUMS).write_text("".join(f"{_sha256(path)}  {path.name}\n" for path in files))
    older = [path for path in folder.parent.glob(f"{name}-*") if path != folder]
    new.rename(folder)
    for path in older:
        shutil.rmtree(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mirror(place: Place, progress: Progress) -> None:
    """A web server that hosts pull images from."""
    rows = listed("container", f"name=^{MIRROR}$")
    if rows and rows[0]["State"] == "running":
        return
    if rows:
        docker("rm", "--force", MIRROR)
    image = ensure_httpd(progress)
    where = ("--network", NETWORK, "--ip", MIRROR_ADDRESS, "--network-alias", "mirror")
    mount = ("--volume", f"{place.images}:/srv/www:ro")
    docker("run", "--detach", "--name", MIRROR, "--label", f"{LABEL}=mirror", *where, *mount, image)
