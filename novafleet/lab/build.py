"""Container images of the lab, each tagged with the digest of the recipe that it was made from."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from novafleet.errors import LabError
from novafleet.lab.docker import BUILD, attempt, docker, has_image, listed
from novafleet.lab.layout import HTTPD_IMAGE, LABEL, NAME
from novafleet.lab.progress import Progress

RECIPE = Path(__file__).parent / "recipe"
PULL = 300.0
"""Seconds for a pull: a registry that drops packets must not hold the lab up for ever."""


def digest(*folders: Path) -> str:
    """12 hexadecimal digits that change with any name, mode or byte of these recipes."""
    whole = hashlib.sha256()
    for folder in folders:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            executable = "x" if os.access(path, os.X_OK) else "-"
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            whole.update(f"{path.relative_to(folder).as_posix()}\0{executable}\0{content}\0".encode())
    return whole.hexdigest()[:12]


def host_image(flavour: str) -> str:
    """Name of the image of this flavour's hosts, as the recipe is now."""
    return f"{NAME}-host:{flavour}-{digest(RECIPE / 'host')}"


def builder_image() -> str:
    """Name of the image that guests are built in."""
    return f"{NAME}-builder:{digest(RECIPE / 'builder')}"


def ensure_host(flavour: str, progress: Progress) -> str:
    """The host image, built when it is missing or its recipe changed. Raises LabError NF-LAB-003, NF-LAB-004."""
    name = host_image(flavour)
    if not has_image(name):
        ensure_base(flavour, progress)
        with progress.step(f"building the {flavour} host image (a minute or two)"):
            _build(name, RECIPE / "host", f"FLAVOUR={flavour}")
        _forget_older(name, f"{NAME}-host:{flavour}-*")
    return name


def ensure_builder(progress: Progress) -> str:
    """The image that guests are built in. Raises LabError NF-LAB-003, NF-LAB-004."""
    name = builder_image()
    if not has_image(name):
        ensure_base("bookworm", progress)
        with progress.step("building the guest builder"):
            _build(name, RECIPE / "builder")
        _forget_older(name, f"{NAME}-builder:*")
    return name


def ensure_product_image(name: str, builder: str) -> str:
    """The image that a guest is built in: the builder itself, or one on top of it. Raises LabError NF-LAB-004."""
    folder = RECIPE / name
    if not (folder / "Dockerfile").exists():
        return builder
    image = f"{NAME}-build-{name}:{digest(folder)}"
    _build(image, folder, f"BUILDER={builder}")
    return image


def ensure_httpd(progress: Progress) -> str:
    """The web server image, of busybox alone. Raises LabError NF-LAB-003, NF-LAB-004."""
    builder = ensure_builder(progress)
    with progress.step(f"building {HTTPD_IMAGE}"):
        _build(HTTPD_IMAGE, RECIPE / "httpd", f"BUILDER={builder}")
    return HTTPD_IMAGE


def ensure_base(suite: str, progress: Progress) -> None:
    """A minimal Debian: pulled, or made by debootstrap where no registry answers. Raises LabError NF-LAB-003."""
    name = f"{NAME}-base:{suite}"
    if has_image(name):
        return
    published = f"debian:{suite}-slim"
    ours = not has_image(published)
    if ours:
        with progress.step(f"pulling {published}"):
            pulled = attempt("pull", "--quiet", published, timeout=PULL).returncode == 0
        if not pulled:
            with progress.step(f"no registry answers: making {suite} with debootstrap (a minute)"):
                _debootstrap(suite, name)
            return
    docker("tag", published, name)
    if ours:
        docker("rmi", published)


def _debootstrap(suite: str, name: str) -> None:
    if os.geteuid():
        raise LabError(
            f"no registry answers, and making a {suite} base image needs root",
            code="NF-LAB-003",
            hints=(f"docker pull debian:{suite}-slim", "sudo novafleet lab up"),
        )
    with tempfile.TemporaryDirectory(prefix="novafleet-lab-") as folder:
        argv = ["debootstrap", "--variant=minbase", suite, folder]
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=BUILD, check=False)
        except FileNotFoundError as exc:
            hint = "sudo apt-get install debootstrap debian-archive-keyring"
            raise LabError("debootstrap is not installed", code="NF-LAB-003", hints=(hint,)) from exc
        if done.returncode:
            cause = "\n".join(done.stdout.decode(errors="replace").splitlines()[-5:])
            raise LabError(f"debootstrap could not make {suite}", code="NF-LAB-003", cause=cause)
        _import(Path(folder), name)


def _import(folder: Path, name: str) -> None:
    """``docker import`` of a directory, streamed."""
    with subprocess.Popen(["tar", "-C", str(folder), "-c", "."], stdout=subprocess.PIPE) as tar:
        argv = ["docker", "import", "--change", f"LABEL {LABEL}=base", "-", name]
        done = subprocess.run(argv, stdin=tar.stdout, capture_output=True, timeout=BUILD, check=False)
    if done.returncode or tar.returncode:
        cause = done.stderr.decode(errors="replace")
        raise LabError(f"the engine did not take {name}", code="NF-LAB-003", cause=cause)


def _build(name: str, folder: Path, *arguments: str) -> None:
    """Under the host's network: where the lab is needed most, containers have no way out."""
    given = [word for argument in arguments for word in ("--build-arg", argument)]
    labels = ("--label", f"{LABEL}=image")
    docker(
        *("build", "--network", "host", "--force-rm", *labels, *given, "--tag", name, str(folder)),
        timeout=BUILD,
        code="NF-LAB-004",
    )


def _forget_older(name: str, pattern: str) -> None:
    """Images of earlier recipes go, unless a container still runs one."""
    for row in listed("image", f"reference={pattern}"):
        other = f"{row['Repository']}:{row['Tag']}"
        if other != name:
            attempt("rmi", other)
