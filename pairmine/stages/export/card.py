"""A dataset card: what a hub shows of an export, and what `load_dataset` reads of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import orjson

from pairmine.stages.export.plan import Target

EXAMPLES = 3
LONGEST = 200
"""Example rows, and characters of a text that are shown of each."""

_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
_TASKS = {"beir": "text-retrieval", "st-pair-score": "sentence-similarity", "st-pair-class": "sentence-similarity"}
_INDEXES = ("offsets.json.gz", "counts.json")


@dataclass(frozen=True)
class Facts:
    """What a card says. `files` are their names in the repository, of an export that is one file this and its sidecar;
    `counts` are those of the run, `commands` its lineage, `examples` training rows."""

    name: str
    target: Target
    files: Sequence[str]
    counts: Mapping[str, Any]
    commands: Sequence[str]
    examples: Sequence[Mapping[str, Any]]
    license: str | None = None
    languages: Sequence[str] = field(default_factory=tuple)


def card(facts: Facts) -> str:
    """The card as Markdown with a YAML header. No text of the data can end a block or begin one."""
    rows = int(facts.counts.get("rows_out", 0))
    header = _yaml(_header(facts, rows))
    written = ", ".join(f"`{_in_code(name)}`" for name in facts.files)
    parts = [
        f"---\n{header}---",
        f"# {_plain(facts.name)}",
        f"{rows:,} rows in the format `{facts.target.name}` of pairmine, for {facts.target.trainer}: "
        f"{facts.target.summary}.",
        f"Files: {written}.",
        "## Rows",
        fenced("json", [_shown(row) for row in facts.examples]),
        "## Counts",
        fenced("text", _count_lines(facts.counts)),
        "## How it was made",
        fenced("sh", list(facts.commands)),
    ]
    return "\n\n".join(parts) + "\n"


def _yaml(header: dict[str, Any]) -> str:
    """As YAML in which a text takes one line, so that none of them can end the header."""
    import yaml

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]
        """Writes a text of several lines between double quotes."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        plain = value.isprintable()
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')

    Dumper.add_representer(str, text)
    return str(yaml.dump(header, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=float("inf")))


def _header(facts: Facts, rows: int) -> dict[str, Any]:
    header: dict[str, Any] = {}
    if facts.languages:
        header["language"] = list(facts.languages)
    if facts.license:
        header["license"] = facts.license
    header["pretty_name"] = facts.name
    header["size_categories"] = [size_category(rows)]
    header["task_categories"] = [_task(facts.target)]
    trainer = facts.target.trainer
    header["tags"] = ["pairmine", *(["sentence-transformers"] if trainer == "sentence-transformers" else [])]
    if configs := _folder(facts) if facts.target.fill else _single(facts.files):
        header["configs"] = configs
    return header


def _task(target: Target) -> str:
    if "rerank" in target.name:
        return "text-ranking"
    return _TASKS.get(target.name, "text-retrieval")


def size_category(rows: int) -> str:
    """The hub's name for a number of rows.

    >>> size_category(5_000)
    '1K<n<10K'
    """
    for number, size in enumerate(_SIZES):
        if rows < 10 ** (number + 3):
            return f"{_SIZES[number - 1]}<n<{size}" if number else f"n<{size}"
    return "n>1T"


def _single(files: Sequence[str]) -> list[dict[str, Any]]:
    """One table for the training rows and one for the sidecar, which `load_dataset` would take for more of them."""
    names = ("default", "ids")
    return [
        {"config_name": name, "data_files": [{"split": "train", "path": file}]}
        for name, file in zip(names, files, strict=False)
        if _kind(file) == _kind(files[0])
    ]


def _folder(facts: Facts) -> list[dict[str, Any]]:
    """What `load_dataset` calls each table of a folder, the training rows first.

    It reads all tables of a repository by one reader, so those of another kind are left out.
    """
    layouts = facts.target.layouts
    tables = [name for name in facts.files if layouts.get(name) is None and _kind(name) and name not in _INDEXES]
    kind = "parquet" if any(_kind(name) == "parquet" for name in tables) else "jsonl"
    judged = any(name.startswith("qrels/") for name in tables)
    by_name: dict[str, dict[str, list[str]]] = {}
    for name in tables:
        if _kind(name) == kind:
            config, split = _config(name, judged)
            by_name.setdefault(config, {}).setdefault(split, []).append(name)
    first = [name for name in ("default", "train") if name in by_name][:1]
    order = [*first, *(name for name in by_name if name not in first)]
    return [
        {"config_name": name, "data_files": [_data_files(*each) for each in by_name[name].items()]}
        | ({"default": True} if name in first and name != "default" else {})
        for name in order
    ]


def _data_files(split: str, names: list[str]) -> dict[str, Any]:
    """The files of a split by their names: a pattern would find those too that an earlier push left at the hub."""
    return {"split": split, "path": names if len(names) > 1 else names[0]}


def _kind(name: str) -> str | None:
    found = re.search(r"\.(parquet|jsonl|json|csv|tsv|arrow)(\.gz|\.zst)?$", name)
    return found[1] if found else None


def _config(name: str, judged: bool) -> tuple[str, str]:
    """The table that a file belongs to, and its split there."""
    if re.fullmatch(r"shard-\d+\.jsonl\.gz", name):
        return "default", "train"
    path = PurePosixPath(name)
    folder, stem = str(path.parent), path.name[: path.name.rindex(f".{_kind(name)}")].replace(".", "_")
    if folder in ("qrels", "top_ranked"):
        return "default" if folder == "qrels" else folder, path.name.rpartition(".")[0]
    config = stem if folder == "." else folder
    return config, config if judged and config in ("corpus", "queries") else "train"


def fenced(language: str, lines: Sequence[str]) -> str:
    """`lines` as a block of code, behind a fence that is longer than any run of backticks in them."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([fence + language, *(line.replace("\n", " ").replace("\r", " ") for line in lines), fence])


def _shown(row: Mapping[str, Any]) -> str:
    return orjson.dumps({name: _short(value) for name, value in row.items()}, default=str).decode()


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONGEST else value[: LONGEST - 3] + "..."
    if isinstance(value, list):
        return [_short(each) for each in value[:4]]
    if isinstance(value, dict):
        return {name: _short(each) for name, each in value.items()}
    return value


def _count_lines(counts: Mapping[str, Any]) -> list[str]:
    lines = [f"pair rows in    {counts.get('rows_in', 0):,}"]
    lines += [f"  rejected: {reason}  {count:,}" for reason, count in counts.get("rejected", {}).items()]
    lines.append(f"training rows   {counts.get('rows_out', 0):,}")
    return lines + [f"  {what}  {count:,}" for what, count in counts.get("notes", {}).items()]


def _plain(text: str) -> str:
    """A heading: one line in which no character of Markdown or HTML means anything."""
    return re.sub(r"([\\`*_{}\[\]<>()#|!&~])", r"\\\1", " ".join(text.split()))


def _in_code(text: str) -> str:
    return " ".join(text.replace("`", "'").split())
