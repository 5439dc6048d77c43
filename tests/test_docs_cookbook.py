"""The make rules of docs/cookbook.md build what they say, pasted as they stand, out of examples/cookbook/."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "cookbook.md").read_text("utf-8")
pytestmark = pytest.mark.slow

STAND_INS = {
    "ce:BAAI/bge-reranker-v2-m3": "ce=fake:",
    "openai:gpt-5-mini --batch --max-usd 2": "fake:",
    "--answers-of support": "--answers-of dan",
}
"""What takes the place of models that are not here, and of a speaker that the example does not have."""

JUDGED = """
cp $E/documents.jsonl $E/qrels.tsv .
pairmine mine $E/judged.csv --corpus documents.jsonl --retriever bm25 --depth 1 -q -o - |
    pairmine filter - --no-relative-margin -q -o pairs.parquet
mkdir -p eval/qrels && cp documents.jsonl eval/corpus.jsonl
echo '{"_id": "e1", "text": "which parts of a bicycle wear"}' > eval/queries.jsonl
printf 'query-id\\tcorpus-id\\tscore\\ne1\\twarranty\\t1\\n' > eval/qrels/test.tsv
"""
SECTIONS = {
    "I have only documents": ("cp $E/documents.jsonl .", "train.parquet"),
    "I have clicks": ("cp $E/clicks.tsv log.tsv", "pairs.parquet"),
    "I have NLI in my language": ("cp $E/nli-de.jsonl nli.jsonl", "train.jsonl"),
    "I need a reranker set": ("pairmine mine $E/pairs.csv --retriever bm25 -q -o mined.parquet", "train.jsonl"),
    "I need negatives for an existing set": ("cp $E/pairs.csv .", "train.jsonl"),
    "No false negatives in my test domain": (JUDGED, "decided.parquet"),
    "I have a forum": ("cp $E/forum.jsonl .", "train.parquet"),
    "I have parallel text": (
        "tail -n +2 $E/parallel.tsv | cut -f1 > corpus.en.txt; tail -n +2 $E/parallel.tsv | cut -f2 > corpus.de.txt",
        "train.parquet",
    ),
    "I have labels": ("cp $E/intents.csv .", "train.jsonl"),
    "My documents are long": ("cp $E/manual.jsonl manuals.jsonl", "mined.parquet"),
    "Paraphrases by an LLM, for little": ("cp $E/sentences.jsonl .", "pairs.parquet"),
    "A test set must not leak": (
        "pairmine convert $E/pairs.csv --as pairs -q -o pairs.parquet; cp pairs.parquet new.parquet",
        "new.clean.parquet",
    ),
}
"""Of each section the commands that put its files there, and what its rules build of them at last."""


def rules(section: str) -> str:
    """The make rules of a section, with the stand-ins."""
    [text] = re.findall(rf"^## {re.escape(section)}$(.*?)(?=^## |\Z)", PAGE, flags=re.M | re.S)
    found = "\n".join(re.findall(r"```make\n(.*?)```", text, flags=re.S))
    for written, stand_in in STAND_INS.items():
        found = found.replace(written, stand_in)
    return found


@pytest.mark.parametrize("section", SECTIONS)
def test_the_make_rules_of_a_section_build_their_last_target(section: str, tmp_path: Path) -> None:
    files, target = SECTIONS[section]
    (tmp_path / "Makefile").write_text(rules(section), "utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1", "E": str(ROOT / "examples" / "cookbook")}
    command = ["bash", "-ec", f"{files}\nmake {target}"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / target).stat().st_size > 0


def test_every_section_that_has_rules_is_built_or_is_a_part_of_a_build() -> None:
    with_rules = {part.partition("\n")[0] for part in re.split(r"^## ", PAGE, flags=re.M) if "```make" in part}
    assert with_rules - set(SECTIONS) == {"I mix many sources", "Before you train"}
