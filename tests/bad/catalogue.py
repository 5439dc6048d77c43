"""Bad inputs of every kind: what each is, how it is made, the command that reads it, and the line that tells of it.

Where a line names a place, FILE:LINE counts lines from 1, `row N` those of a table.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from bad.making import (
    DOCUMENTS,
    PAIRS,
    Make,
    arrow,
    both,
    corpus,
    directory,
    files,
    head,
    lines,
    link,
    named,
    pairs,
    parquet,
    pipe,
    table,
    vectors,
    with_pairs,
    zipped,
)


class Bad(NamedTuple):
    """`line` is what stands on stderr behind "pairmine: "; {deep} stands for what is nested too deep."""

    what: str
    make: Make
    command: str
    line: str
    code: int = 2


_CONVERT = "convert corpus.jsonl -o out.parquet"
_MINE = "mine pairs.jsonl --corpus corpus.jsonl -o out.parquet --retriever"
_NPY = f"{_MINE} npy:docs.npy,queries.npy --no-feedback"
_LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
_DEEP = b"[" * 100_000 + b"]" * 100_000
_RECIPE = "recipes own.yaml"
_INDEX = {"holds": "documents that dedup kept", "format": 1, "settings": {}, "segments": []}
_KEY = "ab" * 20
_ENTRY = {
    **{"key": _KEY, "recipe": "r", "model": "m", "backend": "b", "finish_reason": "stop", "served_by": "m"},
    **{"created": 1, "prompt_tokens": 1, "completion_tokens": 1, "cached_tokens": 0, "text": "t"},
}
_MATRIX = np.eye(3, dtype=np.float32)
_TWO_SIDES = pa.table({"id": ["d1", "d2"], "text": ["one", "two"]})

BAD = [
    # --- JSON ---
    Bad(
        "a line that is no JSON",
        corpus(b"{'id': 'd2'}"),
        _CONVERT,
        (
            "corpus.jsonl:2: not valid JSON (unexpected character, expected a string key); one object to a "
            "line, mend or remove the line"
        ),
    ),
    Bad(
        "a line that is torn",
        corpus(b'{"id": "d2", "text": "Snow'),
        _CONVERT,
        ("corpus.jsonl:2: not valid JSON (unexpected end of data); one object to a line, mend or remove the line"),
    ),
    Bad(
        "a line that is a list",
        corpus([1, 2]),
        _CONVERT,
        (
            'corpus.jsonl:2: a JSON object belongs here, found a list; write rows as {"id": ..., "text": '
            "...}, one to a line"
        ),
    ),
    Bad(
        "a line that is a number",
        corpus(b"7"),
        _CONVERT,
        (
            'corpus.jsonl:2: a JSON object belongs here, found a number; write rows as {"id": ..., "text": '
            "...}, one to a line"
        ),
    ),
    Bad(
        "a text that is a number",
        corpus({"id": "d2", "text": 7}),
        _CONVERT,
        ('corpus.jsonl:2: "text" is a number, but a string at corpus.jsonl:1; write all of them as one type'),
    ),
    Bad(
        "a text that is null",
        corpus({"id": "d2", "text": None}),
        _CONVERT,
        'corpus.jsonl:2: "text" is null; give the row a value or remove it',
    ),
    Bad(
        "a row without its text",
        corpus({"id": "d2", "body": "Snow"}),
        _CONVERT,
        'corpus.jsonl:2: no "text" (found: id, body); pass --text-column body, or mend the row',
    ),
    Bad(
        "no text in any row",
        named({"corpus.jsonl": lines({"id": "d1", "words": "x"})}),
        _CONVERT,
        'corpus.jsonl:1: no "text" (found: id, words); pass --text-column words',
    ),
    Bad(
        "an id that is a list",
        named({"corpus.jsonl": lines({"id": ["d1"], "text": "x"})}),
        _CONVERT,
        'corpus.jsonl:1: "id" holds a list; an id is text or a whole number',
    ),
    Bad(
        "an id that is empty",
        corpus({"id": "", "text": "x"}),
        _CONVERT,
        'corpus.jsonl:2: "id" is empty; give every row an id, or drop the column',
    ),
    Bad(
        "one id with two texts",
        corpus({"id": "d1", "text": "x"}),
        _CONVERT,
        (
            'corpus.jsonl:2: id "d1" stands at corpus.jsonl:1 with another text; give each document an id of '
            "its own, or drop the id column to have ids made from the texts"
        ),
    ),
    Bad(
        "a value nested 100,000 deep",
        corpus(b'{"id": "d2", "text": "x", "more": ' + _DEEP + b"}"),
        _CONVERT,
        ("corpus.jsonl:2: not valid JSON (depth limit exceeded); one object to a line, mend or remove the line"),
    ),
    Bad(
        "a line nested 100,000 deep",
        corpus(_DEEP),
        _CONVERT,
        ("corpus.jsonl:2: not valid JSON (depth limit exceeded); one object to a line, mend or remove the line"),
    ),
    Bad(
        "NaN",
        corpus(b'{"id": "d2", "text": "x", "score": NaN}'),
        _CONVERT,
        (
            "corpus.jsonl:2: not valid JSON (unexpected character, expected a JSON value); one object to a "
            "line, mend or remove the line"
        ),
    ),
    Bad(
        "a number beyond all bounds",
        corpus(b'{"id": "d2", "text": "x", "n": 1' + b"0" * 400 + b"}"),
        _CONVERT,
        (
            "corpus.jsonl:2: not valid JSON (number is infinity when parsed as double); one object to a "
            "line, mend or remove the line"
        ),
    ),
    Bad(
        "half an emoji",
        corpus(b'{"id": "d2", "text": "\\ud83d"}'),
        _CONVERT,
        ("corpus.jsonl:2: not valid JSON (no low surrogate in string); one object to a line, mend or remove the line"),
    ),
    Bad(
        "a zero byte",
        corpus(b'{"id": "d2", "text": "\0"}'),
        _CONVERT,
        (
            "corpus.jsonl:2: not valid JSON (unexpected control character in string); one object to a line, "
            "mend or remove the line"
        ),
    ),
    Bad(
        "bytes that are no UTF-8",
        corpus(b'{"id": "d2", "text": "caf\xe9"}'),
        _CONVERT,
        (
            "corpus.jsonl:2: not UTF-8 (byte 0xe9, number 26 of the line); convert it first, for example: "
            "iconv -f latin1 -t utf-8"
        ),
    ),
    Bad(
        "an overlong zero",
        corpus(b'{"id": "d2", "text": "\xc0\x80"}'),
        _CONVERT,
        (
            "corpus.jsonl:2: not UTF-8 (byte 0xc0, number 23 of the line); convert it first, for example: "
            "iconv -f latin1 -t utf-8"
        ),
    ),
    Bad(
        "UTF-16",
        named({"corpus.jsonl": '{"id": "d1", "text": "x"}'.encode("utf-16")}),
        _CONVERT,
        (
            "corpus.jsonl:1: not UTF-8 (byte 0xff, number 1 of the line); convert it first, for example: "
            "iconv -f utf-16 -t utf-8"
        ),
    ),
    Bad(
        "a type that changes",
        corpus({"id": "d2", "text": "x", "n": 1}, {"id": "d3", "text": "y", "n": "one"}),
        _CONVERT,
        'corpus.jsonl:3: "n" is a string, but a number at corpus.jsonl:2; write all of them as one type',
    ),
    Bad(
        "a list of several types",
        corpus({"id": "d2", "text": "x", "n": [1, "a"]}),
        _CONVERT,
        (
            'corpus.jsonl:2: "n" holds lists or objects whose values differ in type from row to row; write '
            "all of them alike"
        ),
    ),
    Bad(
        "a JSON array that breaks off",
        named({"corpus.json": b'[{"id": "d1", "text": "x"},'}),
        "convert corpus.json -o out.parquet",
        (
            "corpus.json: not valid JSON (unexpected end of data: line 1 column 28 (char 27)); mend it, or "
            "write one object to a line"
        ),
    ),
    Bad(
        "a JSON array of texts",
        named({"corpus.json": b'["a", "b"]'}),
        "convert corpus.json -o out.parquet",
        (
            'corpus.json element 1: a JSON object belongs here, found a string; write rows as {"id": ..., '
            '"text": ...}, one to a line'
        ),
    ),
    Bad(
        "a JSON object over several lines",
        named({"corpus.json": b'{\n"id": 1\n}\n'}),
        "convert corpus.json -o out.parquet",
        ("corpus.json:1: not valid JSON (unexpected end of data); one object to a line, mend or remove the line"),
    ),
    # --- what is no file ---
    Bad(
        "an empty file",
        named({"corpus.jsonl": b""}),
        _CONVERT,
        "corpus.jsonl: the file is empty; write it again or name another",
    ),
    Bad(
        "blank lines alone",
        named({"corpus.jsonl": b"\n \n"}),
        _CONVERT,
        "corpus.jsonl: no rows in it; a corpus needs at least one, name another",
    ),
    Bad(
        "one byte",
        named({"corpus.jsonl": b"{"}),
        _CONVERT,
        ("corpus.jsonl:1: not valid JSON (unexpected end of data); one object to a line, mend or remove the line"),
    ),
    Bad("no file", named({}), _CONVERT, "corpus.jsonl: no such file or folder"),
    Bad(
        "a folder in its place",
        directory("corpus.jsonl"),
        _CONVERT,
        (
            "corpus.jsonl: a folder without shards (found: nothing); name a folder or file with data in it "
            "(.arrow, .csv, .feather, .ipc, .json, .jsonl, .ndjson, .parquet, .pq, .tsv, .txt), or a BEIR "
            "folder with corpus.jsonl"
        ),
    ),
    Bad(
        "a pipe in its place",
        pipe("corpus.jsonl"),
        _CONVERT,
        "corpus.jsonl: not a regular file; pipe it into 'pairmine' and name the input -",
    ),
    Bad(
        "a device in its place",
        link("corpus.jsonl", "/dev/zero"),
        _CONVERT,
        "corpus.jsonl: not a regular file; pipe it into 'pairmine' and name the input -",
    ),
    Bad(
        "a link to itself",
        link("corpus.jsonl", "corpus.jsonl"),
        _CONVERT,
        "corpus.jsonl: too many levels of symbolic links",
    ),
    Bad(
        "an ending that says nothing",
        named({"corpus.dat": b"x"}),
        "convert corpus.dat -o out.parquet",
        (
            "corpus.dat: the ending says no format; known: .arrow, .csv, .feather, .ipc, .json, .jsonl, "
            ".ndjson, .parquet, .pq, .tsv, .txt, with .gz or .zst for the text ones"
        ),
    ),
    Bad(
        "bz2",
        named({"corpus.jsonl.bz2": b"BZh9"}),
        "convert corpus.jsonl.bz2 -o out.parquet",
        (
            "corpus.jsonl.bz2: the ending says no format; known: .arrow, .csv, .feather, .ipc, .json, "
            ".jsonl, .ndjson, .parquet, .pq, .tsv, .txt, with .gz or .zst for the text ones"
        ),
    ),
    Bad(
        "xz",
        named({"corpus.jsonl.xz": b"\xfd7zXZ\0"}),
        "convert corpus.jsonl.xz -o out.parquet",
        (
            "corpus.jsonl.xz: the ending says no format; known: .arrow, .csv, .feather, .ipc, .json, .jsonl, "
            ".ndjson, .parquet, .pq, .tsv, .txt, with .gz or .zst for the text ones"
        ),
    ),
    Bad(
        "a name with a line end in it",
        named({"a\nb.jsonl": b"x"}),
        "convert a\nb.jsonl -o out.parquet",
        (
            "a\\nb.jsonl:1: not valid JSON (unexpected character, expected a JSON value); one object to a "
            "line, mend or remove the line"
        ),
    ),
    Bad(
        "a folder of several formats",
        named({"in/a.jsonl": b"{}", "in/b.csv": b"x"}),
        "convert in -o out.parquet",
        "in: holds shards of several formats (csv, jsonl); name one file, or keep one format to a folder",
    ),
    # --- compressed ---
    Bad(
        "gzip that breaks off",
        named({"corpus.jsonl.gz": zipped(lines(*DOCUMENTS) * 9)[:-20]}),
        "convert corpus.jsonl.gz -o out.parquet",
        "corpus.jsonl.gz: the gzip file is truncated or damaged; fetch or write it again",
    ),
    Bad(
        "gzip with a wrong checksum",
        named({"corpus.jsonl.gz": zipped(lines(*DOCUMENTS))[:-8] + bytes(8)}),
        "convert corpus.jsonl.gz -o out.parquet",
        "corpus.jsonl.gz: the gzip file is truncated or damaged; fetch or write it again",
    ),
    Bad(
        "text named .gz",
        named({"corpus.jsonl.gz": lines(*DOCUMENTS)}),
        "convert corpus.jsonl.gz -o out.parquet",
        "corpus.jsonl.gz: holds text that is not compressed; rename it to corpus.jsonl",
    ),
    Bad(
        "gzip named .jsonl",
        named({"corpus.jsonl": zipped(lines(*DOCUMENTS))}),
        _CONVERT,
        "corpus.jsonl: holds gzip data; rename it to corpus.jsonl.gz",
    ),
    Bad(
        "gzip named .zst",
        named({"corpus.jsonl.zst": zipped(lines(*DOCUMENTS))}),
        "convert corpus.jsonl.zst -o out.parquet",
        "corpus.jsonl.zst: holds gzip data, not zstd; rename it to corpus.jsonl.gz",
    ),
    Bad(
        "zstd that is none",
        named({"corpus.jsonl.zst": b"\x28\xb5\x2f\xfd" + bytes(20)}),
        "convert corpus.jsonl.zst -o out.parquet",
        "corpus.jsonl.zst: the zstd file is truncated or damaged; fetch or write it again",
    ),
    Bad(
        "zeros in gzip",
        named({"corpus.jsonl.gz": zipped(bytes(4 << 20))}),
        "convert corpus.jsonl.gz -o out.parquet",
        (
            "corpus.jsonl.gz:1: not valid JSON (unexpected character, expected a JSON value); one object to "
            "a line, mend or remove the line"
        ),
    ),
    # --- CSV, TSV, lines ---
    Bad(
        "a CSV line with a field too many",
        named({"t.csv": "id,text\nd1,a\nd2,b,c\n"}),
        "convert t.csv -o out.parquet",
        "t.csv:3: 3 fields where the header has 2 (id, text); mend the line or its quotes",
    ),
    Bad(
        "a quote that is not closed",
        named({"t.csv": 'id,text\nd1,"a\n'}),
        "convert t.csv -o out.parquet",
        "t.csv:2: not valid CSV (unexpected end of data); close the quote that is left open, or mend the line",
    ),
    Bad(
        "a header with a name twice",
        named({"t.csv": "id,id\nd1,a\n"}),
        "convert t.csv -o out.parquet",
        ('t.csv:1: the header has "id" twice; the first line must name every column, or be left out for --columns'),
    ),
    Bad(
        "a header with an empty name",
        named({"t.csv": "id,\nd1,a\n"}),
        "convert t.csv -o out.parquet",
        (
            "t.csv:1: the header has a column without a name; the first line must name every column, or be "
            "left out for --columns"
        ),
    ),
    Bad(
        "semicolons",
        named({"t.csv": "id;text\nd1;a\n"}),
        "convert t.csv -o out.parquet",
        (
            "t.csv:1: the header is one column, 'id;text', and seems to be separated by semicolons; write it "
            "with commas, or name the file by what it holds"
        ),
    ),
    Bad(
        "a CSV without a header",
        named({"t.csv": "d1,It rained.\n"}),
        "convert t.csv -o out.parquet",
        (
            't.csv: no "text" (found: d1, It rained.); pass --text-column d1; its first line must name the '
            "columns, or --columns where it is no header"
        ),
    ),
    Bad(
        "Latin-1 in a TSV",
        named({"t.tsv": b"id\ttext\nd1\tcaf\xe9\n"}),
        "convert t.tsv -o out.parquet",
        (
            "t.tsv:2: not UTF-8 (byte 0xe9, number 7 of the line); convert it first, for example: iconv -f "
            "latin1 -t utf-8"
        ),
    ),
    Bad(
        "fewer fields than names",
        named({"t.tsv": "d1\ta\nd2\n"}),
        "convert t.tsv --columns id,text -o out.parquet",
        "t.tsv:2: 1 field where --columns names 2 (id, text); mend the line, or the names",
    ),
    Bad(
        "a name twice in --columns",
        named({"t.tsv": "d1\ta\n"}),
        "convert t.tsv --columns id,id -o out.parquet",
        '--columns id,id: "id" comes twice; give every column a name of its own',
    ),
    # --- Parquet and Arrow ---
    Bad(
        "Parquet that breaks off",
        parquet("c.parquet", _TWO_SIDES, lambda data: data[:-20]),
        "convert c.parquet -o out.jsonl",
        (
            "c.parquet: not a whole Parquet file (Parquet magic bytes not found in footer. Either the file "
            "is corrupted or this is not a parquet file); it may be truncated, write or fetch it again"
        ),
    ),
    Bad(
        "Parquet without its footer",
        parquet("c.parquet", _TWO_SIDES, lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1"),
        "convert c.parquet -o out.jsonl",
        (
            "c.parquet: not a whole Parquet file (Parquet file size is 649 bytes, smaller than the size "
            "reported by footer's (2147483647bytes)); it may be truncated, write or fetch it again"
        ),
    ),
    Bad(
        "Parquet named .arrow",
        parquet("c.arrow", _TWO_SIDES),
        "convert c.arrow -o out.jsonl",
        "c.arrow: holds parquet data, not arrow; rename it to c.parquet",
    ),
    Bad(
        "text named .parquet",
        named({"c.parquet": lines(*DOCUMENTS)}),
        "convert c.parquet -o out.jsonl",
        (
            "c.parquet: not a whole Parquet file (Parquet magic bytes not found in footer. Either the file "
            "is corrupted or this is not a parquet file); it may be truncated, write or fetch it again"
        ),
    ),
    Bad(
        "a text that is no UTF-8 in Parquet",
        parquet("c.parquet", _TWO_SIDES, lambda data: data.replace(b"two", b"tw\xff")),
        "convert c.parquet -o out.jsonl",
        'c.parquet: "text" holds bytes that are no UTF-8; write its texts again',
    ),
    Bad(
        "an id that is no UTF-8 in Parquet",
        parquet("c.parquet", _TWO_SIDES, lambda data: data.replace(b"d2", b"d\xff")),
        "convert c.parquet -o out.jsonl",
        'c.parquet: "id" holds bytes that are no UTF-8; write its texts again',
    ),
    Bad(
        "texts that are lists in Parquet",
        parquet("c.parquet", pa.table({"id": ["a"], "text": [["x"]]})),
        "convert c.parquet -o out.jsonl",
        'c.parquet: row 1: "text" is a list where a string belongs; write it as one',
    ),
    Bad(
        "Parquet without rows",
        parquet("c.parquet", _TWO_SIDES.slice(0, 0)),
        "convert c.parquet -o out.jsonl",
        "c.parquet: no rows in it; a corpus needs at least one, name another",
    ),
    Bad(
        "Arrow that breaks off",
        arrow("c.arrow", _TWO_SIDES, lambda data: data[:-60]),
        "convert c.arrow -o out.jsonl",
        ("c.arrow: not a whole Arrow file (Not an Arrow file); it may be truncated, write or fetch it again"),
    ),
    Bad(
        "two columns of one name",
        arrow("c.arrow", pa.table([["a"], ["b"]], ["id", "id"])),
        "convert c.arrow -o out.jsonl",
        'c.arrow: two columns are named "id"; rename one of them',
    ),
    Bad(
        "Arrow whose ends of texts are damaged",
        arrow(
            "c.arrow",
            pa.table({"id": ["d1"], "text": ["some text here"]}),
            lambda data: data.replace(bytes(4) + b"\x0e\0\0\0some", bytes(4) + b"\xff\xff\xff\x7fsome"),
        ),
        "convert c.arrow -o out.jsonl",
        (
            "c.arrow: not a whole Arrow file (Column 1: In chunk 0: Invalid: Length spanned by binary "
            "offsets (2147483647) larger than values array (size 14)); it may be truncated, write or fetch "
            "it again"
        ),
    ),
    # --- lineage and marks ---
    Bad(
        "a lineage that is no JSON",
        parquet("p.parquet", pa.Table.from_pylist(PAIRS).replace_schema_metadata({b"pairmine": b"{"})),
        "info p.parquet",
        "p.parquet: its pairmine metadata is damaged; write the file again",
    ),
    Bad(
        "a lineage of a newer pairmine",
        parquet("p.parquet", table(PAIRS, {"format": 99, "lineage": []})),
        "info p.parquet",
        "p.parquet: written by a newer pairmine (format 99, this one reads 1); upgrade pairmine",
    ),
    Bad(
        "a lineage of texts",
        parquet("p.parquet", table(PAIRS, {"format": 1, "lineage": ["mine"]})),
        "info p.parquet",
        "p.parquet: its pairmine metadata is damaged; write the file again",
    ),
    Bad(
        "a lineage that names a stage to come",
        parquet(
            "p.parquet",
            table(PAIRS, {"format": 1, "lineage": [{"command": "mine", "inputs": [{"role": "pairs", "stage": 9}]}]}),
        ),
        "info p.parquet",
        "p.parquet: its pairmine metadata is damaged; write the file again",
    ),
    Bad(
        "a folder whose part is missing",
        named(
            {
                "in/.pairmine.json": json.dumps({"format": 1, "files": ["b.jsonl"], "rows": [1], "lineage": []}),
                "in/a.jsonl": lines(*PAIRS),
            }
        ),
        "filter in -o out.parquet",
        (
            "in: b.jsonl is missing, one of the 1 parts that were written there; put it back, or run again "
            "what wrote them"
        ),
    ),
    # --- pair sets ---
    Bad(
        "a label of 2",
        named({"p.jsonl": lines({**PAIRS[0], "label": 2})}),
        "filter p.jsonl -o out.parquet",
        ('p.jsonl:1: "label" holds 2; write 1, 0 or null, and graded judgments as "grade" (0 to 1)'),
    ),
    Bad(
        "a pair without a document",
        named({"p.jsonl": lines({"query": "rain"})}),
        "filter p.jsonl -o out.parquet",
        (
            'p.jsonl: no "document" and no "doc_id" (found: query); \'pairmine convert --as pairs\' reads '
            "files of trainers, and takes --document-column NAME or --doc-id-column NAME"
        ),
    ),
    Bad(
        "negatives without a positive",
        named({"p.jsonl": lines({"query": "rain", "negative": "sun"})}),
        "filter p.jsonl -o out.parquet",
        'p.jsonl: no "positive" or "pos" (found: query, negative); name the column so',
    ),
    Bad(
        "a text where a list belongs",
        named({"p.jsonl": lines({"query": "rain", "pos": "wet", "neg": ["dry"]})}),
        "filter p.jsonl -o out.parquet",
        'p.jsonl:1: "pos" is a string where a list belongs; write it as ["..."]',
    ),
    Bad(
        "a list of numbers",
        named({"p.jsonl": lines({"query": "rain", "pos": [1], "neg": ["dry"]})}),
        "filter p.jsonl -o out.parquet",
        'p.jsonl:1: "pos" must be a list of strings',
    ),
    Bad(
        "a score that is a word",
        named({"p.jsonl": lines({**PAIRS[0], "score_ce": "high"})}),
        "filter p.jsonl -o out.parquet",
        "p.jsonl:1: \"score_ce\" holds 'high', which is no number; mend the value, or leave it out",
    ),
    Bad(
        "a document with two texts",
        named({"p.jsonl": lines(PAIRS[0], {**PAIRS[0], "document": "x"})}),
        "filter p.jsonl -o out.parquet",
        (
            'p.jsonl: doc_id "d1" has one text in row 1 and another in row 2; give each text an id of its '
            "own, or drop the column to have ids made from texts"
        ),
    ),
    # --- BEIR, judgments, runs ---
    Bad(
        "a BEIR folder without judgments",
        files(beir_in_corpus__jsonl=lines(*DOCUMENTS), beir_in_queries__jsonl=lines({"_id": "q1", "text": "rain"})),
        "convert beir --as pairs -o out.parquet",
        "beir: a BEIR folder without judgments; expected qrels/NAME.tsv or qrels.tsv",
    ),
    Bad(
        "a judgment of a document that is not there",
        files(
            beir_in_corpus__jsonl=lines(*DOCUMENTS),
            beir_in_queries__jsonl=lines({"_id": "q1", "text": "rain"}),
            beir_in_qrels__tsv="query-id\tcorpus-id\tscore\nq1\td9\t1\n",
        ),
        "convert beir --as pairs -o out.parquet",
        (
            "beir/qrels.tsv: 1 of 1 judgments name a document that beir/corpus.jsonl does not have, the "
            'first of them "d9"; take these out, or put what they name there'
        ),
    ),
    Bad(
        "a grade that is a word",
        files(
            beir_in_corpus__jsonl=lines(*DOCUMENTS),
            beir_in_queries__jsonl=lines({"_id": "q1", "text": "rain"}),
            beir_in_qrels__tsv="query-id\tcorpus-id\tscore\nq1\td1\tgood\n",
        ),
        "convert beir --as pairs -o out.parquet",
        "beir/qrels.tsv:2: \"score\" holds 'good', which is no number; mend the value, or leave it out",
    ),
    Bad(
        "a line that is no judgment",
        with_pairs(known__trec="q1 0 d1 1\nq1 d2\n"),
        f"{_MINE} bm25 --known known.trec",
        'known.trec:2: "q1 d2" is no judgment as the first line is; write query, 0, document and grade',
    ),
    Bad(
        "a run with a word for a score",
        with_pairs(run__trec="q1 Q0 d1 1 best tag\n"),
        f"{_MINE} run:run.trec",
        (
            'run.trec:1: the score "best" is no number; write each line as "query Q0 document rank score tag", "query '
            'document score" or "query document rank"'
        ),
    ),
    Bad(
        "a run with a line too short",
        with_pairs(run__trec="q1 Q0 d1 1 2.0 tag\nq1 Q0 d2\n"),
        f"{_MINE} run:run.trec",
        (
            'run.trec:2: 3 columns, and the first line has 6; write each line as "query Q0 document rank score tag", '
            '"query document score" or "query document rank"'
        ),
    ),
    Bad(
        "a run of other ids",
        with_pairs(run__trec="x Q0 y 1 2.0 tag\n"),
        f"{_MINE} run:run.trec",
        (
            'run.trec: none of its queries are known: it has "x", and known is "q1"; ids in a run must be '
            "those of the pair set and the corpus"
        ),
    ),
    Bad(
        "a run with an endless score",
        with_pairs(run__trec="q1 Q0 d1 1 inf tag\n"),
        f"{_MINE} run:run.trec",
        "run.trec: line 1: a score that is no finite number; mend or remove the line",
    ),
    # --- vectors ---
    Bad(
        "vectors that are pickled objects",
        vectors(np.array([{"a": 1}, 2, 3], dtype=object)),
        _NPY,
        (
            "docs.npy: cannot be read as vectors (Array can't be memory-mapped: Python objects in dtype); "
            "write it by numpy.save"
        ),
    ),
    Bad(
        "vectors of a shape that no disk holds",
        vectors(head("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 3)}\n")),
        _NPY,
        (
            "docs.npy: cannot be read as vectors (array is too big; `arr.size * arr.dtype.itemsize` is "
            "larger than the maximum possible size); write it by numpy.save"
        ),
    ),
    Bad(
        "vectors of a negative shape",
        vectors(head("{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 3)}\n")),
        _NPY,
        ("docs.npy: cannot be read as vectors (negative dimensions are not allowed); write it by numpy.save"),
    ),
    Bad(
        "an archive of arrays",
        vectors(b"PK\x03\x04" + bytes(60)),
        _NPY,
        "docs.npy: cannot be read as vectors (no array of numpy in it); write it by numpy.save",
    ),
    Bad(
        "vectors that are whole numbers",
        vectors(np.eye(3, dtype=np.int32)),
        _NPY,
        (
            "docs.npy: vectors are a matrix (n, dim) of float16, float32 or float64, and this is int32 (3, "
            "3); write it so"
        ),
    ),
    Bad(
        "vectors stored column by column",
        vectors(np.asfortranarray(np.arange(9, dtype=np.float32).reshape(3, 3))),
        _NPY,
        "docs.npy: is stored column by column; write it by numpy.save(numpy.ascontiguousarray)",
    ),
    Bad(
        "a vector that is not finite",
        vectors(_MATRIX * np.array([[1], [np.nan], [1]], np.float32)),
        _NPY,
        'docs.npy: the vector of "d2" is not finite; it cannot be compared, leave it out',
    ),
    Bad(
        "a vector of zeros",
        vectors(_MATRIX * np.array([[1], [0], [1]], np.float32)),
        _NPY,
        'docs.npy: the vector of "d2" is zero; it cannot be compared, leave it out',
    ),
    Bad(
        "vectors without ids",
        vectors(_MATRIX, None),
        _NPY,
        "docs.npy: has no ids; put them beside it in docs.ids.txt, one to a line in its order",
    ),
    Bad(
        "too few ids",
        vectors(_MATRIX, "d1\n"),
        _NPY,
        "docs.ids.txt: 1 ids for 3 vectors in docs.npy; one for each is wanted",
    ),
    Bad(
        "one id twice",
        vectors(_MATRIX, "d1\nd1\nd2\n"),
        _NPY,
        'docs.npy: row 2 is a second vector with the id "d1"; remove one of them',
    ),
    # --- labels, replies, ledgers, indexes, stores ---
    Bad(
        "a line that is no label",
        with_pairs(labels__jsonl='{"query_id": "q1"}\n{"query_id": "q1", "doc_id": "d1", "label": 1}\n'),
        "calibrate scored.jsonl --labels labels.jsonl",
        (
            'labels.jsonl:1: is no label; write {"query_id": "q1", "doc_id": "d7", "label": 1}, with 1, '
            "0 or null for a label"
        ),
    ),
    Bad(
        "labels nested 100,000 deep",
        with_pairs(labels__jsonl=_DEEP + b'\n{"query_id": "q1", "doc_id": "d1", "label": 1}\n'),
        "calibrate scored.jsonl --labels labels.jsonl",
        (
            'labels.jsonl:1: is no label; write {"query_id": "q1", "doc_id": "d7", "label": 1}, with 1, '
            "0 or null for a label"
        ),
    ),
    Bad(
        "a pipe in the place of labels",
        both(pairs, pipe("labels.jsonl")),
        "calibrate scored.jsonl --labels labels.jsonl",
        "labels.jsonl: not a regular file; put what it holds into one and name that",
    ),
    Bad(
        "an entry without its text",
        named({"r.jsonl": lines({**_ENTRY, "text": None})}),
        "ledger import r.jsonl --ledger l.sqlite",
        (
            'r.jsonl:1: no entry of a ledger (no "text", found: key, recipe, model, backend, finish_reason, '
            "served_by, created, prompt_tokens, completion_tokens, cached_tokens); give it what 'pairmine "
            "ledger export' wrote"
        ),
    ),
    Bad(
        "an entry with another key",
        named({"r.jsonl": lines({**_ENTRY, "key": "xyz"})}),
        "ledger import r.jsonl --ledger l.sqlite",
        (
            "r.jsonl:1: no entry of a ledger (\"key\" is 'xyz', not 40 hex digits); give it what 'pairmine "
            "ledger export' wrote"
        ),
    ),
    Bad(
        "an entry with a negative count",
        named({"r.jsonl": lines({**_ENTRY, "created": -1})}),
        "ledger import r.jsonl --ledger l.sqlite",
        "r.jsonl:1: no entry of a ledger (\"created\" is '-1'); give it what 'pairmine ledger export' wrote",
    ),
    Bad(
        "a ledger that is none",
        named({"l.sqlite": b"nothing of the kind" * 99}),
        "ledger info --ledger l.sqlite",
        "l.sqlite: not an sqlite file, no ledger of pairmine's; name another file with --ledger",
    ),
    Bad(
        "an index with a torn manifest",
        both(pairs, named({"index/manifest.json": json.dumps(_INDEX)[:-5]})),
        "dedup corpus.jsonl --index index -o out.parquet",
        "index: its manifest.json is damaged or none of an index; name another folder",
    ),
    Bad(
        "an index with an empty manifest",
        both(pairs, named({"index/manifest.json": ""})),
        "dedup corpus.jsonl --index index -o out.parquet",
        "index: its manifest.json is damaged or none of an index; name another folder",
    ),
    Bad(
        "an index with a segment that leads elsewhere",
        both(
            pairs,
            named(
                {
                    "index/manifest.json": json.dumps(
                        {**_INDEX, "segments": [{"name": "../x", "rows": 1, "sources": []}]}
                    )
                }
            ),
        ),
        "dedup corpus.jsonl --index index -o out.parquet",
        "index: its manifest.json is damaged or none of an index; name another folder",
    ),
    Bad(
        "an index that was made otherwise",
        both(
            pairs,
            named(
                {
                    "index/manifest.json": json.dumps(
                        {**_INDEX, "segments": [{"name": "segment-00001", "rows": 1, "sources": []}]}
                    )
                }
            ),
        ),
        "dedup corpus.jsonl --index index -o out.parquet",
        ("--index index: was made with --exact-only, and this run has not; name another folder, or run as before"),
    ),
    Bad(
        "a store that is a file",
        both(pairs, named({"store": b"x"})),
        "embed corpus.jsonl --encoder fake: --store store -o out.parquet",
        "store: is a file; name a folder with --store, or none",
    ),
    # --- recipes ---
    Bad(
        "a billion laughs",
        named({"own.yaml": _LAUGHS}),
        _RECIPE,
        "own.yaml:1: too many or too deep values, with aliases (*name) written out; use none",
    ),
    Bad(
        "a tag that makes Python objects",
        named({"own.yaml": "!!python/object/apply:os.system ['true']\n"}),
        _RECIPE,
        "own.yaml:1: a recipe is a mapping with name, reads, steps and so on, this is a list",
    ),
    Bad(
        "an anchor that holds itself",
        named({"own.yaml": "&a [*a]\n"}),
        _RECIPE,
        "own.yaml:1: too many or too deep values, with aliases (*name) written out; use none",
    ),
    Bad(
        "YAML nested 100,000 deep",
        named({"own.yaml": _DEEP}),
        _RECIPE,
        "own.yaml:1: nested more than 40 deep; make it smaller, a recipe has a few levels and a few hundred values",
    ),
    Bad(
        "YAML with a tab",
        named({"own.yaml": "name: x\nsteps:\n\task: y\n"}),
        _RECIPE,
        (
            "own.yaml:3: not YAML: while scanning for the next token, found character that cannot start any "
            "token; check quotes, brackets and how far the line is indented"
        ),
    ),
    Bad(
        "YAML that is no UTF-8",
        named({"own.yaml": b"name: caf\xe9\n"}),
        _RECIPE,
        "own.yaml:1: is not UTF-8 text; save it as UTF-8",
    ),
    Bad(
        "a recipe without steps",
        named({"own.yaml": "name: tiny\nsummary: One.\nreads: documents\n"}),
        _RECIPE,
        "own.yaml:1: has no steps; add it",
    ),
    Bad(
        "a pipe in the place of a recipe",
        pipe("own.yaml"),
        _RECIPE,
        "own.yaml: not a regular file; put what it holds into one and name that",
    ),
    Bad(
        "a device in the place of a recipe",
        link("own.yaml", "/dev/zero"),
        _RECIPE,
        "own.yaml: not a regular file; put what it holds into one and name that",
    ),
]
