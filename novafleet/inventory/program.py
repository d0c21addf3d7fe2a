"""Running an inventory program: bounded in time and output, and nothing of it left behind."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from novafleet.inventory.dynamic import Ran

MAX_OUTPUT = 32 * 1024 * 1024
"""Bytes on each stream: more is not an inventory."""


def run(argv: Sequence[str], timeout: float) -> Ran:
    """Run in a session of its own; its process group is killed at the end, whatever the end is.

    Raises TimeoutError after ``timeout`` seconds, OSError when it cannot be started or prints too much.
    """
    program = str(Path(argv[0]).absolute())
    with subprocess.Popen(
        [program, *argv[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            deadline = time.monotonic() + timeout
            stdout, stderr = _outputs(process, deadline)
            status = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired as exc:
            raise TimeoutError from exc
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return Ran(status, stdout, stderr)


def _outputs(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bytes]:
    assert process.stdout and process.stderr
    collected = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    with selectors.DefaultSelector() as selector:
        for descriptor in collected:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                piece = os.read(key.fd, 65536)
                collected[key.fd] += piece
                if not piece:
                    selector.unregister(key.fd)
                if len(collected[key.fd]) > MAX_OUTPUT:
                    raise OSError(f"it printed more than {MAX_OUTPUT // 2**20} MiB")
    out, err = collected.values()
    return bytes(out), bytes(err)
