"""Keys with a mark: how they may be spelled in a file, and a search for them in all that a run leaves behind."""

from __future__ import annotations

import gzip
import os
import zlib
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pyarrow as pa
import pyarrow.parquet as pq

KEYS = {
    "OPENAI_API_KEY": "sk-ENVIRONMENT/7f3a+Zq9~w%20x-0123456789",
    "HF_TOKEN": "hf_HUBTOKENabcdefghijklmnopqrstuvwx",
    "AWS_SECRET_ACCESS_KEY": "s3SECRET/K7MDENG+bPxRfiCYEXAMPLEKEY0",
    "AWS_SESSION_TOKEN": "s3SESSION//////////wEaDmV1LXdlc3QtMSJ",
}
"""By the variable that each comes in."""
OF_A_FILE = "sk-KEYFILE-9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"
OF_AN_ADDRESS = "pw-ADDRESS!9f8e7d6c5b4a"
ALL = (*KEYS.values(), OF_A_FILE, OF_AN_ADDRESS)
BY_WAY = {"environment": KEYS["OPENAI_API_KEY"], "file": OF_A_FILE, "address": OF_AN_ADDRESS}
"""By the way in which a server gets its key."""
_PART = 12
"""So many characters of a key in a row are a leak."""


def spellings(key: str) -> set[bytes]:
    """What gives a key away wherever it stands: a part from its front, middle and end, plain and encoded."""
    middle = len(key) // 2
    parts = {key[:_PART], key[middle - _PART // 2 : middle + _PART // 2], key[-_PART:]}
    found = {text for part in parts for text in (part, part[::-1], quote(part, safe=""), quote_plus(part))}
    found |= {part.replace("/", "\\/") for part in parts}
    found |= {part.encode().hex() for part in parts} | {part.encode().hex().upper() for part in parts}
    for before in range(3):
        for part in parts:
            coded = b64encode(b"\0" * before + part.encode()).decode()
            inner = coded[(before * 8 + 5) // 6 : (before + len(part)) * 8 // 6]
            found |= {inner, inner.replace("+", "-").replace("/", "_")}
    return {text.encode() for text in found}


_SOUGHT = {spelling: key for key in ALL for spelling in spellings(key)}


def leaks(content: bytes, where: str) -> list[str]:
    """Where a part of a key stands in `content`."""
    return [f"{where}: {key[:12]}... as {spelled!r}" for spelled, key in _SOUGHT.items() if spelled in content]


def leaks_below(folder: Path, *, but: frozenset[str] = frozenset()) -> list[str]:
    """The same for every name and every byte of every file below a folder, what is packed in it too.

    `but` are files that hold a key on purpose.
    """
    found: list[str] = []
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found += leaks(os.fsencode(name), f"the name {name}")
        if path.is_file() and not path.is_symlink() and name not in but:
            for content in _contents(path):
                found += leaks(content, name)
    return found


def _contents(path: Path) -> Iterator[bytes]:
    raw = path.read_bytes()
    yield raw
    if path.suffix == ".gz":
        yield gzip.decompress(raw)
    if raw[:4] == b"PAR1":
        yield _written_out(pq.read_table(path))
    elif raw[:6] == b"ARROW1":
        yield _written_out(pa.ipc.open_file(pa.BufferReader(raw)).read_all())
    elif raw[:4] == b"\xff\xff\xff\xff":
        yield _written_out(pa.ipc.open_stream(pa.BufferReader(raw)).read_all())
    elif raw[:4] == b"\x28\xb5\x2f\xfd":
        yield pa.input_stream(pa.BufferReader(raw), compression="zstd").read()
    else:
        try:
            yield zlib.decompress(raw)
        except zlib.error:
            return


def _written_out(table: pa.Table) -> bytes:
    return repr((table.schema.metadata, table.schema.to_string(), table.to_pylist())).encode()
