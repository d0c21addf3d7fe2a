"""``backup``: the policy of an environment, of one of its VMs, or of an inventory's group or host."""

from __future__ import annotations

import re
from typing import Any

from novafleet.errors import ConfigError, Location
from novafleet.model.policy import (
    EVENTS,
    BackupLimits,
    Email,
    HookRules,
    Keep,
    Notify,
    Policy,
    Webhook,
    Window,
)
from novafleet.model.secret import Secret
from novafleet.playbook.include import PATH, beside
from novafleet.playbook.schema.image import LINE
from novafleet.playbook.spec import Origins
from novafleet.source import cron
from novafleet.source.node import Node, kind_of
from novafleet.source.schema import (
    Choice,
    Duration,
    Either,
    Field,
    Flag,
    Integer,
    Name,
    OneOrMany,
    Record,
    Shape,
    Size,
    Text,
    bad_value,
    wrong_type,
)
from novafleet.source.suggest import did_you_mean

SCHEMES = ("file", "nfs", "s3")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?) ?%")
_SERVER = re.compile(r"([A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\])(?::([0-9]{1,5}))?")
_ADDRESS = Text(r"[^\s@<>,]+@[^\s@<>,]+", "an address such as ops@example.org")


class _Repository(Shape[str]):
    """Its URL; a directory becomes absolute."""

    label = "a directory, nfs://SERVER/PATH or s3://BUCKET/PREFIX"

    def decode(self, node: Node, path: str = "") -> str:
        text = PATH.decode(node, path)
        scheme, separator, rest = text.partition("://")
        if not separator and re.match("[^/]+:", text):
            what = f"a ':' before the first '/' of {text!r} reads as another machine or a scheme"
            raise bad_value(node, path, what, f"a repository is {self.label}", f"a directory: ./{text}")
        if not separator:
            return str(beside(node.location, text).absolute())
        if scheme not in SCHEMES:
            hints = did_you_mean(scheme, SCHEMES, "schemes")
            raise bad_value(node, path, f"a repository is {self.label}, not {scheme}://…", *hints)
        if "@" in rest.partition("/")[0]:
            raise bad_value(node, path, "a URL is no place for a password", "name the credentials in the environment")
        return text


class _Reference(Shape[str]):
    """Where a secret is. Never shows what it was given: a person may have written the secret itself."""

    label = "file:PATH, env:NAME or credential:NAME"

    def decode(self, node: Node, path: str = "") -> str:
        text = node.value if isinstance(node.value, str) else ""
        kind, _, name = text.partition(":")
        if kind == "file" and name:
            return f"file:{beside(node.location, PATH.decode(Node(name, node.location), path)).absolute()}"
        if kind in ("env", "credential") and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
            return text
        code = "NF-CFG-031" if isinstance(node.value, Secret) else "NF-CFG-023"
        what = f"{path}: expected {self.label}: where the secret is, not the secret"
        raise ConfigError(what, code=code, where=node.location, hints=("for example env:NAME",))


class _File(Shape[str]):
    """A path on the controller, made absolute."""

    label = "a path"

    def decode(self, node: Node, path: str = "") -> str:
        return str(beside(node.location, PATH.decode(node, path)).absolute())


class _Schedule(Shape[str]):
    """A cron expression, or a word for one; YAML lets no plain value begin with ``@``, so it may be left out."""

    label = "hourly, daily, weekly, monthly or five cron fields"

    def decode(self, node: Node, path: str = "") -> str:
        if kind_of(node) != "text":
            raise wrong_type(node, path, self.label)
        text = str(node.value).strip()
        word = f"@{text.removeprefix('@').lower()}"
        if word in cron.ALIASES:
            return word
        try:
            return cron.check(text)
        except ValueError as exc:
            near = did_you_mean(word, cron.ALIASES, "words") if " " not in text else ()
            raise bad_value(node, path, f"{text!r} is not {self.label}: {exc}", *near) from exc


class TimesOfDay(Shape[Window]):
    """Two times of the day."""

    label = '"HH:MM-HH:MM"'

    def decode(self, node: Node, path: str = "") -> Window:
        match = _CLOCK.fullmatch(node.value) if isinstance(node.value, str) else None
        if not match:
            raise bad_value(node, path, f"expected {self.label}", 'for example window: "01:00-05:00"')
        hour, minute, last_hour, last_minute = (int(part) for part in match.groups())
        window = Window(hour * 60 + minute, last_hour * 60 + last_minute)
        if window.start == window.end:
            raise bad_value(node, path, f"{node.value!r} is no time at all")
        return window


class Share(Shape[float]):
    """A share, returned as 0 to 1."""

    label = "a share such as 5%"

    def decode(self, node: Node, path: str = "") -> float:
        match = _PERCENT.fullmatch(node.value) if isinstance(node.value, str) else None
        if not match:
            hint = (f"write {node.value}%",) if kind_of(node) == "number" else ()
            raise bad_value(node, path, f"expected {self.label}", *hint)
        if float(match[1]) > 100:
            raise bad_value(node, path, f"{node.value!r} is more than all")
        return float(match[1]) / 100


class _Server(Shape[tuple[str, int]]):
    """Host and port."""

    label = "HOST or HOST:PORT"

    def decode(self, node: Node, path: str = "") -> tuple[str, int]:
        match = _SERVER.fullmatch(node.value) if isinstance(node.value, str) else None
        if not match or not 0 < int(match[2] or 25) < 65536:
            raise bad_value(node, path, f"expected {self.label}", "for example smtp: mail.example.org:587")
        return match[1].strip("[]"), int(match[2] or 25)


def _without_places(into: Any) -> Any:
    """For models that do not know where they were written."""
    return lambda source, origins, **values: into(**values)  # noqa: ARG005 - every record passes them


COUNT = Integer(0, 100_000)
KEEP = Record(
    "keep",
    "Which snapshots of a VM stay, counted by the controller's calendar; the others are forgotten after each run. A "
    "snapshot that is held, or the last one that was verified, is never forgotten.",
    (
        Field("last", COUNT, 0, "The newest ones.", "3", shown="0"),
        Field("hourly", COUNT, 0, "The newest of each hour that has one, so many hours.", "24", shown="0"),
        Field("daily", COUNT, 0, "The newest of each day.", "7", shown="0"),
        Field("weekly", COUNT, 0, "The newest of each ISO week.", "4", shown="0"),
        Field("monthly", COUNT, 0, "The newest of each month.", "12", shown="0"),
        Field("yearly", COUNT, 0, "The newest of each year.", "10", shown="0"),
        Field("within", Duration(), 0.0, "Everything younger than this.", "2d", shown="nothing more"),
    ),
    into=_without_places(Keep),
)


def _email(smtp: tuple[str, int], **values: Any) -> Email:
    server, port = smtp
    del values["source"]
    where = values.pop("origins")
    if values["user"] and not values["starttls"] and server not in ("localhost", "127.0.0.1", "::1"):
        what = "a password would go over the network in the clear"
        raise ConfigError(what, code="NF-ENV-050", where=where["starttls"], hints=("remove starttls: false",))
    return Email(server=server, port=port, **values)


EMAIL = Record(
    "email",
    "Mail by SMTP.",
    (
        Field("to", OneOrMany(_ADDRESS), doc="Who gets it.", example="[ops@example.org]"),
        Field("from", _ADDRESS, doc="Who it is from.", example="novafleet@example.org", attribute="sender"),
        Field("smtp", _Server(), doc="The mail server.", example="mail.example.org:587"),
        Field(
            "starttls",
            Flag(),
            True,
            "Encrypt, and check the server's certificate; on port 465 the connection begins so.",
            "false",
            shown="true",
        ),
        Field("user", LINE, "", "Log in as.", "novafleet", shown="nobody logs in"),
        Field("password", _Reference(), "", "Where the password is.", "env:SMTP_PASSWORD", shown="none"),
    ),
    into=_email,
)

WEBHOOK = Record(
    "webhook",
    "A JSON document by HTTP POST.",
    (
        Field(
            "url",
            Text(r"https?://[^\s/@]+(/\S*)?", "an http:// or https:// URL without user and password"),
            doc="Where to.",
            example="https://chat.example.org/hooks/backup",
        ),
        Field(
            "secret",
            _Reference(),
            "",
            "Where the secret is that signs it, in `X-NovaFleet-Signature`.",
            "file:~/.config/novafleet/webhook",
            shown="not signed",
        ),
    ),
    into=_without_places(Webhook),
)

NOTIFY = Record(
    "notify",
    "Who is told how scheduled runs went.",
    (
        Field(
            "on",
            OneOrMany(Choice(*EVENTS)),
            ("failure", "missed"),
            "What is told: a run that failed, one that went well, and that runs did not happen when they should have.",
            "[failure, success, missed]",
            shown="failure and missed",
        ),
        Field("email", EMAIL, None, "By mail.", "{to: a@b.org, from: c@b.org, smtp: mail.b.org}", shown="no mail"),
        Field("webhook", WEBHOOK, None, "By HTTP.", '{url: "https://example.org/hook"}', shown="none"),
        Field(
            "apprise",
            OneOrMany(_Reference()),
            (),
            "Where URLs of [apprise](https://github.com/caronc/apprise) are; needs `pip install 'novafleet[notify]'`.",
            "[env:NTFY_URL]",
            shown="none",
        ),
    ),
    into=_without_places(Notify),
)

HOOKS = Record(
    "hooks",
    "Scripts run before and after each backup: files beside this one, sent to the interpreter their first line names. "
    "Whatever happens, `post` runs when `pre` was begun. The domain is in `NOVAFLEET_DOMAIN`, and `pre` or `post` "
    "in `NOVAFLEET_HOOK`.",
    (
        Field("guest_pre", _File(), "", "In the guest, before the backup's moment.", "quiesce.sh", shown="none"),
        Field("guest_post", _File(), "", "In the guest, right after that moment.", "resume.sh", shown="none"),
        Field("host_pre", _File(), "", "On the host, as root, before anything else.", "before.sh", shown="none"),
        Field("host_post", _File(), "", "On the host, as root, when all is done.", "after.sh", shown="none"),
        Field("timeout", Duration(), 60.0, "How long each may take.", "5m", shown="1m"),
        Field(
            "on_error",
            Choice("fail", "warn"),
            "fail",
            "`fail`: no backup when `pre` fails, and a failed run when `post` does; `warn`: it is told.",
            "warn",
            shown="fail",
        ),
    ),
    into=_without_places(HookRules),
)

LIMITS = Record(
    "limits",
    "How much backups may weigh on hosts, networks and guests.",
    (
        Field("bandwidth", Size(), 0, "Bytes read a second, all VMs of a run together.", "50MiB", shown="no limit"),
        Field("per_host", Integer(1, 100), 2, "VMs of one host read at once.", "1", shown="2"),
        Field(
            "per_datastore",
            Integer(0, 100),
            0,
            "VMs read at once whose disks lie on one file system or block device of a host; 0: no limit.",
            "1",
            shown="no limit",
        ),
        Field(
            "latency",
            Duration(),
            0.0,
            "Reading pauses while a disk request of the guest takes longer than this.",
            "50ms",
            shown="no limit",
        ),
    ),
    into=_without_places(BackupLimits),
)

_ATTRIBUTES = {"require_backup_newer_than": "guard"}


def _policy(source: Location, origins: Origins, **values: Any) -> Policy:
    if values["key_file"] and values["passphrase"]:
        what, hints = "key_file and passphrase exclude each other", ("keep one of them",)
        raise ConfigError(what, code="NF-ENV-050", where=origins["passphrase"], hints=hints)
    places = {_ATTRIBUTES.get(name, name): where for name, where in origins.items()}
    return Policy(source=source, origins=places, **values)


BACKUP = Record(
    "backup",
    "The backup policy. What an environment says at its top holds for all its VMs; a VM's own `backup` replaces it key "
    "by key. `schedule install` makes it happen: [schedules](../guides/schedules.md).",
    (
        Field("repository", _Repository(), "", "Where backups go.", "s3://backups/fleet", shown="none"),
        Field("key_file", _File(), "", "The repository's key file.", "~/.config/novafleet/fleet.key", shown="none"),
        Field(
            "passphrase",
            _Reference(),
            "",
            "Where its passphrase is instead: in an environment variable, a file, or a systemd credential.",
            "credential:fleet",
            shown="none",
        ),
        Field(
            "schedule",
            _Schedule(),
            "",
            "When: `hourly`, `daily`, `weekly`, `monthly` (with `@` in quotes if you like), or cron's five fields.",
            '"30 2 * * *"',
            shown="only by hand",
        ),
        Field(
            "window",
            TimesOfDay(),
            None,
            "Backups start only in this time of the day; `daily` and the like then mean its beginning.",
            '"01:00-05:00"',
            shown="any time",
        ),
        Field(
            "consistency",
            Choice("auto", "crash", "fs"),
            "auto",
            "`fs`: the guest's file systems are frozen for a moment, or the backup fails; `auto`: if they can be.",
            "fs",
            shown="auto",
        ),
        Field("keep", KEEP, Keep(), "What stays.", "{daily: 7, weekly: 4, monthly: 12}", shown="everything"),
        Field("verify", Share(), 0.0, "How much of the repository each run reads and checks.", "5%", shown="nothing"),
        Field("drill", _Schedule(), "", "How often the newest backup is booted to prove it.", "weekly", shown="never"),
        Field(
            "require_backup_newer_than",
            Duration(),
            0.0,
            "A plan that destroys a VM's data is refused unless its newest backup is younger than this.",
            "24h",
            attribute="guard",
            shown="no demand",
        ),
        Field("exclude", OneOrMany(Name()), (), "Disks that are left out.", "[scratch]", shown="none"),
        Field("hooks", HOOKS, HookRules(), "Scripts before and after.", "{guest_pre: quiesce.sh}", shown="none"),
        Field("limits", LIMITS, BackupLimits(), "How much it may weigh.", "{bandwidth: 50MiB}", shown="none"),
        Field("notify", NOTIFY, None, "Who is told.", "{webhook: {url: https://example.org/hook}}", shown="nobody"),
    ),
    into=_policy,
)


class _Switch(Shape[Policy]):
    """``false``: no backups of this VM; ``true``: those of the environment."""

    label = "false"

    def decode(self, node: Node, path: str = "") -> Policy:
        return Policy(enabled=Flag().decode(node, path), source=node.location, origins={"enabled": node.location})


OF_VM: Either[Policy] = Either(flag=_Switch(), mapping=BACKUP)
"""A VM's own say."""
