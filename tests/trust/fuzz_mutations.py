"""Ways to damage a file: its bytes, its lines, its values, what is inside of its compression, and what it is.

Everything is drawn from the generator that is handed in, so that a seed makes the same damage again.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Change = Callable[[bytes, random.Random], bytes]

DEEP = 100_000
"""How deep some values are nested: far beyond what Python's own stack bears."""

_MOST_INSIDE = 16 << 20
BORDERS = [
    struct.pack("<i", -1),
    struct.pack("<i", 2**31 - 1),
    struct.pack("<I", 2**31),
    struct.pack("<q", -(2**63)),
    struct.pack("<q", 2**63 - 1),
    struct.pack("<q", 2**40),
    b"\0" * 8,
    b"\xff" * 8,
    b"\x80",
    b"\x7f",
]
MAGICS = [
    *(b"PAR1", b"ARROW1\0\0", b"\xff\xff\xff\xff", b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"\x93NUMPY\x01\0"),
    *(b"SQLite format 3\0", b"PK\x03\x04", b"BZh9", b"\xfd7zXZ\0", b"\x80\x05K\x01.", b"\xef\xbb\xbf", b"PMARRAYS"),
]
ODD_TEXTS = [
    *(
        "",
        " ",
        "\0",
        "\u2028",
        "\x85",
        "\x1b[31m",
        "\u202eabc",
        "e\u0301" * 50,
        "a\nb",
        "\r",
        "\t",
        '"',
        "\\",
        "\ufeff",
    ),
    *(
        "{{ 7*7 }}",
        "../../etc/passwd",
        "-",
        "--help",
        "None",
        "nan",
        "1e999",
        "\U0001f469\u200d\U0001f52c",
        "x" * 20_000,
    ),
]
ODD_BYTES = [
    *(
        b"\0",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xff\xfe",
        b"\xf8\x88\x80\x80\x80",
        b"\xe2\x80\xa8",
        b"\x85",
        b"\r",
        b"\r\n",
    ),
    *(
        b"\n",
        b"\t",
        b'"',
        b"'",
        b",",
        b"{",
        b"[",
        b"\\u0000",
        b'"\\ud800"',
        b"\x1b[2J",
        b"\xef\xbb\xbf",
        b"\xf4\x90\x80\x80",
    ),
]


# --- bytes --------------------------------------------------------------------------------------


def _place(data: bytes, draw: random.Random) -> int:
    """A place in the file, its first and last hundred bytes more often than others: there formats keep their plan."""
    kind = draw.random()
    if kind < 0.3:
        return draw.randrange(min(len(data), 128))
    return max(len(data) - 1 - draw.randrange(128), 0) if kind < 0.6 else draw.randrange(len(data))


def _stretch(data: bytes, draw: random.Random) -> tuple[int, int]:
    start = _place(data, draw)
    return start, min(start + 2 ** draw.randrange(10), len(data))


def flip_bits(data: bytes, draw: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        found[_place(data, draw)] ^= 1 << draw.randrange(8)
    return bytes(found)


def truncate(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.choice((draw.randrange(len(data)), max(len(data) - 1 - draw.randrange(16), 0)))]


def delete(data: bytes, draw: random.Random) -> bytes:
    start, end = _stretch(data, draw)
    return data[:start] + data[end:]


def duplicate(data: bytes, draw: random.Random) -> bytes:
    start, end = _stretch(data, draw)
    return data[:end] + data[start:end] * draw.choice((1, 1, 2, 40)) + data[end:]


def swap(data: bytes, draw: random.Random) -> bytes:
    (a, b), (c, d) = sorted((_stretch(data, draw), _stretch(data, draw)))
    b = min(b, c)
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def insert(data: bytes, draw: random.Random) -> bytes:
    at = _place(data, draw)
    piece = draw.choice((draw.choice(MAGICS), draw.choice(ODD_BYTES), draw.randbytes(draw.randrange(1, 64))))
    return data[:at] + piece + data[at:]


def overwrite(data: bytes, draw: random.Random) -> bytes:
    at, piece = _place(data, draw), draw.choice(BORDERS + MAGICS)
    return data[:at] + piece + data[at + len(piece) :]


BYTES: list[Change] = [flip_bits, flip_bits, truncate, delete, duplicate, swap, insert, overwrite]


# --- text and JSON ------------------------------------------------------------------------------


def _in_a_line(data: bytes, draw: random.Random, change: Callable[[bytes], bytes]) -> bytes:
    lines = data.split(b"\n")
    at = draw.randrange(len(lines))
    return b"\n".join([*lines[:at], change(lines[at]), *lines[at + 1 :]])


def odd_bytes(data: bytes, draw: random.Random) -> bytes:
    def change(line: bytes) -> bytes:
        at = draw.randrange(len(line) + 1)
        return line[:at] + draw.choice(ODD_BYTES) + line[at:]

    return _in_a_line(data, draw, change)


def line_ends(data: bytes, draw: random.Random) -> bytes:
    return b"".join(line + draw.choice((b"\n", b"\r\n", b"\r", b"\n\n", b"\0\n")) for line in data.split(b"\n"))


def encoding(data: bytes, draw: random.Random) -> bytes:
    name = draw.choice(("utf-16", "utf-16-le", "utf-32", "utf-7", "latin-1", "cp037", "utf-8-sig"))
    return data.decode("utf-8", "replace").encode(name, "replace")


def long_line(data: bytes, draw: random.Random) -> bytes:
    return _in_a_line(data, draw, lambda line: line + draw.choice((b"x", b"[", b" ", b"\0", b'"', b",")) * DEEP)


def drop_line(data: bytes, draw: random.Random) -> bytes:
    lines = data.split(b"\n")
    del lines[draw.randrange(len(lines))]
    return b"\n".join(lines)


def repeat_line(data: bytes, draw: random.Random) -> bytes:
    return _in_a_line(data, draw, lambda line: b"\n".join([line] * draw.choice((2, 2, 300))))


def shuffle_fields(data: bytes, draw: random.Random) -> bytes:
    def change(line: bytes) -> bytes:
        mark = next((each for each in (b"\t", b",", b" ") if each in line), b" ")
        fields = line.split(mark)
        kind = draw.randrange(4)
        if kind == 0:
            draw.shuffle(fields)
        elif kind == 1:
            fields.insert(draw.randrange(len(fields) + 1), draw.choice(ODD_TEXTS).encode())
        elif kind == 2 and len(fields) > 1:
            fields.pop(draw.randrange(len(fields)))
        else:
            fields[draw.randrange(len(fields))] = str(odd_value(draw, scalar=True)).encode("utf-8", "surrogatepass")
        return mark.join(fields)

    return _in_a_line(data, draw, change)


TEXT: list[Change] = [odd_bytes, odd_bytes, line_ends, encoding, long_line, drop_line, repeat_line, shuffle_fields]


_SPELLED = {
    **{
        "@@nan@@": "NaN",
        "@@inf@@": "Infinity",
        "@@less@@": "-Infinity",
        "@@large@@": "1e999",
        "@@digits@@": "9" * 5000,
    },
    **{"@@half@@": '"\\ud800"', "@@octal@@": "01", "@@quote@@": "'a'", "@@none@@": "undefined", "@@hex@@": '"\\x41"'},
    **{f"@@list{deep}@@": "[" * deep + "]" * deep for deep in (400, 1200, DEEP)},
    **{f"@@object{deep}@@": '{"a":' * deep + "1" + "}" * deep for deep in (400, 1200, DEEP)},
}
"""JSON that `json.dumps` does not write, and what stands for it until then: no number, no JSON, nested too deep."""


def dumped(value: Any, **more: Any) -> bytes:
    """`value` as JSON, with what is `_SPELLED` in it."""
    text = json.dumps(value, **more)
    spelled = re.sub(r'"(@@\w+@@)"', lambda found: _SPELLED.get(found[1], found[0]), text)
    return spelled.encode("utf-8", "surrogatepass")


def odd_value(draw: random.Random, *, scalar: bool = False) -> Any:
    scalars: list[Any] = [
        *(None, True, False, 0, -1, 1, 2, 0.5, -0.0, 2**31, 2**53 + 1, 2**63, -(2**63), 2**64, 10**30, 1e308),
        *(name for name in _SPELLED if "list" not in name and "object" not in name),
        *(draw.choice(ODD_TEXTS) for _ in range(4)),
    ]
    if scalar:
        return draw.choice(scalars)
    nested: list[Any] = [
        *([], {}, [[]], [{}], [None], ["a", 1], {"": ""}, {"a": {"b": [1]}}, [[1], ["x"]], {"id": "1", "text": "t"}),
        *(name for name in _SPELLED if "list" in name or "object" in name),
    ]
    return draw.choice(scalars + nested)


def _walk(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        found += _walk(child, (*path, key))
    return found


def _change_value(value: Any, draw: random.Random) -> Any:
    paths = _walk(value)
    if not paths or draw.random() < 0.08:
        return odd_value(draw)
    *way, last = draw.choice(paths)
    inside = value
    for key in way:
        inside = inside[key]
    kind = draw.randrange(6)
    if kind == 0:
        del inside[last]
    elif kind == 1 and isinstance(inside, dict):
        inside[draw.choice([*ODD_TEXTS, "id", "text", "query", "label", "__class__", "format"])] = inside.pop(last)
    elif kind == 2 and isinstance(inside, list):
        inside.extend(inside * draw.choice((1, 50)))
    else:
        inside[last] = odd_value(draw)
    return value


def json_values(data: bytes, draw: random.Random) -> bytes:
    """Other values in the JSON of the file, or of one line of it."""

    def change(part: bytes) -> bytes:
        try:
            value = json.loads(part)
        except ValueError:
            return part
        if isinstance(value, dict) and draw.random() < 0.05:  # one key twice
            return b'{"id": 1, ' + part.strip()[1:]
        changed = _change_value(value, draw)
        return dumped(changed, ensure_ascii=draw.random() < 0.5)

    try:
        json.loads(data)
    except ValueError:
        return _in_a_line(data, draw, change)
    return change(data)


JSON: list[Change] = [json_values, json_values, json_values, *TEXT, *BYTES]


# --- YAML ---------------------------------------------------------------------------------------

LAUGHS = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n".encode()
    for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)
YAML_PIECES = [
    LAUGHS,
    *(b"!!python/object/apply:os.system ['true']\n", b"!!python/name:os.system\n", b"!!binary aGk=\n", b"!!set {a}\n"),
    *(
        b"&x *x\n",
        b"a: &x\n  b: *x\n",
        b"<<: *nobody\n",
        b"<<: {name: other}\n",
        b"? [a, b]\n: c\n",
        b"---\n",
        b"...\n",
    ),
    *(
        b"%YAML 9.9\n",
        b"\t- a\n",
        b"- " * 2000,
        b"[" * DEEP,
        b"{a: " * 5000,
        b"!<tag:x> y\n",
        b"*\n",
        b"&\n",
        b"@\n",
        b"`\n",
    ),
    *(
        b"key: |\n  {{ row.text\n",
        b"name: {{ '' }}\n",
        b"{% for a in b %}",
        b"2001-01-01\n",
        b"1:30:00\n",
        b"0o777\n",
        b".nan\n",
    ),
    b"name: " + b"x" * DEEP + b"\n",
]


def yaml_piece(data: bytes, draw: random.Random) -> bytes:
    lines = data.split(b"\n")
    at, piece = draw.randrange(len(lines)), draw.choice(YAML_PIECES)
    kind = draw.randrange(3)
    if kind == 0:
        lines.insert(at, piece.rstrip(b"\n"))
    elif kind == 1:
        head, colon, _ = lines[at].partition(b":")
        lines[at] = head + colon + b" " + piece.rstrip(b"\n")
    else:
        indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
        lines.insert(at, indent + piece.rstrip(b"\n"))
    return b"\n".join(lines)


def yaml_value(data: bytes, draw: random.Random) -> bytes:
    def change(line: bytes) -> bytes:
        head, colon, tail = line.partition(b":")
        odd = dumped(odd_value(draw))
        return draw.choice((head + colon + b" " + odd, tail + colon + head, b"  " + line, line.strip(), head))

    return _in_a_line(data, draw, change)


YAML: list[Change] = [yaml_piece, yaml_piece, yaml_value, yaml_value, *TEXT, *BYTES]


# --- compressed ---------------------------------------------------------------------------------


def packed(ending: str, inside: list[Change]) -> list[Change]:
    """Damage to what is inside of a compressed file, and to the file as it lies there."""

    def change(data: bytes, draw: random.Random) -> bytes:
        return pack(draw.choice(inside)(unpack(data, ending), draw)[:_MOST_INSIDE], ending)

    def members(data: bytes, draw: random.Random) -> bytes:
        return data + draw.choice((b"\0" * 64, b"garbage", data[:40], data, pack(b"", ending)))

    def bomb(data: bytes, draw: random.Random) -> bytes:
        return pack(draw.choice((b"\0", b" ", b"\n", b"[", b"{", b"x\n")) * (4 << 20), ending)

    return [*[change] * 4, members, bomb, *BYTES]


def pack(data: bytes, ending: str) -> bytes:
    if ending == ".gz":
        return gzip.compress(data, 1, mtime=0)
    return bytes(pa.Codec("zstd").compress(data, asbytes=True)) if ending == ".zst" else data


def unpack(data: bytes, ending: str) -> bytes:
    if ending in (".gz", ".zst"):
        with pa.input_stream(io.BytesIO(data), compression="gzip" if ending == ".gz" else "zstd") as stream:
            return bytes(stream.read())
    return data


# --- tables -------------------------------------------------------------------------------------


def _odd_column(rows: int, draw: random.Random) -> pa.Array:
    kinds: list[pa.DataType] = [
        *(
            pa.null(),
            pa.bool_(),
            pa.int8(),
            pa.uint64(),
            pa.float16(),
            pa.float64(),
            pa.date32(),
            pa.timestamp("ns", "UTC"),
        ),
        *(pa.time64("us"), pa.duration("s"), pa.decimal128(38, 3), pa.binary(), pa.binary(3), pa.string_view()),
        *(pa.large_binary(), pa.list_(pa.string()), pa.list_(pa.float32(), 2), pa.large_list(pa.list_(pa.int8()))),
        *(
            pa.struct([("a", pa.string()), ("b", pa.list_(pa.int8()))]),
            pa.map_(pa.string(), pa.int8()),
            pa.list_(pa.null()),
        ),
    ]
    kind = draw.choice([*kinds, pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.int64())])
    values: dict[str, Any] = {"string_view": "v", "dictionary<values=string, indices=int8, ordered=0>": "v"}
    value = values.get(str(kind))
    return pa.array([value] * rows, kind) if value else pa.nulls(rows, kind)


def change_table(table: pa.Table, draw: random.Random) -> pa.Table:
    """Other columns: another type, another name, gone, twice, null, other values; and other metadata."""
    at = draw.randrange(table.num_columns)
    name, column = table.column_names[at], table.column(at)
    kind = draw.randrange(9)
    if kind == 0:
        return table.drop_columns([name])
    if kind == 1:
        new = draw.choice([*ODD_TEXTS, *table.column_names, "id", "text", "vector", "label", "origin"])
        return table.rename_columns([new if each == name else each for each in table.column_names])
    if kind == 2:
        return table.set_column(at, name, _odd_column(table.num_rows, draw))
    if kind == 3:
        return table.add_column(0, draw.choice(table.column_names + ODD_TEXTS), _odd_column(table.num_rows, draw))
    if kind == 4:
        rows = [None if draw.random() < 0.3 else value for value in column.to_pylist()]
        return table.set_column(at, name, pa.array(rows, column.type))
    if kind == 5:
        return table.set_column(at, name, pa.array([str(value) for value in column.to_pylist()]))
    if kind == 6:
        return table.slice(draw.randrange(table.num_rows + 1), draw.randrange(3))
    if kind == 7 and table.num_rows:
        rows = table.to_pylist()
        rows[draw.randrange(len(rows))][name] = odd_scalar_like(rows[0][name], draw)
        return pa.Table.from_pylist(rows, table.schema)
    return _other_metadata(table, draw)


def odd_scalar_like(value: Any, draw: random.Random) -> Any:
    if isinstance(value, str):
        return draw.choice(ODD_TEXTS)
    if isinstance(value, float):
        return draw.choice((float("nan"), float("inf"), -1e30, 0.0))
    return draw.choice(([], [None])) if isinstance(value, list) else None


def _other_metadata(table: pa.Table, draw: random.Random) -> pa.Table:
    metadata = dict(table.schema.metadata or {})
    key = draw.choice([*metadata, b"pairmine"])
    before = metadata.get(key, b'{"format": 1, "lineage": []}')
    metadata[key] = draw.choice(JSON)(before or b"x", draw)
    return table.replace_schema_metadata(metadata)


def _of_table(data: bytes, draw: random.Random, read: Callable[[bytes], pa.Table], write: Callable[..., None]) -> bytes:
    table = read(data)
    for _ in range(draw.choice((1, 1, 2))):
        table = change_table(table, draw)
        if not table.num_columns:
            break
    out = io.BytesIO()
    write(table, out)
    return out.getvalue()


def parquet_table(data: bytes, draw: random.Random) -> bytes:
    def write(table: pa.Table, out: io.BytesIO) -> None:
        pq.write_table(table, out, store_schema=draw.random() < 0.7, row_group_size=draw.choice((1, 3, 1000)))

    return _of_table(data, draw, read_parquet, write)


def parquet_wide(data: bytes, draw: random.Random) -> bytes:
    """Ten thousand columns, row groups without rows, values nested deep."""
    out = io.BytesIO()
    kind = draw.randrange(3)
    if kind == 0:
        table = pa.table({f"c{number}": pa.nulls(1, pa.int8()) for number in range(2000)})
        pq.write_table(table, out)
    elif kind == 1:
        table = read_parquet(data)
        with pq.ParquetWriter(out, table.schema) as writer:
            for _ in range(50):
                writer.write_table(table.slice(0, 0))
            writer.write_table(table)
    else:
        deep: pa.DataType = pa.int8()
        for _ in range(draw.choice((20, 90))):
            deep = pa.list_(deep)
        table = read_parquet(data)
        pq.write_table(table.append_column("deep", pa.nulls(table.num_rows, deep)), out)
    return out.getvalue()


def parquet_footer(data: bytes, draw: random.Random) -> bytes:
    """The footer alone, or its length."""
    length = int.from_bytes(data[-8:-4], "little")
    body, foot = data[: -8 - length], data[-8 - length : -8]
    if draw.random() < 0.3:
        return data[:-8] + draw.choice(BORDERS)[:4].ljust(4, b"\0") + b"PAR1"
    changed = draw.choice(BYTES)(foot, draw)
    return body + changed + len(changed).to_bytes(4, "little") + b"PAR1"


PARQUET: list[Change] = [*[parquet_table] * 6, parquet_wide, *[parquet_footer] * 3, *BYTES]


def _read_ipc(raw: bytes) -> pa.Table:
    return (pa.ipc.open_file if raw.startswith(b"ARROW1") else pa.ipc.open_stream)(io.BytesIO(raw)).read_all()


def write_arrow(
    table: pa.Table, out: Any, *, as_file: bool, rows: int | None = None, ends: bytes | None = None
) -> None:
    """Arrow as pairmine writes it: `ends` is the lineage, in an empty batch at the end."""
    table = table.unify_dictionaries()
    with (pa.ipc.new_file if as_file else pa.ipc.new_stream)(out, table.schema) as writer:
        batches = table.to_batches(max_chunksize=rows) or [pa.RecordBatch.from_pylist([], table.schema)]
        for batch in batches:
            writer.write_batch(batch)
        if ends is not None:
            writer.write_batch(batches[-1].slice(0, 0), custom_metadata={b"pairmine": ends})


def arrow_table(data: bytes, draw: random.Random) -> bytes:
    def write(table: pa.Table, out: io.BytesIO) -> None:
        ends = (table.schema.metadata or {}).get(b"pairmine")
        as_file = data.startswith(b"ARROW1")
        write_arrow(
            table, out, as_file=as_file, rows=draw.choice((1, 3, None)), ends=ends if draw.random() < 0.9 else None
        )

    return _of_table(data, draw, _read_ipc, write)


ARROW: list[Change] = [*[arrow_table] * 4, *BYTES, *BYTES]


# --- matrices -----------------------------------------------------------------------------------


def npy_head(data: bytes, draw: random.Random) -> bytes:
    """Another head over the same bytes: other types, shapes that no disk holds, no literal at all."""
    kinds = ["<f4", "|O", "<f8", "<f2", ">f4", "|S3", "<U9", "<M8[s]", "|V8", "<i8", "|b1", "<c16", "<f16", "", "O", 7]
    kinds += [[("a", "<f4")], [("a", "|O")], ["<f4"], None]
    shapes: list[Any] = [
        (12, 4),
        (2**62, 4),
        (-1, 4),
        (0, 4),
        (4, 0),
        (12,),
        (),
        (1, 2, 3),
        (10**30, 2),
        "x",
        [12, 4],
        None,
    ]
    head = {"descr": draw.choice(kinds), "fortran_order": draw.choice((False, True, 1)), "shape": draw.choice(shapes)}
    text = repr(head)
    if draw.random() < 0.2:
        text = draw.choice(("(" * 5000, "{" + "'a': 1, " * 5000, "__import__('os')", "", "\0", "9" * 5000, "é"))
    version = draw.choice((1, 1, 2, 3, 9))
    size = (2 if version == 1 else 4, len(text) if draw.random() < 0.9 else 2**15)
    return b"\x93NUMPY" + bytes([version, 0]) + size[1].to_bytes(size[0], "little") + text.encode() + data[128:]


def npy_array(data: bytes, draw: random.Random) -> bytes:
    """Another array, pickled objects and archives among them."""
    out = io.BytesIO()
    made = draw.randrange(6)
    if made == 0:
        np.save(out, np.array([{"a": 1}, [2]], dtype=object), allow_pickle=True)
    elif made == 1:
        np.savez(out, a=np.zeros((2, 2)))
    elif made == 2:
        np.save(out, np.full((12, 4), draw.choice((np.nan, np.inf, 0.0, 1e-40, 1e39)), draw.choice(("f4", "f8"))))
    elif made == 3:
        np.save(out, np.asfortranarray(np.ones((12, 4), "f4")))
    elif made == 4:
        np.save(out, np.array(["a", "b"]))
    else:
        np.save(out, np.ones((draw.randrange(20), draw.randrange(9)), draw.choice(("f2", "f4", "i4", "c8"))))
    return out.getvalue()


NPY: list[Change] = [npy_head, npy_head, npy_array, *BYTES]


# --- what stands in a file's place --------------------------------------------------------------

PLACES = ("empty", "one byte", "folder", "pipe", "loop", "zeros", "full", "nobody", "unreadable", "socket", "other")


def put_in_place(path: Path, what: str, draw: random.Random) -> None:
    """Have something else stand where the file was: a folder, a pipe, a device, a link to itself, nothing."""
    data = path.read_bytes()
    path.unlink()
    if what == "empty":
        path.write_bytes(b"")
    elif what == "one byte":
        path.write_bytes(draw.randbytes(1))
    elif what == "folder":
        path.mkdir()
        if draw.random() < 0.5:
            (path / path.name).write_bytes(data)
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "loop":
        path.symlink_to(path.name)
    elif what in ("zeros", "full"):
        path.symlink_to("/dev/zero" if what == "zeros" else "/dev/full")
    elif what == "nobody":
        path.symlink_to("/proc/self/mem")
    elif what == "socket":
        os.mknod(path, 0o140644)
    elif what == "unreadable":
        path.symlink_to("x" * 250)
    else:
        path.write_bytes(draw.choice(MAGICS) + draw.randbytes(draw.randrange(200)))


# --- pairmine's own files -----------------------------------------------------------------------


def read_parquet(data: bytes) -> pa.Table:
    """A Parquet file with the metadata of the file, which `pq.read_table` leaves out."""
    return pq.ParquetFile(io.BytesIO(data)).read()


def lineage(data: bytes, draw: random.Random) -> bytes:
    """Another lineage in the metadata of a Parquet file."""
    table = read_parquet(data)
    metadata = dict(table.schema.metadata or {})
    metadata[b"pairmine"] = draw.choice([json_values] * 4 + TEXT + BYTES)(metadata[b"pairmine"], draw)
    out = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), out)
    return out.getvalue()


def arrays_foot(data: bytes, draw: random.Random) -> bytes:
    """The foot of a file of arrays, which says where each lies, with a tail that fits it."""
    length = int.from_bytes(data[-16:-8], "little")
    body, foot = data[: -16 - length], data[-16 - length : -16]
    changed = draw.choice([json_values] * 4 + BYTES)(foot, draw)
    return body + changed + len(changed).to_bytes(8, "little") + data[-8:]
