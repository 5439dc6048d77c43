"""Some rows of a Parquet file as an input of their own: a small file says which, and nothing is copied."""

from __future__ import annotations

import json
import os
from dataclasses import replace

from pairmine.errors import GAVE_UP, PairmineError
from pairmine.files.locations import Shard, find_shards
from pairmine.files.places import read_text

ENDING = ".rowrange"
"""Of the small files, which lie in the folder of a run on shards and nowhere else."""


def reference(shard: Shard, first: int, stop: int) -> str:
    """What such a file says of the rows from `first` to before `stop` of `shard`, a whole Parquet file."""
    name = os.path.abspath(shard.name) if shard.filesystem is None else shard.name
    return json.dumps({"file": name, "rows": [first, stop], "bytes": shard.size()})


def read_reference(path: str) -> Shard:
    """The shard that the small file `path` stands for.

    Raises PairmineError where the file has another size by now; inodes and times may differ between machines.
    """
    try:
        said = json.loads(read_text(path) or "")
        file, (first, stop), size = str(said["file"]), map(int, said["rows"]), int(said["bytes"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise PairmineError(f"{path}: is no reference to rows of a file; name the file itself") from None
    if file.endswith(ENDING):
        raise PairmineError(f"{path}: names another reference; name the file itself")
    (shard, *others) = find_shards(file)
    if shard.kind != "parquet" or others:
        raise PairmineError(f"{file}: is no Parquet file; name the file itself")
    if shard.size() != size:
        raise PairmineError(f"{file}: was changed while it was read; run the same command again", exit_code=GAVE_UP)
    return replace(shard, rows=(first, stop))
