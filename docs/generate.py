"""Write the pages that are made from code: the command line, the schemas' references, the list of error codes.

``python docs/generate.py`` writes them; ``tests/content/test_docs.py`` fails when one is out of date.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from novafleet.cli.main import app
from novafleet.inventory.reference import inventory_reference
from novafleet.playbook.reference import environment_reference

DOCS = Path(__file__).parent
MADE = "<!-- Made by docs/generate.py from the code: change that, not this. -->\n"


def pages() -> Mapping[Path, str]:
    """Every generated page: its path and its text."""
    return {
        DOCS.parent / "novafleet/cli/help.txt": CliRunner(env={"COLUMNS": "80"}).invoke(app, ["--help"]).output,
        DOCS / "reference/cli.md": cli(),
        DOCS / "reference/environment.md": environment_reference(),
        DOCS / "reference/inventory.md": inventory_reference(),
        DOCS / "errors/index.md": errors(),
    }


def cli() -> str:
    """The command line, command by command."""
    sections = "\n".join(_command(path, command) for path, command in _walk("novafleet", typer.main.get_command(app)))
    intro = (
        "# Command line\n\n`nf` is short for `novafleet`. Results go to standard output, progress and errors to "
        "standard error; `-o json` is stable. Statuses: [exit-codes.md](exit-codes.md). `NO_COLOR` turns colour off. "
        "`NOVAFLEET_INVENTORY` names the inventory when `-i` does not; else it is `./inventory`.\n"
    )
    return f"{MADE}{intro}\n{sections}"


def _walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name in sorted(command.list_commands(None)) if hasattr(command, "list_commands") else ():
        yield from _walk(f"{path} {name}", command.get_command(None, name))


def _command(path: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    usage = " ".join([path, *(_metavar(each) for each in arguments)])
    lines = [f"## {path}", "", (command.help or "").strip(), "", f"    {usage}", ""]
    rows = [f"| {_metavar(each)} | {each.help} |" for each in arguments if getattr(each, "help", "")]
    rows += [f"| {_names(each)} | {each.help or ''} |" for each in options]
    if rows:
        lines += ["| | |", "|---|---|", *(row.replace("\n", " ") for row in rows), ""]
    return "\n".join(lines)


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _names(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in sorted((*option.opts, *option.secondary_opts), key=len))
    return names if option.is_flag else f"{names} {option.metavar or ''}".rstrip()


def errors() -> str:
    """The list of error codes, from the title of each page."""
    found = sorted((DOCS / "errors").glob("NF-*.md"))
    lines = [f"- [{page.stem}]({page.name}): {_title(page)}" for page in found]
    tree = ["```{toctree}", ":hidden:", *(page.stem for page in found), "```"]
    intro = "# Error codes\n\nEvery error has a code, and every code a page.\n\n"
    return MADE + intro + "\n".join([*lines, "", *tree, ""])


def _title(page: Path) -> str:
    first = page.read_text().splitlines()[0].lstrip("# ").strip()
    return first.removeprefix(page.stem).lstrip(": ")


def main() -> None:
    """Write what changed."""
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
