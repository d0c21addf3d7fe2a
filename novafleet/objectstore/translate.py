"""What an S3 client says went wrong, as findings. The only place that reads its words."""

from __future__ import annotations

import re

from novafleet.errors import ConfigError, MissingObjectError, NovaFleetError, Retry, SpaceError, StoreError

TRANSIENT = {408, 409, 425, 429, 500, 502, 503, 504}
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})</Message>")
_INNER = re.compile(r'(?:message|error): "([^"]{1,300})"')
_CERTIFICATE = re.compile(r"\bInvalidCertificate\(\s*(?:Other\(\s*OtherError\(\s*)?([A-Za-z]{1,60})")
_TIMED_OUT = re.compile(r"\bTimedOut\b|\bkind: Timeout\b")
_CONNECT = re.compile(r"\bkind: Connect\b|\bConnect,|dns error")
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "InsufficientCapacity", "StorageFull"}
_WHO = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AccessDenied"}

_RIGHTS = "they need s3:GetObject, s3:PutObject and s3:DeleteObject on PREFIX/*, and s3:ListBucket on the bucket"
_REFUSALS = {
    "": (
        "the S3 endpoint refused these credentials",
        ("export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…", "aws sts get-caller-identity"),
    ),
    "AccessDenied": (
        "the S3 endpoint does not let these credentials do that",
        (_RIGHTS, "aws sts get-caller-identity"),
    ),
    "RequestTimeTooSkewed": (
        "the clocks of the S3 endpoint and of this machine differ too much",
        ("date -u", "timedatectl set-ntp true"),
    ),
}
_CERTIFICATES = {
    "UnknownIssuer": ("ca=PATH in the URL, or AWS_CA_BUNDLE, is the certificate of the authority that made it",),
    "CaUsedAsEndEntity": (
        "it is an authority's own certificate: give the server one that is none",
        "openssl req -x509 … -addext basicConstraints=critical,CA:FALSE, and ca=PATH of it in the URL",
    ),
}
"""What a server's certificate lacks, in rustls's words: hints."""
_REGION = re.compile(r"expecting '([a-z0-9-]{1,60})'|<Region>([a-z0-9-]{1,60})</Region>")


def status_of(exc: Exception) -> int:
    """The HTTP status that the server gave; 0 when it gave none."""
    match = _STATUS.search(str(exc))
    return int(match.group(1)) if match else 0


def ignored_range(exc: Exception) -> bool:
    """Whether a range was asked for and the status was 200: the whole object or, from rclone, a part all the same."""
    return "Received non-partial response" in str(exc)


def finding(exc: Exception, url: str, key: str) -> NovaFleetError:
    """The finding of a failed request. ``retry`` is LATER when the same request may well succeed."""
    text = str(exc)
    status, where = status_of(exc), f"{url} {key}".strip()
    code = _found(_CODE, text)
    cause = _cause(text, status, code)
    if code == "NoSuchBucket":
        return _no_bucket(where, cause)
    if status == 404 or isinstance(exc, FileNotFoundError):
        return MissingObjectError("the object does not exist", where=where, cause=cause)
    if status in (401, 403) or code in _WHO:
        return _refused(where, cause, code)
    if status == 507 or code in _FULL:
        hint = f"novafleet backup prune --repo {url} --key-file K"
        return SpaceError(
            "the store has no room for an object", code="NF-DISK-003", where=where, cause=cause, hints=(hint,)
        )
    if not status and _CONNECT.search(text):
        return _unreachable(where, cause)
    if _REGION.search(text) or "Received redirect without LOCATION" in text:
        return _elsewhere(where, cause, text)
    retry = Retry.LATER if status in TRANSIENT or not status else Retry.AFTER_FIX
    return StoreError("the S3 endpoint failed", code="NF-STORE-023", where=where, cause=cause, retry=retry)


def wants_checksum(found: StoreError) -> bool:
    """``Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock …``."""
    return found.cause.startswith("400 InvalidRequest") and "Content-MD5" in found.cause


def unusable(exc: Exception, url: str) -> ConfigError:
    """The finding of a client that could not even be made: of a prefix with ``..``, certificates that are none."""
    return ConfigError(
        "this is no URL of a place in a bucket",
        code="NF-STORE-003",
        where=url,
        cause=_cause(str(exc), 0, ""),
        hints=("s3://BUCKET/PREFIX?endpoint=URL, and ca=PATH is a file of PEM certificates",),
    )


def _no_bucket(where: str, cause: str) -> StoreError:
    return StoreError(
        "the bucket does not exist",
        code="NF-STORE-021",
        where=where,
        cause=cause,
        hints=("aws s3 mb s3://BUCKET", "check the bucket's name and, with several servers, the endpoint"),
        retry=Retry.AFTER_FIX,
    )


def _refused(where: str, cause: str, code: str) -> StoreError:
    what, hints = _REFUSALS.get(code, _REFUSALS[""])
    return StoreError(what, code="NF-STORE-020", where=where, cause=cause, hints=hints, retry=Retry.AFTER_FIX)


def _elsewhere(where: str, cause: str, text: str) -> StoreError:
    match = _REGION.search(text)
    region = (match.group(1) or match.group(2)) if match else "NAME"
    return StoreError(
        "the bucket is in another region",
        code="NF-STORE-023",
        where=where,
        cause=cause,
        hints=(f"region={region} in the URL, or export AWS_REGION={region}",),
        retry=Retry.AFTER_FIX,
    )


def _unreachable(where: str, cause: str) -> StoreError:
    return StoreError(
        "the S3 endpoint does not answer",
        code="NF-STORE-022",
        where=where,
        cause=cause,
        hints=_CERTIFICATES.get(cause.rpartition(" ")[2], ("curl -sv ENDPOINT", "check endpoint= in the URL")),
        retry=Retry.LATER,
    )


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match.group(1).strip() if match else ""


def _cause(text: str, status: int, code: str) -> str:
    """The server's own words; else the innermost of the client's."""
    if status:
        return " ".join(word for word in (str(status), code, _found(_MESSAGE, text)) if word)
    if _TIMED_OUT.search(text):
        return "timeout"
    if certificate := _found(_CERTIFICATE, text):
        return f"its certificate: {certificate}"
    if "InvalidMessage(" in text:
        return "what answers there speaks no TLS"
    return _found(_INNER, text) or text.splitlines()[0][:300]
