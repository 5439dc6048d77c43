"""The entries of a ledger as rows of a file, to keep them elsewhere or take them to another machine."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.files.locations import STDIN, StandardInput, find_shards, format_of
from pairmine.files.partial import STDOUT
from pairmine.files.raw import read_raw
from pairmine.files.sink import Sink
from pairmine.ledger import KEY_BYTES, Entry
from pairmine.llm.calls import Reply

_TEXTS = ("recipe", "model", "backend", "finish_reason", "served_by")
_COUNTS = ("created", "prompt_tokens", "completion_tokens", "cached_tokens")
_LOSSLESS = ("jsonl", "parquet", "arrow")
_COLUMNS = pa.schema(
    [
        ("key", pa.string()),
        *((name, pa.string()) for name in _TEXTS),
        *((name, pa.int64()) for name in _COUNTS),
        ("text", pa.string()),
        ("text_base64", pa.string()),
    ]
)


def write_entries(target: str, lists: Iterable[list[Entry]]) -> int:
    """Write the entries to the file `target`, in the format of its ending ("-" prints JSON lines); how many.

    `key` is in hex. A text with half an emoji in it, which UTF-8 cannot hold, stands in
    `text_base64` (UTF-8 with the surrogates passed) and leaves `text` empty.
    """
    if target != STDOUT and (format_of(target) or ("", None))[0] not in _LOSSLESS:
        raise PairmineError(f"{target}: replies are written as .jsonl, .jsonl.gz, .jsonl.zst or .parquet; name it so")
    sink = Sink(target, "jsonl" if target == STDOUT else None)
    count = 0
    try:
        sink.write(_COLUMNS.empty_table())
        for entries in lists:
            sink.write(pa.Table.from_pylist([_row(entry) for entry in entries], _COLUMNS))
            count += len(entries)
        sink.commit([])
    except BaseException:
        sink.abort()
        raise
    return count


def read_entries(path: str) -> Iterator[list[Entry]]:
    """What `write_entries` wrote to the file `path`, to the files in that folder or ("-") to the pipe, by thousands.

    Raises PairmineError with file and line for a row that is no entry.
    """
    spool = None
    if path == STDIN:
        # A temporary file, which goes when nobody holds it any more.
        shard, spool = StandardInput().spool()
        shards = [shard]
    else:
        shards = find_shards(path)
    for shard in shards:
        for raw in read_raw(shard):
            yield [_entry(row, raw.where(at)) for at, row in enumerate(raw.table.to_pylist())]
    del spool


def _row(entry: Entry) -> dict[str, Any]:
    reply = entry.reply
    row = {
        "key": entry.key.hex(),
        "recipe": entry.recipe,
        "model": entry.model,
        "backend": entry.backend,
        "created": entry.created,
        "finish_reason": reply.finish_reason,
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "cached_tokens": reply.cached_tokens,
        "served_by": reply.served_by,
    }
    try:
        reply.text.encode()
    except UnicodeEncodeError:
        return row | {"text_base64": base64.b64encode(reply.text.encode("utf-8", "surrogatepass")).decode()}
    return row | {"text": reply.text}


def _entry(row: Mapping[str, Any], where: str) -> Entry:
    texts = {name: _text(row, name, where) for name in _TEXTS}
    counts = {name: _count(row, name, where) for name in _COUNTS}
    reply = Reply(
        _reply_text(row, where),
        texts["finish_reason"],
        counts["prompt_tokens"],
        counts["completion_tokens"],
        counts["cached_tokens"],
        texts["served_by"],
    )
    return Entry(_key(row, where), reply, texts["recipe"], texts["model"], texts["backend"], counts["created"])


def _key(row: Mapping[str, Any], where: str) -> bytes:
    text = _text(row, "key", where)
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise _no_entry(where, f'"key" is {text[:50]!r}, not {2 * KEY_BYTES} hex digits')
    return key


def _reply_text(row: Mapping[str, Any], where: str) -> str:
    if row.get("text") is not None or not row.get("text_base64"):
        return _text(row, "text", where)
    try:
        return base64.b64decode(_text(row, "text_base64", where), validate=True).decode("utf-8", "surrogatepass")
    except (binascii.Error, ValueError):
        raise _no_entry(where, '"text_base64" is no UTF-8 text in base64') from None


def _text(row: Mapping[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise _no_entry(where, _found(row, name))
    return value


def _count(row: Mapping[str, Any], name: str, where: str) -> int:
    value = row.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _no_entry(where, _found(row, name))
    return value


def _found(row: Mapping[str, Any], name: str) -> str:
    if row.get(name) is not None:
        return f'"{name}" is {str(row[name])[:50]!r}'
    found = ", ".join(key for key, value in row.items() if value is not None)
    return f'no "{name}", found: {found[:200] or "nothing"}'


def _no_entry(where: str, what: str) -> PairmineError:
    return PairmineError(f"{where}: no entry of a ledger ({what}); give it what 'pairmine ledger export' wrote")
