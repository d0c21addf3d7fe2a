"""The Linux NFS client, in a small guest that QEMU runs without KVM: the way to an NFS server that people trust."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from novafleet.lab import build
from novafleet.lab.docker import attempt, docker, has_image
from novafleet.lab.progress import Progress
from novafleet.objectstore.open import open_store
from tests.objectstores import LABEL, NfsServer

RECIPE = Path(__file__).parents[1] / "nfsguest"
PACKAGE = Path(__file__).parents[2] / "novafleet"
PARTS = ("__init__.py", "errors.py", "model", "objectstore")


def guest_image() -> str:
    """Kernel, initramfs and QEMU, from Debian's own packages; a minute or two the first time."""
    name = f"novafleet-test-nfsguest:{build.digest(RECIPE)}"
    if not has_image(name):
        build.ensure_base("bookworm", Progress(lambda line: print(line, file=sys.stderr)))
        base = f"BASE={build.NAME}-base:bookworm"
        docker("build", "--network", "host", "--build-arg", base, "--tag", name, str(RECIPE), timeout=build.BUILD)
    return name


def source(folder: Path) -> Path:
    """What the guest gets besides its system: the program, and the part of the package that it uses."""
    shutil.copy(RECIPE / "program.py", folder / "program.py")
    (folder / "novafleet").mkdir()
    for part in PARTS:
        if (PACKAGE / part).is_dir():
            shutil.copytree(PACKAGE / part, folder / "novafleet" / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(PACKAGE / part, folder / "novafleet" / part)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("NOVAFLEET_SLOW"), reason="boots a kernel for minutes: NOVAFLEET_SLOW=1 runs it")
@pytest.mark.timeout(1800)
async def test_a_directory_mounted_by_the_kernel(nfs_server: NfsServer, nfs_url: str, tmp_path: Path) -> None:
    name = f"{nfs_server.container}-guest"
    argv = (
        *("run", "--rm", "--name", name, "--label", f"{LABEL}={os.getpid()}", "--network", "host"),
        *("--volume", f"{source(tmp_path)}:/source:ro", guest_image(), "sh", "/run.sh", nfs_server.address),
    )
    try:
        done = attempt(*argv, timeout=1500)
    finally:
        attempt("rm", "--force", name)
    said = done.stdout.decode(errors="replace")
    assert "GUEST DONE" in said, said[-3000:] + done.stderr.decode(errors="replace")
    assert re.findall(r"NFS (\S+): .* one winner each", said) == ["3", "4.1", "4.2"], said
    print(said)
    store = open_store(nfs_server.url("kernel-4.2"))
    assert await store.get("packs/0") == b"short", "libnfs reads what the kernel wrote"
    await store.close()
