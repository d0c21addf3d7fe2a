"""S3 credentials: from where the other S3 tools take them, never from a URL."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from novafleet.errors import Retry, StoreError
from novafleet.model.secret import Secret

EXPORT = 'eval "$(aws configure export-credentials --format env)"   # of SSO, roles, credential_process'


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key; ``token`` is empty unless it is a temporary one."""

    key_id: str
    secret: Secret
    token: Secret


def find(reference: str, profile: str, environ: Mapping[str, str]) -> Credentials:
    """``file:PATH`` (laid out as ``~/.aws/credentials``) if given, else AWS_* of the environment, else the shared file.

    A profile that is named wins over the environment. Raises StoreError NF-STORE-024.
    """
    if reference:
        scheme, _, name = reference.partition(":")
        if scheme != "file" or not name:
            raise _missing("credentials= takes file:PATH", "", "credentials=file:~/.aws/credentials")
        return _from_file(Path(name), profile or "default")
    if not profile and environ.get("AWS_ACCESS_KEY_ID"):
        return _credentials(
            environ, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "the environment"
        )
    shared = Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials")
    return _from_file(shared, profile or environ.get("AWS_PROFILE") or "default")


def region(profile: str, environ: Mapping[str, str]) -> str:
    """Where ``aws configure`` puts it: ``~/.aws/config``. Empty when there is none."""
    named = profile or environ.get("AWS_PROFILE") or "default"
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(Path(environ.get("AWS_CONFIG_FILE") or "~/.aws/config").expanduser().read_text())
    except (OSError, UnicodeError, RuntimeError, configparser.Error):
        return ""
    section = "default" if named == "default" else f"profile {named}"
    return parser.get(section, "region", fallback="").strip()


def _from_file(path: Path, profile: str) -> Credentials:
    parser = configparser.RawConfigParser()
    try:
        path = path.expanduser()
        parser.read_string(path.read_text(), source=str(path))
    except FileNotFoundError as exc:
        raise _missing("no S3 credentials: AWS_ACCESS_KEY_ID is not set and there is no file", str(path)) from exc
    except (OSError, UnicodeError, RuntimeError) as exc:
        raise _missing("the file of S3 credentials cannot be read", str(path), cause=str(exc)) from exc
    except configparser.Error as exc:  # its message may quote a line, which may be the secret
        raise _missing("the file of S3 credentials is not of the form [profile] name = value", str(path)) from exc
    if not parser.has_section(profile):
        known = ", ".join(parser.sections())
        raise _missing(f"the file of S3 credentials has no [{profile}], only: {known}", str(path))
    return _credentials(
        dict(parser[profile]), "aws_access_key_id", "aws_secret_access_key", "aws_session_token", str(path)
    )


def _credentials(source: Mapping[str, str], key_id: str, secret: str, token: str, where: str) -> Credentials:
    found = {name: source.get(name, "").strip() for name in (key_id, secret, token)}
    for name, text in found.items():
        if not text and name != token:
            raise _missing(f"{name} is missing", where)
        if not text.isascii() or not text.isprintable():  # the client ends the process over such a header
            raise _missing(f"{name} has characters that are in no key", where)
    return Credentials(found[key_id], Secret.of(found[secret]), Secret.of(found[token]))


def _missing(what: str, where: str, *hints: str, cause: str = "") -> StoreError:
    fix = hints or ("export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…", "aws configure", EXPORT)
    return StoreError(what, code="NF-STORE-024", where=where, cause=cause, hints=fix, retry=Retry.AFTER_FIX)
