"""One near-duplicate removal by another library, in an environment of its own: Parquet (id, text) in, kept ids out.

    VENV/bin/python _dedup_peers.py rensa corpus.parquet kept.parquet --threshold 0.8 --ngram 3 --permutations 128

Each is used as its documentation has it. Those that take tokens from the caller get the words that pairmine documents
(NFKC, case folded, `\\w+`); the others read the text in their own way.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

CORES = os.cpu_count() or 1
_WORD = re.compile(r"\w+")


def main() -> None:
    """Run the side that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("kept", type=Path)
    parser.add_argument("--threshold", type=float, required=True)
    parser.add_argument("--ngram", type=int, required=True)
    parser.add_argument("--permutations", type=int, required=True)
    options = parser.parse_args()
    kept = SIDES[options.side](options)
    pq.write_table(pa.table({"id": pa.array(list(kept), pa.string())}), options.kept)


def _read(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    table = pq.read_table(options.corpus)
    return table["id"].to_pylist(), table["text"].to_pylist()


def _ngrams(text: str, ngram: int) -> list[str]:
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return [" ".join(words[start : start + ngram]) for start in range(max(1, len(words) - ngram + 1))]


# The sides.


def _datasketch(options: argparse.Namespace, hashes: str) -> Iterator[str]:
    """A text stays unless the index has a candidate for it; only those that stay are put in."""
    from datasketch import MinHash, MinHashLSH  # type: ignore[import-not-found]

    settings = {"num_perm": options.permutations}
    if hashes == "xxh32":
        import xxhash  # type: ignore[import-not-found]

        settings["hashfunc"] = xxhash.xxh32_intdigest
    ids, texts = _read(options)
    index = MinHashLSH(threshold=options.threshold, num_perm=options.permutations)
    sets = ([gram.encode() for gram in _ngrams(text, options.ngram)] for text in texts)
    for name, signature in zip(ids, MinHash.generator(sets, **settings), strict=True):
        if not index.query(signature):
            index.insert(name, signature)
            yield name


def _rensa(options: argparse.Namespace, bands: int) -> list[str]:
    from rensa import RMinHashDeduplicator  # type: ignore[import-not-found]

    ids, texts = _read(options)
    index = RMinHashDeduplicator(options.threshold, options.permutations, True, bands)
    is_new = index.add_pairs((name, _ngrams(text, options.ngram)) for name, text in zip(ids, texts, strict=True))
    return [name for name, new in zip(ids, is_new, strict=True) if new]


def _gaoya(options: argparse.Namespace) -> list[str]:
    """A text stays unless one before it that stays is among its matches."""
    from gaoya.minhash import MinHashStringIndex  # type: ignore[import-not-found]

    ids, texts = _read(options)
    rows = 5
    index = MinHashStringIndex(
        32, options.threshold, options.permutations // rows, rows, None, "word", True, (options.ngram, options.ngram)
    )
    index.par_bulk_insert_docs(list(range(len(texts))), texts)
    stays = [True] * len(texts)
    for row, matches in enumerate(index.par_bulk_query(texts)):
        stays[row] = not any(other < row and stays[other] for other in matches)
    return [name for name, is_kept in zip(ids, stays, strict=True) if is_kept]


def _text_dedup(options: argparse.Namespace) -> list[str]:
    """Its command `python -m text_dedup.minhash`, which keeps the first of each cluster."""
    from text_dedup.minhash import main  # type: ignore[import-not-found]

    folder = options.kept.with_suffix(".text-dedup")
    shutil.rmtree(folder, ignore_errors=True)
    command = ["--path", "parquet", "--data_files", str(options.corpus), "--split", "train", "--column", "text"]
    command += ["--cache_dir", str(folder / "cache"), "--output", str(folder / "out"), "--num_proc", str(CORES)]
    command += ["--ngram", str(options.ngram), "--num_perm", str(options.permutations), "--min_length", "1"]
    command += ["--threshold", str(options.threshold), "--hash_func", "xxh3", "--hash_bits", "32"]
    main.main(command, standalone_mode=False)
    from datasets import load_from_disk  # type: ignore[import-not-found]

    kept: list[str] = load_from_disk(str(folder / "out")).with_format("arrow")["id"][:].to_pylist()
    shutil.rmtree(folder)
    return kept


def _datatrove(options: argparse.Namespace) -> list[str]:
    """Its four stages, with its own 14 bands of 8 hashes."""
    from datatrove.executor import LocalPipelineExecutor  # type: ignore[import-not-found]
    from datatrove.pipeline.dedup import (  # type: ignore[import-not-found]
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig  # type: ignore[import-not-found]
    from datatrove.pipeline.readers import ParquetReader  # type: ignore[import-not-found]
    from datatrove.pipeline.writers import ParquetWriter  # type: ignore[import-not-found]

    folder = options.kept.with_suffix(".datatrove")
    shutil.rmtree(folder, ignore_errors=True)
    shards = _shards(options.corpus, folder / "in")
    config = MinhashConfig(n_grams=options.ngram)
    signatures, buckets, removed, out = (str(folder / name) for name in ("signatures", "buckets", "removed", "out"))
    stages = [
        ([ParquetReader(shards), MinhashDedupSignature(signatures, config=config)], CORES),
        ([MinhashDedupBuckets(signatures, buckets, config=config)], config.num_buckets),
        ([MinhashDedupCluster(buckets, removed, config=config)], 1),
        ([ParquetReader(shards), MinhashDedupFilter(removed), ParquetWriter(out)], CORES),
    ]
    for number, (pipeline, tasks) in enumerate(stages):
        logs = str(folder / f"logs-{number}")
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=CORES, logging_dir=logs, start_method="fork").run()
    kept: list[str] = pq.read_table(out, columns=["id"])["id"].to_pylist()
    shutil.rmtree(folder)
    return kept


def _shards(corpus: Path, folder: Path) -> str:
    """The corpus as one file for each core, which is how datatrove shares work."""
    folder.mkdir(parents=True)
    table = pq.read_table(corpus)
    each = -(-len(table) // CORES)
    for number in range(CORES):
        pq.write_table(table.slice(number * each, each), folder / f"{number}.parquet")
    return str(folder)


def _duckdb(options: argparse.Namespace, is_verified: bool) -> list[str]:
    """Plain SQL: a row leaves when an earlier one shares a band and, `is_verified`, is as similar as asked for.

    Bands of 8 hashes when nothing is verified, of 4, which find more, when the similarity decides.
    """
    import duckdb  # type: ignore[import-not-found]

    rows = 4 if is_verified else 8
    near = f"len(list_intersect(one.grams, other.grams)) >= {options.threshold}"
    near += " * len(list_distinct(one.grams || other.grams))"
    query = _SQL.format(
        corpus=options.corpus,
        ngram=options.ngram,
        hashes=options.permutations,
        bands=options.permutations // rows,
        rows=rows,
        near=near if is_verified else "true",
    )
    return [name for (name,) in duckdb.sql(query).fetchall()]


_SQL = r"""
CREATE TEMP TABLE texts AS
  WITH read AS (
    SELECT id, file_row_number AS row, regexp_extract_all(lower(text), '[\p{{L}}\p{{N}}\p{{M}}_]+') AS words
    FROM read_parquet('{corpus}', file_row_number = true))
  SELECT id, row, list_distinct(list_transform(range(1, greatest(len(words) - {ngram} + 2, 2)),
    lambda place: hash(array_to_string(words[place : place + {ngram} - 1], ' ')))) AS grams
  FROM read;
CREATE TEMP TABLE bands AS
  WITH signatures AS (
    SELECT row, list_transform(range({hashes}),
      lambda seed: list_min(list_transform(grams, lambda gram: hash(gram, seed)))) AS minima
    FROM texts)
  SELECT row, unnest(range({bands})) AS band,
    unnest(list_transform(range({bands}), lambda band: hash(minima[band * {rows} + 1 : (band + 1) * {rows}]))) AS key
  FROM signatures;
WITH pairs AS (
  SELECT DISTINCT a.row AS first, b.row AS later
  FROM bands a JOIN bands b ON a.band = b.band AND a.key = b.key AND a.row < b.row),
copies AS (
  SELECT DISTINCT later AS row
  FROM pairs JOIN texts one ON one.row = first JOIN texts other ON other.row = later WHERE {near})
SELECT id FROM texts ANTI JOIN copies USING (row) ORDER BY row
"""

SIDES: dict[str, Callable[[argparse.Namespace], object]] = {
    "datasketch": partial(_datasketch, hashes="sha1"),
    "datasketch-xxh32": partial(_datasketch, hashes="xxh32"),
    "text-dedup": _text_dedup,
    "datatrove": _datatrove,
    "rensa": partial(_rensa, bands=16),
    "rensa-32-bands": partial(_rensa, bands=32),
    "gaoya": _gaoya,
    "duckdb": partial(_duckdb, is_verified=False),
    "duckdb-verified": partial(_duckdb, is_verified=True),
}

if __name__ == "__main__":
    main()
