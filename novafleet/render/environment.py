"""The Jinja environment of stack bundles: sandboxed, and an undefined name is an error with its line."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, StrictUndefined, TemplateError, TemplateNotFound, TemplateSyntaxError, UndefinedError
from jinja2 import Environment as JinjaEnvironment
from jinja2.sandbox import SandboxedEnvironment

from novafleet.errors import ConfigError, Location

LARGEST = 4 * 1024 * 1024
"""Characters of one rendered file."""
DEFINE = "define it under the stack's vars:, or give it a default: {{ name | default('…') }}"


class BundleLoader(BaseLoader):
    """``{% include %}`` sees the bundle's own files, by their path in it, and no other."""

    def __init__(self, root: Path, texts: Mapping[str, str]) -> None:
        self._root, self._texts = root, texts

    def get_source(self, environment: JinjaEnvironment, template: str) -> tuple[str, str, None]:  # noqa: ARG002
        """Jinja's contract: text, the file's name for tracebacks, and whether it is up to date."""
        if template not in self._texts:
            raise TemplateNotFound(template, f"the bundle has no template {template!r}")
        return self._texts[template], str(self._root / template), None


class Templates:
    """The templates of one bundle: ``texts`` by path below ``root``."""

    def __init__(self, root: Path, texts: Mapping[str, str]) -> None:
        self._root = root
        self._texts = texts
        self._jinja = SandboxedEnvironment(
            loader=BundleLoader(root, texts),
            undefined=StrictUndefined,
            keep_trailing_newline=True,
            autoescape=False,
        )

    def render(self, path: str, context: Mapping[str, Any]) -> str:
        """The text of one template. Raises ConfigError NF-ENV-043 with the line that failed."""
        parts: list[str] = []
        length = 0
        try:
            for part in self._jinja.get_template(path).generate(**context):
                length += len(part)
                parts.append(part)
                if length > LARGEST:
                    raise self._error(path, 0, f"it renders to more than {LARGEST} characters")
        except TemplateSyntaxError as exc:
            file = exc.filename or str(self._root / path)
            raise self._error(file, exc.lineno, exc.message or "syntax error") from exc
        except RecursionError as exc:
            raise self._error(path, 0, "it includes or calls itself without end") from exc
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as exc:
            file, line = self._place(exc, path)
            hints = (DEFINE,) if isinstance(exc, UndefinedError) else ()
            raise self._error(file, line, str(exc), *hints) from exc
        return "".join(parts)

    def _place(self, exc: Exception, path: str) -> tuple[str, int]:
        """Jinja rewrites tracebacks so that frames carry the template's own file and line."""
        files = {str(self._root / each) for each in self._texts}
        frames = [frame for frame in traceback.extract_tb(exc.__traceback__) if frame.filename in files]
        if not frames:
            return str(self._root / path), 0
        return frames[-1].filename, frames[-1].lineno or 0

    def _error(self, file: str, line: int, cause: str, *hints: str) -> ConfigError:
        return ConfigError(
            "the template cannot be rendered",
            code="NF-ENV-043",
            where=Location(str(self._root / file), line),
            cause=cause,
            hints=hints,
        )
