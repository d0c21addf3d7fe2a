"""Network filters that a VM's cards refer to: what libvirt has of them on a host, and made where they are missing.

Format: https://libvirt.org/formatnwfilter.html.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from xml.etree import ElementTree

from novafleet.capability.migration.build import Case
from novafleet.capability.migration.ends import End
from novafleet.capability.migration.findings import blocker, note, warning
from novafleet.capability.migration.manifest import note_filter
from novafleet.errors import MigrationError
from novafleet.model.command import Command
from novafleet.model.migration import Finding, Move

MARK = "@@ "
DUMP = """\
for name; do
  found=$(virsh -q -c qemu:///system nwfilter-dumpxml "$name" 2>/dev/null) && printf '@@ %s\\n%s\\n' "$name" "$found"
done
exit 0
"""
DEFINE = "virsh -q -c qemu:///system nwfilter-define /dev/stdin"
UNDEFINE = 'for name; do virsh -q -c qemu:///system nwfilter-undefine "$name" >/dev/null 2>&1; done; exit 0'


async def filters(end: End, names: Collection[str]) -> Mapping[str, str]:
    """The definitions of filters a host has, by name, and of all that they refer to; those come first."""
    found: dict[str, str] = {}
    wanted = sorted(set(names))
    while wanted:
        said = (await end.session.run(Command.script(DUMP, *wanted, become=True))).text
        known = {head.strip(): body for head, _, body in (each.partition("\n") for each in said.split(MARK)[1:])}
        found |= {name: known[name].strip() for name in wanted if name in known}
        wanted = sorted({ref for xml in known.values() for ref in referred(xml)} - found.keys() - set(wanted))
    return {name: found[name] for name in _in_order(found)}


def referred(xml: str) -> tuple[str, ...]:
    """The filters one refers to; none for what cannot be read."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return ()
    return tuple(each.get("filter", "") for each in root.iterfind("filterref") if each.get("filter"))


def _in_order(found: Mapping[str, str]) -> Iterator[str]:
    done: dict[str, None] = {}

    def visit(name: str, above: frozenset[str]) -> None:
        for ref in referred(found[name]):
            if ref in found and ref not in above:
                visit(ref, above | {name})
        done.setdefault(name)

    for name in found:
        visit(name, frozenset())
    return iter(done)


def missing(case: Case) -> tuple[str, ...]:
    """The definitions the destination does not have, as it is told them: in order, without their UUIDs."""
    here, there = case.observed.filters, case.observed.filters_there
    return tuple(_plain(xml) for name, xml in here.items() if name not in there)


def _plain(xml: str) -> str:
    """Without what is this host's own: two hosts give the same filter different UUIDs."""
    root = ElementTree.fromstring(xml)
    for each in root.findall("uuid"):
        root.remove(each)
    return ElementTree.canonicalize(ElementTree.tostring(root, encoding="unicode"), strip_text=True)


def check_filters(case: Case) -> Iterator[Finding]:
    """Those nobody has, those that come along, and those of the same name that say something else."""
    here, there, host = case.observed.filters, case.observed.filters_there, case.destination.host
    for name in sorted({nic.filter for nic in case.guest.nics if nic.filter} - here.keys() - there.keys()):
        fix = f"virsh nwfilter-define FILE   # on {host}; or take <filterref> out: virsh edit {case.word}"
        yield blocker("NF-MIG-335", f"nobody has the network filter {name} that a card of the VM refers to", fix)
    for name, xml in here.items():
        if name not in there:
            yield note("NF-MIG-336", f"network filter {name} is not on {host}: it comes along")
        elif _plain(xml) != _plain(there[name]):
            what = f"network filter {name} says something else on {host}: there it decides what the VM may send"
            yield warning("NF-MIG-337", what, f"virsh nwfilter-dumpxml {name}   # on both, and compare")


async def make_filters(destination: End, move: Move) -> None:
    """Define what the destination does not have, each in the manifest before it exists. Convergent. Raises CommandError
    when libvirt refuses one, MigrationError NF-MIG-404 for what is no filter."""
    known = await filters(destination, [_name(xml) for xml in move.filters])
    for xml in move.filters:
        if _name(xml) not in known:
            await note_filter(destination, move.job, _name(xml))
            define = Command.script(DEFINE, become=True, mutates=True)
            await destination.session.run(define, stdin=xml.encode())


def _name(xml: str) -> str:
    try:
        return ElementTree.fromstring(xml).get("name", "")
    except ElementTree.ParseError as exc:
        raise MigrationError("a network filter is no XML", code="NF-MIG-404", cause=str(exc)) from exc


async def unmake_filters(destination: End, names: Sequence[str]) -> None:
    """Undefine them, those that refer to others first; one that is used by now stays."""
    if names:
        await destination.session.run(Command.script(UNDEFINE, *reversed(names), become=True, mutates=True))
