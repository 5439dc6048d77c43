"""SimCSE's files by the call that its `train.py` makes, which is in its repository and not in the release."""

from __future__ import annotations

from pathlib import Path

from _trial import Seen, Setting, Trial, main
from datasets import load_dataset


def loaded(path: Path, setting: Setting) -> Seen:
    """All rows; the script takes one to three columns by their order, and an empty text for none."""
    rows = load_dataset("csv", data_files={"train": str(path)}, cache_dir=str(setting.work / "cache"))["train"]
    if any(not text for row in rows for text in row.values()):
        raise RuntimeError("a text is empty")
    return Seen(len(rows), rows.column_names)


RAN = "datasets' csv reader, called as its train.py does"
TRIALS = tuple(Trial(target, RAN, loaded, ending=".csv") for target in ("simcse-pair", "simcse-triplet"))

if __name__ == "__main__":
    main("SimCSE", "simcse", TRIALS)
