"""The state of an emulated TPM that was put in place has to be its user's: libvirt sees to that for the folder only.

A VM whose state belongs to root does not start: ``CMD_INIT 0x9`` of swtpm.
"""

from __future__ import annotations

from pathlib import Path

from novafleet.model.command import Command


def own(folder: str) -> Command:
    """Gives ``folder``, with what is in it, to the user whom libvirt of this host runs swtpm as."""
    script = Path(__file__).with_name("swtpm.sh").read_text(encoding="utf-8")
    return Command.script(script, folder, become=True, mutates=True)
