"""What a model learns from each rule's negatives: MiniLM, trained briefly on a CPU, on queries that it has not seen.

    python benchmarks/quality_training.py --work FOLDER                   # the folder of benchmarks/quality.py
    python benchmarks/quality_training.py --work FOLDER --collections cranfield --seeds 0 --rules untrained 'skip 10'

Half of a collection's queries train, with the positives that benchmarks/quality.py leaves visible; the others are
searched for, and all of their positives count. Every rule gets the same model, the same steps, and in each step the
same queries and positives as far as it left them negatives; a query that a rule of sentence-transformers leaves short
is left out, as its n-tuples are. The loss is MultipleNegativesRankingLoss, in which no known positive of a query is a
negative of it. nDCG@10 is taken over a fixed pool: the positives of the unseen queries and the 50 documents that were
nearest to each before training. A seed settles the halves and every draw. Finished runs are kept in the work folder,
so a benchmark that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from _quality import RETRIEVER, Candidates, Collection, add_options, candidates, read_collection
from quality import OUR_RULE, PUBLISHED
from sentence_transformers import SentenceTransformer
from torch.nn import functional

from pairmine.backends.specs import locate, parse_spec

UNTRAINED, IN_BATCH, OURS = "untrained", "in-batch only", next(iter(OUR_RULE.published))
OURS_RESCORED = f"{OURS}, with the cross-encoder"
FLAGS = PUBLISHED | {
    OURS: f"{PUBLISHED[OURS]} --suspects-by dense,feedback",
    OURS_RESCORED: f"{PUBLISHED[OURS]} --suspects-by dense,feedback,ce",
}
SHORT_LEAVE = (
    "0.95 of it, bi-encoder (sentence-transformers, NeMo, NV-Retriever)",
    "0.95 of it, cross-encoder (sentence-transformers)",
    "cross-encoder below 0.3 (sentence-transformers)",
)
RULES = (UNTRAINED, IN_BATCH, "naive top 5", "skip 10", *SHORT_LEAVE, OURS, OURS_RESCORED)
COLLECTIONS = ("cranfield", "cisi", "npl", "cacm")
HIDING_SEED = 0
"""Which halves of the positives are hidden: the same for all, so that candidates are scored once."""
POOL, CUT = 50, 10
SCALE = 20.0
Batch = list[tuple[str, str, list[str]]]
"""Query, positive and negatives, by id."""


@dataclass(frozen=True)
class Budget:
    """What every run may spend."""

    steps: int
    batch: int
    negatives: int
    tokens: int
    rate: float


def main() -> None:
    """Train and test what has not been yet, and print the table of all."""
    options = _options()
    if options.no_cross_encoder:
        options.rules = [rule for rule in options.rules if "cross-encoder" not in rule]
    torch.set_num_threads(options.threads)
    budget = Budget(options.steps, options.batch, options.negatives, options.tokens, options.rate)
    kept = options.work / "training.json"
    for seed in options.seeds:
        for name in options.collections:
            for rule in options.rules:
                key = _key(name, rule, seed, budget)
                if key not in _kept(kept):
                    start = time.perf_counter()
                    found = _run(name, rule, seed, budget, options)
                    _keep(kept, {**_kept(kept), key: found})
                    print(f"{key}: nDCG@10 {found:.4f}, {time.perf_counter() - start:,.0f} s", flush=True)
    print(_table(_kept(kept), budget, options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, COLLECTIONS)
    parser.set_defaults(seeds=[0, 1, 2])
    parser.add_argument("--rules", nargs="+", choices=[UNTRAINED, IN_BATCH, *FLAGS], default=list(RULES))
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--negatives", type=int, default=3, help="of the five of a query, drawn anew for each row")
    parser.add_argument("--tokens", type=int, default=128, help="of a text that are read")
    parser.add_argument("--rate", type=float, default=2e-5, help="the highest learning rate")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


def _key(name: str, rule: str, seed: int, budget: Budget) -> str:
    """What names a run; the untrained model has no budget but the length of its texts."""
    spent = f"tokens={budget.tokens}"
    if rule != UNTRAINED:
        spent = " ".join(f"{option}={value:g}" for option, value in asdict(budget).items())
        spent += f" {FLAGS.get(rule, '')}"
    return f"{name} / {rule} / seed {seed} / {spent.strip()}"


def _kept(path: Path) -> dict[str, float]:
    """The runs that are finished, those of a benchmark beside this one too."""
    results: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return results


def _keep(path: Path, results: Mapping[str, float]) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)


def _run(name: str, rule: str, seed: int, budget: Budget, options: argparse.Namespace) -> float:
    """One model: trained with a rule's negatives, tested on the other half of the queries."""
    collection = read_collection(options.data, name, HIDING_SEED)
    train, test = _halves(collection, seed)
    model = SentenceTransformer(locate(parse_spec(RETRIEVER, ("st",), "--retriever"), "--retriever"), device="cpu")
    model.max_seq_length = budget.tokens
    here = candidates(collection, HIDING_SEED, options)
    if rule != UNTRAINED:
        negatives = None if rule == IN_BATCH else _negatives(here, rule)
        _train(model, collection, _batches(collection, train, negatives, budget, seed), budget, seed)
    return _ndcg(model, collection, test, _pool(here, test))


def _halves(collection: Collection, seed: int) -> tuple[list[str], list[str]]:
    queries = sorted(collection.queries)
    random.Random(seed).shuffle(queries)
    half = len(queries) // 2
    return queries[:half], queries[half:]


def _negatives(here: Candidates, rule: str) -> dict[str, list[str]]:
    """The negatives of each query that has any."""
    table = here.negatives(FLAGS[rule] + (" --shortage drop" if rule in SHORT_LEAVE else ""))
    found: dict[str, list[str]] = {}
    for query, document in zip(table["query_id"].to_pylist(), table["doc_id"].to_pylist(), strict=True):
        found.setdefault(query, []).append(document)
    return found


def _batches(
    collection: Collection,
    train: Sequence[str],
    negatives: Mapping[str, list[str]] | None,
    budget: Budget,
    seed: int,
) -> Iterator[Batch]:
    """A batch for each step, of different queries; order and positives are drawn the same for every rule."""
    usable = [query for query in train if negatives is None or query in negatives]
    for step in range(budget.steps if usable else 0):
        rows = []
        for query in sorted(usable, key=lambda query: random.Random(f"{seed} {step} {query}").random()):
            generator = random.Random(f"{seed} {step} {query} rows")
            positive = generator.choice(collection.visible[query])
            found = negatives[query] if negatives is not None else []
            rows.append((query, positive, generator.sample(found, min(budget.negatives, len(found)))))
            if len(rows) == budget.batch:
                break
        yield rows


def _train(
    model: SentenceTransformer, collection: Collection, batches: Iterator[Batch], budget: Budget, seed: int
) -> None:
    """AdamW with a tenth of the steps to warm up and then a linear fall, in bfloat16 where products are made."""
    torch.manual_seed(seed)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=budget.rate, weight_decay=0.01)
    warm = max(1, budget.steps // 10)

    def share(step: int) -> float:
        return min((step + 1) / warm, (budget.steps - step) / budget.steps)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    for rows in batches:
        with torch.autocast("cpu", torch.bfloat16):
            loss = _loss(model, collection, rows)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    model.eval()


def _loss(model: SentenceTransformer, collection: Collection, rows: Batch) -> torch.Tensor:
    """Every other document of the batch is a negative of a query, unless it is known to be a positive of it."""
    documents = [positive for _, positive, _ in rows] + [each for *_, found in rows for each in found]
    queries = _vectors(model, [collection.queries[query] for query, *_ in rows])
    scores = SCALE * queries @ _vectors(model, [collection.documents[each] for each in documents]).T
    known = torch.tensor([[each in collection.visible[query] for each in documents] for query, *_ in rows])
    own = torch.eye(len(rows), len(documents), dtype=torch.bool)
    return functional.cross_entropy(scores.masked_fill(known & ~own, -math.inf), torch.arange(len(rows)))


def _vectors(model: SentenceTransformer, texts: list[str]) -> torch.Tensor:
    found: torch.Tensor = model(model.preprocess(texts))["sentence_embedding"]
    return functional.normalize(found.float(), dim=1)


def _pool(here: Candidates, test: Sequence[str]) -> list[str]:
    """The documents that are searched: all positives of these queries, and what was nearest to each before."""
    table = pq.read_table(here.path, columns=["query_id", "doc_id", "rank"])
    near = table.filter(pc.less_equal(table["rank"], POOL))
    rows = zip(near["query_id"].to_pylist(), near["doc_id"].to_pylist(), strict=True)
    tested = set(test)
    pool = {document for query, document in rows if query in tested}
    for half in (here.collection.visible, here.collection.hidden):
        pool.update(document for query in test for document in half[query])
    return sorted(pool)


def _ndcg(model: SentenceTransformer, collection: Collection, test: Sequence[str], pool: Sequence[str]) -> float:
    """Mean nDCG at `CUT`, every positive worth the same."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        documents = model.encode([collection.documents[each] for each in pool], batch_size=32, show_progress_bar=False)
        queries = model.encode([collection.queries[each] for each in test], batch_size=32, show_progress_bar=False)
    found = np.argsort(-(queries.astype(np.float32) @ documents.astype(np.float32).T), axis=1, kind="stable")[:, :CUT]
    gains = 1 / np.log2(np.arange(2, CUT + 2))
    values = []
    for query, places in zip(test, found, strict=True):
        positives = {*collection.visible[query], *collection.hidden[query]}
        hits = np.array([pool[place] in positives for place in places])
        values.append(float(hits @ gains[: len(hits)] / gains[: len(positives)].sum()))
    return fmean(values)


def _table(results: Mapping[str, float], budget: Budget, options: argparse.Namespace) -> str:
    """nDCG@10 by rule and collection, means over the seeds that are done; the spread of seeds behind the mean."""
    rows = [f"| nDCG@10 | {' | '.join(options.collections)} | mean | over seeds |"]
    rows.append("|---" * (len(options.collections) + 3) + "|")
    for rule in options.rules:
        found = np.array(
            [
                [results.get(_key(name, rule, seed, budget), math.nan) for name in options.collections]
                for seed in options.seeds
            ]
        )
        by_seed = found.mean(axis=1)
        spread = f"± {stdev(by_seed):.4f}" if len(by_seed) > 1 else ""
        cells = " | ".join(f"{value:.4f}" for value in [*found.mean(axis=0), found.mean()])
        rows.append(f"| {rule} | {cells} | {spread} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
