"""A repository in an S3 bucket. obstore is known to this file only.

Its blocking calls are used, in threads of ours: its asynchronous ones abort the process now and then when the
interpreter ends (PyO3/pyo3-async-runtimes issue 40; 7 of 25 runs, obstore 0.12.1). One request is one PutObject, never
a multipart upload: those are not atomic on SeaweedFS, and Ceph ignores their conditions.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store as Bucket

from novafleet.errors import Retry, StoreError
from novafleet.model.backup import StoredObject
from novafleet.objectstore.credentials import Credentials
from novafleet.objectstore.keys import checked, checked_prefix, is_key
from novafleet.objectstore.translate import finding, ignored_range, status_of, unusable, wants_checksum

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta

T = TypeVar("T")

THREADS = 16
PAGE = 1000
STALLED = 30
"""Seconds without a byte of an answer, after which a download is begun again."""
SMALL = 1 << 20
SLOWEST = 128 << 10
"""Bytes a second; an upload that is slower is given up. The client has no other measure of a stalled upload."""
LARGEST = 128 << 20
FIRST_PATIENCE, PATIENCE = 6.0, 90.0
"""Seconds for which a failing request is repeated, before and after the endpoint answered once."""
FOREIGN = (BaseError, OSError)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a bucket is. ``endpoint`` is empty for AWS itself; ``authority`` is PEM text of a private CA."""

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = "us-east-1"
    virtual_host: bool = False
    authority: str = ""


class S3Store:
    """An ObjectStore in a bucket. ``exclusive`` is believed until the first ``create`` has put it to the proof;
    ``doubt`` then says why not."""

    def __init__(self, url: str, address: Address, credentials: Credentials) -> None:
        self.url = url
        self.exclusive = True
        self.doubt = ""
        self._proven = False
        self._proving = asyncio.Lock()
        self._patience = FIRST_PATIENCE
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")
        self._summed = False
        self._made = partial(_client, address, credentials)
        try:
            self._reads = self._made(timeout=3600, read_timeout=STALLED)
            self._make_writers()
        except (ValueError, BaseError) as exc:
            raise unusable(exc, url) from exc

    async def put(self, key: str, data: bytes | memoryview) -> None:
        """One PutObject. Raises SpaceError, StoreError."""
        name = checked(key)
        await self._written(key, lambda: partial(obstore.put, self._writer(data), name, data, use_multipart=False))

    async def create(self, key: str, data: bytes) -> bool:
        """PutObject with ``If-None-Match: *``. A store that does not keep this is asked first whether the object is
        there, which protects from nothing but oneself."""
        await self._prove()
        if self.exclusive:
            return await self._written(key, partial(self._attempt, checked(key), data))
        if await self._call(key, partial(_exists, self._reads, checked(key))):
            return False
        await self.put(key, data)
        return True

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """GetObject, of a range if asked; what lies behind the object's end is left out. Raises MissingObjectError."""
        if length is not None and length <= 0:
            return b""
        return await self._call(key, partial(_read, self._reads, checked(key), offset, length))

    async def stat(self, key: str) -> StoredObject:
        """HeadObject; its date is in whole seconds. Raises MissingObjectError."""
        meta = await self._call(key, partial(_head, self._reads, checked(key)))
        return StoredObject(key, meta["size"], meta["last_modified"].timestamp())

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        """ListObjectsV2; a page that fails is asked for again by the last key before it. Names that no object has are
        none of ours, nor is the ``prefix/`` by which consoles mark a folder: the client calls it ``prefix``."""
        after = None
        while True:
            page = await self._call(prefix, partial(_page, self._reads, checked_prefix(prefix), after))
            for meta in page:
                if is_key(meta["path"]) and meta["path"].startswith(prefix):
                    yield StoredObject(meta["path"], meta["size"], meta["last_modified"].timestamp())
            if len(page) < PAGE:
                return
            after = page[-1]["path"]

    async def delete(self, key: str) -> None:
        """DeleteObject; absent is fine."""
        await self._call(key, partial(_delete, self._reads, checked(key)))

    async def close(self) -> None:
        """Wait for requests under way."""
        await asyncio.to_thread(self._threads.shutdown)

    def _make_writers(self) -> None:
        self._writes = self._made(summed=self._summed, timeout=STALLED + SMALL // SLOWEST)
        self._uploads = self._made(summed=self._summed, timeout=STALLED + LARGEST // SLOWEST)

    async def _written(self, key: str, attempts: Callable[[], Callable[[], T]]) -> T:
        """A write; from the first on of which a bucket with a default retention (Object Lock) asked a checksum, all
        carry one. Not before: it is as dear as signing the body."""
        summed = self._summed
        try:
            return await self._call(key, attempts())
        except StoreError as exc:
            if summed or not wants_checksum(exc):
                raise
        self._summed = True
        self._make_writers()
        return await self._call(key, attempts())

    def _writer(self, data: bytes | memoryview) -> Bucket:
        return self._writes if len(data) <= SMALL else self._uploads

    def _attempt(self, key: str, data: bytes) -> _Creation:
        return _Creation(self._writer(data), key, data)

    async def _prove(self) -> None:
        """Two creations of one key; a store that refuses such requests (501) or overwrites is not exclusive."""
        async with self._proving:
            if self._proven:
                return
            key = f".probe/{secrets.token_hex(12)}"
            try:
                won = [await self._written(key, partial(self._attempt, key, bytes([n]))) for n in range(2)]
            except StoreError as exc:
                if not exc.cause.startswith("501 "):
                    raise
                self.exclusive, self.doubt = False, f"it refuses conditional writes ({exc.cause})"
            else:
                if won != [True, False]:
                    self.exclusive, self.doubt = False, "it ignores If-None-Match: the second of two creations won too"
            await self._call(key, partial(_delete, self._reads, key))
            self._proven = True

    async def _call(self, key: str, attempt: Callable[[], T]) -> T:
        """Attempts of a request in threads until one succeeds, the fault is no passing one, or patience ends."""
        loop = asyncio.get_running_loop()
        pause, since = 0.1, time.monotonic()
        while True:
            try:
                done = await loop.run_in_executor(self._threads, attempt)
            except FOREIGN as exc:
                found = finding(exc, self.url, key)
                if found.retry is not Retry.LATER or time.monotonic() - since > self._patience:
                    raise found from exc
            else:
                self._patience = PATIENCE
                return done
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, guards nothing
            pause = min(pause * 2, 10.0)


class _Creation:
    """The attempts of one conditional write. After one whose answer is unknown, "it exists" may mean ours."""

    def __init__(self, client: Bucket, key: str, data: bytes) -> None:
        self._client, self._key, self._data = client, key, data
        self._unknown = False

    def __call__(self) -> bool:
        try:
            obstore.put(self._client, self._key, self._data, mode="create", use_multipart=False)
        except FOREIGN as exc:
            if isinstance(exc, AlreadyExistsError) and status_of(exc) != 409 and not self._unknown:
                return False
            if finding(exc, "", "").retry is Retry.NEVER:
                raise
            self._unknown = True
            return self._ours(exc)
        return True

    def _ours(self, doubt: Exception) -> bool:
        try:
            return _read(self._client, self._key, 0, None) == self._data
        except FileNotFoundError:
            raise doubt from None


def _client(address: Address, credentials: Credentials, *, summed: bool = False, **seconds: int) -> Bucket:
    options: Any = {name: f"{value}s" for name, value in seconds.items()}
    options |= {"allow_http": address.endpoint.startswith("http:"), "connect_timeout": "10s"}
    if address.authority:
        options["root_certificate"] = address.authority
    settings: dict[str, Any] = {
        "region": address.region,
        "virtual_hosted_style_request": address.virtual_host,
        # TLS protects the body already; SHA-256 costs more than the rest of a backup where the processor has no
        # instructions for it (5.6 CPU seconds per GB, measured).
        "unsigned_payload": not address.endpoint.startswith("http:"),
        # What it would take from AWS_SKIP_SIGNATURE and AWS_CONDITIONAL_PUT, which no other tool knows.
        "skip_signature": False,
        "conditional_put": "etag",
    }
    if address.endpoint:
        settings["endpoint"] = address.endpoint
    if summed:
        settings["checksum_algorithm"] = "SHA256"
    return Bucket(
        address.bucket,
        prefix=address.prefix or None,
        access_key_id=credentials.key_id,
        secret_access_key=credentials.secret.reveal().decode(),
        session_token=credentials.token.reveal().decode(),  # even when empty: else AWS_SESSION_TOKEN would be taken
        disable_bulk_delete=True,
        client_options=options,
        retry_config={"max_retries": 0, "retry_timeout": timedelta(0)},
        **settings,
    )


def _read(client: Bucket, key: str, offset: int, length: int | None) -> bytes:
    options: GetOptions = {}
    if length is not None:
        options["range"] = (offset, offset + length)
    elif offset:
        options["range"] = {"offset": offset}
    try:
        answer = obstore.get(client, key, options=options)
        data = bytes(answer.bytes())
    except BaseError as exc:
        if status_of(exc) == 416:
            return b""
        if not ignored_range(exc):
            raise
        end = None if length is None else offset + length
        return _read(client, key, 0, None)[offset:end]
    start, end = answer.range
    if len(data) != end - start:
        raise ConnectionError(f"the body ended after {len(data)} of {end - start} bytes")
    return data


def _head(client: Bucket, key: str) -> ObjectMeta:
    """HeadObject. A refusal of that has no words; the one of GetObject says why."""
    try:
        return obstore.head(client, key)
    except BaseError as exc:
        if status_of(exc) not in (400, 403):
            raise
    return obstore.get(client, key).meta


def _exists(client: Bucket, key: str) -> bool:
    try:
        _head(client, key)
    except FileNotFoundError:
        return False
    return True


def _page(client: Bucket, prefix: str, after: str | None) -> Sequence[ObjectMeta]:
    return next(obstore.list(client, prefix or None, offset=after, chunk_size=PAGE), [])


def _delete(client: Bucket, key: str) -> None:
    try:
        obstore.delete(client, key)
    except FileNotFoundError:
        return
