"""What docs/guides/schedules.md shows is what is read and sent."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from novafleet.inventory import load_fleet
from novafleet.playbook.jobs import jobs_of_inventory
from tests.unit.playbook.fleet import environment
from tests.unit.schedule import test_notify

GUIDE = (Path(__file__).parents[3] / "docs/guides/schedules.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)


def test_the_environment(tmp_path: Path) -> None:
    made = environment(tmp_path, EXAMPLES[0])
    assert made.backup is not None
    assert made.backup.notify is not None
    assert made.backup.notify.email is not None
    db = made.vms["db"].backup
    assert db is not None
    assert (db.consistency, db.exclude, db.verify) == ("fs", ("scratch",), 0.05)
    assert (db.hooks.guest_pre, db.hooks.on_error) == (str(tmp_path / "quiesce.sh"), "fail")
    assert (db.limits.per_datastore, db.limits.latency, db.limits.per_host) == (1, 0.05, 2)


def test_the_inventory(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("hosts: {kvm1: {}, kvm2: {}, kvm3: {}}\n" + EXAMPLES[1])
    assert [job.name for job in jobs_of_inventory(load_fleet([tmp_path / "hosts.yml"]))] == ["hosts-production"]


def test_the_receiver_is_the_one_tested() -> None:
    shown = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)[0]
    tested = inspect.getsource(test_notify.genuine)
    assert shown == re.sub(r'    """.*?"""\n', "", tested)
