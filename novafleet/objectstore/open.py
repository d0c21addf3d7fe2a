"""From the URL of a repository to its store. Adapters are imported when a URL asks for them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from novafleet.errors import ConfigError
from novafleet.source.suggest import did_you_mean

if TYPE_CHECKING:
    from novafleet.ports import ObjectStore

SCHEMES = ("file", "nfs", "s3")
S3_OPTIONS = ("endpoint", "region", "credentials", "profile", "style", "ca")
NFS_OPTIONS = ("version", "mountport", "uid", "gid")
_ELSEWHERE = re.compile("[^/]+:")
"""How rsync, borg and restic begin what is not on this machine: ``user@host:/path``, ``s3:…``."""
_PRINTABLE = re.compile("[!-~]+")


def open_store(url: str, environ: Mapping[str, str] = os.environ) -> ObjectStore:
    """The store at a directory path, ``file:///PATH``, ``nfs://SERVER[:PORT]/EXPORT/PATH[?version=3|4]`` or
    ``s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME&…]`` (docs/reference/repository-urls.md).

    Nothing is sent yet. Raises ConfigError NF-STORE-003 (the URL is wrong), NF-STORE-004 (it holds a secret);
    StoreError NF-STORE-024 (no S3 credentials), NF-STORE-030 (libnfs is missing).
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        return _directory(url)
    if scheme not in SCHEMES:
        raise _wrong(url, f"{scheme}:// is no kind of repository", *did_you_mean(scheme, SCHEMES, "schemes"))
    parts = _split(url)
    options = _options(url, parts)
    if scheme == "file":
        return _file(url, parts)
    return _nfs(url, parts, options) if scheme == "nfs" else _s3(url, parts, options, environ)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for what is no number
    except ValueError as exc:
        raise _wrong("", f"the URL of the repository cannot be read: {exc}") from exc
    if "\0" in unquote(parts.path):
        raise _wrong("", "no path has a zero byte (%00) in it")
    if "@" in parts.netloc:
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise ConfigError(
            "a URL is no place for a user and a secret: it ends up in logs, history and process lists",
            code="NF-STORE-004",
            where=shown,
            hints=(f"use {shown}", "export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…"),
        )
    return parts


def _options(url: str, parts: SplitResult) -> dict[str, str]:
    known = {"s3": S3_OPTIONS, "nfs": NFS_OPTIONS}.get(parts.scheme, ())
    plus = parts.query.replace("+", "%2B")  # paths have it; only forms mean a blank by it
    options = dict(parse_qsl(plus, keep_blank_values=True))
    for name in options:
        if name not in known:
            shown = url.partition("?")[0]
            raise _wrong(shown, f"{name!r} is no option of {parts.scheme}://", *did_you_mean(name, known, "options"))
    if parts.fragment:
        raise _wrong(url.partition("#")[0], "a '#' in a URL is written %23")
    return options


def _directory(path: str) -> ObjectStore:
    from novafleet.objectstore.directory import DirectoryStore

    if not path.strip():
        raise _wrong("", "the URL of the repository is empty")
    if _ELSEWHERE.match(path):
        fix = ("file:///PATH, nfs://SERVER/EXPORT/PATH or s3://BUCKET/PREFIX?endpoint=URL", f"a directory: ./{path}")
        raise _wrong(path, "a ':' before the first '/' reads as another machine or a scheme", *fix)
    try:
        return DirectoryStore(Path(path))
    except RuntimeError as exc:
        raise _wrong(path, "there is no such user, or none with a home directory") from exc


def _file(url: str, parts: SplitResult) -> ObjectStore:
    if parts.netloc not in ("", "localhost") or not parts.path:
        raise _wrong(url, "a file URL has three slashes and an absolute path", f"file:///{parts.netloc}{parts.path}")
    return _directory(unquote(parts.path))


def _nfs(url: str, parts: SplitResult, options: Mapping[str, str]) -> ObjectStore:
    if not parts.hostname or parts.path in ("", "/"):
        raise _wrong(url, "an NFS URL names a server and a path", "nfs://SERVER/EXPORT/PATH")
    version = options.get("version", "3")
    if version not in ("3", "4"):
        raise _wrong(url, f"version={version} is not 3 or 4")
    numbers = {name: _number(url, name, options[name]) for name in ("mountport", "uid", "gid") if name in options}
    from novafleet.objectstore.nfs import Export, NfsStore

    return NfsStore(
        url, Export(parts.hostname, unquote(parts.path).rstrip("/"), int(version), parts.port or 0, **numbers)
    )


def _s3(url: str, parts: SplitResult, options: Mapping[str, str], environ: Mapping[str, str]) -> ObjectStore:
    if not parts.hostname or parts.port:
        raise _wrong(url, "an S3 URL names a bucket; its server goes into endpoint=", "s3://BUCKET/PREFIX?endpoint=URL")
    if options.get("style", "path") not in ("path", "virtual"):
        raise _wrong(url, f"style={options['style']} is not path or virtual")
    from novafleet.objectstore.credentials import find, region
    from novafleet.objectstore.s3 import Address, S3Store

    endpoint = options.get("endpoint") or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL", "")
    named = options.get("region") or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    address = Address(
        parts.netloc,
        unquote(parts.path).strip("/"),
        _endpoint(url, endpoint),
        _region(url, named or ("" if endpoint else region(options.get("profile", ""), environ))),
        options.get("style") == "virtual",
        _authority(url, options.get("ca") or environ.get("AWS_CA_BUNDLE", "")),
    )
    return S3Store(url, address, find(options.get("credentials", ""), options.get("profile", ""), environ))


def _endpoint(url: str, endpoint: str) -> str:
    if not endpoint:
        return ""
    parts = _split(endpoint)
    whole = _PRINTABLE.fullmatch(endpoint) and not parts.query and not parts.fragment
    if parts.scheme not in ("http", "https") or not parts.netloc or not whole:
        raise _wrong(url, f"the endpoint {endpoint} is no http:// or https:// URL", "endpoint=https://s3.example.org")
    return endpoint.rstrip("/")


def _region(url: str, name: str) -> str:
    """It goes into a header of every request, where the client takes nothing else."""
    if name and not _PRINTABLE.fullmatch(name):
        raise _wrong(url, f"the region {name!r} is no name of one", "region=eu-west-1")
    return name or "us-east-1"


def _authority(url: str, path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).expanduser().read_text(encoding="ascii", errors="replace")  # bundles have comments
    except (OSError, RuntimeError) as exc:
        raise _wrong(url, f"the certificates in {path} cannot be read: {exc}") from exc


def _number(url: str, name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise _wrong(url, f"{name}={text} is no number")
    return int(text)


def _wrong(url: str, what: str, *hints: str) -> ConfigError:
    fix = hints or ("/srv/backup, nfs://SERVER/EXPORT/PATH or s3://BUCKET/PREFIX?endpoint=URL",)
    return ConfigError(what, code="NF-STORE-003", where=url, hints=tuple(fix))
