"""The whole pipeline on real collections, on a Ray cluster of two nodes and in one process: the same outputs."""

from __future__ import annotations

import gzip
from itertools import islice
from pathlib import Path

import pytest
from both_engines import Pipeline, Step, assert_same

SHARED = Path(__file__).parents[2] / "shared"
CISI = SHARED / "data" / "cisi"
CROSS_ENCODER = SHARED / "models" / "cross-encoder-minilm"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.skipif(not CISI.exists(), reason="needs the real collections in ../shared/data"),
]

REJECTS = ("rejects",)
FEW = 150
"""Documents for the models, which take the longest."""

MODELS = {
    "corpus": Step("dedup ../few.jsonl"),
    "derived": Step("derive ict @corpus --sample 40"),
    "mined": Step("mine @derived --corpus @corpus --retriever bm25 --retriever st:all-MiniLM-L6-v2 --depth 8"),
    "scored": Step(f"score @mined --scorer ce:{CROSS_ENCODER}"),
    "filtered": Step("filter @scored --by ce --negatives 3", others=REJECTS),
    "exported": Step("export @filtered --to st-ntuple --negatives 1", others=("sidecar",)),
    "counted": Step("stats @scored --json", prints=True),
    "embedded": Step("embed @corpus --encoder st:all-MiniLM-L6-v2"),
    "queries": Step("embed @mined --side query --encoder st:all-MiniLM-L6-v2"),
}
"""With the real all-MiniLM-L6-v2, and a cross-encoder made of it."""


def without_models(data: Path) -> dict[str, Step]:
    """A pipeline over a whole collection with judgments."""
    return {
        "corpus": Step(f"dedup {data}/corpus.jsonl.gz", others=REJECTS),
        "derived": Step("derive crops @corpus", others=REJECTS),
        "written": Step("generate queries @corpus --llm fake: --samples 2 --limit 400", others=REJECTS),
        "mined": Step(f"mine {data} --corpus @corpus --retriever bm25 --depth 30"),
        "filtered": Step("filter @mined --by bm25 --negatives 5", others=REJECTS),
        "kept": Step("filter @mined --no-pick --max-score bm25:9", others=REJECTS),
        "batched": Step("mix judged=@filtered written=@written --batches mixed --batch-size 16", others=REJECTS),
        "split": Step("mix @derived judged=@filtered --split train=.8,dev=.2 --split-copies exact", others=REJECTS),
        "exported": Step("export @filtered --to st-ntuple --negatives 1", others=("sidecar",)),
        "checked": Step("check @split --corpus @corpus --json", prints=True, exit_code=1),
        "counted": Step("stats @split --json", prints=True),
    }


WHOLE = {name: without_models(SHARED / "data" / name) for name in ("cisi", "npl")}


@pytest.fixture(scope="module")
def models(ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = tmp_path_factory.mktemp("models")
    with gzip.open(CISI / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        (folder / "few.jsonl").write_text("".join(islice(lines, FEW)), encoding="utf-8")
    return Pipeline(folder, ray_cluster, MODELS)


@pytest.fixture(scope="module")
def whole(ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pipeline]:
    return {name: Pipeline(tmp_path_factory.mktemp(name), ray_cluster, steps) for name, steps in WHOLE.items()}


@pytest.mark.parametrize("step", MODELS)
def test_each_step_with_models_gives_on_a_cluster_what_it_gives_in_one_process(models: Pipeline, step: str) -> None:
    assert_same(models, step)


@pytest.mark.parametrize("collection", WHOLE)
@pytest.mark.parametrize("step", WHOLE["npl"])
def test_each_step_on_a_whole_collection_gives_the_same_too(
    whole: dict[str, Pipeline], collection: str, step: str
) -> None:
    assert_same(whole[collection], step)
