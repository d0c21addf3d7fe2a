"""zstd where it helps: a sample tells first what is random, encrypted or compressed already."""

from __future__ import annotations

import threading
from enum import IntEnum

import zstandard

LEVEL = 1
SAMPLED = 256 << 10
"""Bytes from which on a sample is taken: less is tried as it is."""
SAMPLES, SAMPLE = 16, 2048
"""Pieces, evenly spread, and their bytes: what compresses only in places is rarely missed."""
_own = threading.local()


class Codec(IntEnum):
    """How a body became what is sealed."""

    RAW = 0
    ZSTD = 1


def compress(content: bytes) -> tuple[bytes, Codec]:
    """The smaller of the two forms; raw unless zstd saves at least 1/64, and where a sample does not shrink at all."""
    compressor = getattr(_own, "compressor", None)
    if compressor is None:
        compressor = _own.compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=False)
    if len(content) >= SAMPLED:
        sample = _sample(content)
        if len(compressor.compress(sample)) >= len(sample):
            return content, Codec.RAW
    packed: bytes = compressor.compress(content)
    return (packed, Codec.ZSTD) if len(packed) < len(content) - len(content) // 64 else (content, Codec.RAW)


def _sample(content: bytes) -> bytes:
    step = len(content) // SAMPLES
    return b"".join(content[at : at + SAMPLE] for at in range(0, step * SAMPLES, step))


def decompress(body: bytes, codec: Codec, size: int) -> bytes:
    """The content, of exactly ``size`` bytes. Raises ValueError otherwise."""
    content = body if codec is Codec.RAW else inflate(body, size)
    if len(content) != size:
        raise ValueError(f"{len(content)} bytes instead of {size}")
    return content


def inflate(body: bytes | bytearray, size: int) -> bytes:
    """What zstd made ``body`` of. Raises ValueError when that is not ``size`` bytes."""
    decompressor = getattr(_own, "decompressor", None)
    if decompressor is None:
        decompressor = _own.decompressor = zstandard.ZstdDecompressor()
    try:
        if zstandard.frame_content_size(body) != size:
            raise ValueError("the compressed size does not fit")
        content: bytes = decompressor.decompress(body, max_output_size=size)
    except zstandard.ZstdError as exc:
        raise ValueError(str(exc)) from exc
    return content
