"""Options that mean the same everywhere. Kept free of heavy imports: ``--help`` reads this module."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class OutputForm(StrEnum):
    """``-o``."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Inventory = Annotated[
    list[Path] | None,
    typer.Option("--inventory", "-i", metavar="PATH", help="Inventory file or directory; may repeat."),
]
Limit = Annotated[str, typer.Option("--limit", "-l", metavar="PATTERN", help="Only these hosts: web:&prod:!kvm3.")]
Output = Annotated[OutputForm, typer.Option("--output", "-o", help="How to print the result.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
EnvironmentFile = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="Environment file; default: the only one in playbooks/.", show_default=False),
]
Variables = Annotated[
    list[str] | None, typer.Option("--var", "-e", metavar="KEY=VALUE", help="Override a variable; may repeat.")
]
VariableFiles = Annotated[
    list[Path] | None, typer.Option("--var-file", metavar="PATH", help="YAML file of variables; may repeat.")
]
Targets = Annotated[
    list[str] | None,
    typer.Option("--target", metavar="ADDRESS", help="Only this resource and what it needs: vm.db; may repeat."),
]
LockWait = Annotated[
    float, typer.Option("--lock-wait", metavar="SECONDS", help="Wait for another run to end instead of refusing.")
]
Timeout = Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="Give up after this long; 0: never.")]
AllowDataLoss = Annotated[
    bool, typer.Option("--allow-data-loss", help="Consent to replacing or deleting volumes this plan names.")
]
SnapshotBefore = Annotated[
    bool, typer.Option("--snapshot-before", help="First take a snapshot of each VM that is restarted; kept for a week.")
]
DestroyProtected = Annotated[
    bool, typer.Option("--destroy-protected", help="Also delete volumes with protect: true. There is no way back.")
]
RepoUrl = Annotated[
    str,
    typer.Argument(
        metavar="[URL]",
        envvar="NOVAFLEET_REPO",
        show_envvar=False,
        show_default=False,
        help="Repository: a directory, nfs://SERVER/EXPORT/PATH, s3://BUCKET/PREFIX?endpoint=URL; or NOVAFLEET_REPO.",
    ),
]
Repo = Annotated[
    str,
    typer.Option(
        "--repo",
        metavar="URL",
        envvar="NOVAFLEET_REPO",
        show_envvar=False,
        show_default=False,
        help="Repository: a directory, nfs://SERVER/EXPORT/PATH, s3://BUCKET/PREFIX?endpoint=URL; or NOVAFLEET_REPO.",
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        metavar="PATH",
        envvar="NOVAFLEET_KEY_FILE",
        show_envvar=False,
        help="Key file of the repository; or NOVAFLEET_KEY_FILE.",
    ),
]
Passphrase = Annotated[
    str,
    typer.Option(
        "--passphrase",
        metavar="REF",
        help="Instead of a key file, where the passphrase is: env:NAME, file:PATH, credential:NAME or keyring:NAME.",
        show_default=False,
    ),
]
