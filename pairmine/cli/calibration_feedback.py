"""`score_feedback` computed anew once some positives are hidden, for `pairmine calibrate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pairmine.cli.store_options import NONE
from pairmine.errors import PairmineError

if TYPE_CHECKING:
    import pyarrow as pa
    import typer

    from pairmine.backends.encoders import Encoder
    from pairmine.backends.specs import Spec
    from pairmine.backends.vectors.store import VectorStore
    from pairmine.files.lineage import Entry

    Say = Callable[[str], None]
    Measure = Callable[[pa.Table], pa.Table]

_FLAG = "--feedback"
_AT_ONCE = 100_000
_FREE = ("index", "backend", "dtype", "model", "name", "device")
"""What a lineage tells of a model that does not decide whether its kept vectors are these."""


def measure_of(context: typer.Context, pairs: pa.Table, entries: Sequence[Entry], tell: Say) -> Measure | None:
    """What computes the column of `pairs` anew: with the model that is named, else with the one that made it.

    `entries` are the lineage of `pairs`. Unless the model is named, it is used where the store holds the vectors of
    all documents, and a line says why not otherwise.
    """
    named = context.params["feedback"]
    if named == NONE:
        return None
    if named:
        return _adder(*_opened(context, named, tell))
    try:
        recorded = _recorded(entries)
        encoder, store = _remembered(context, pairs, recorded, tell)
    except PairmineError as problem:
        tell(f"score_feedback is not computed anew, since {problem}; pass {_FLAG} with the model that mined")
        return None
    tell(f"score_feedback without what is hidden: from the vectors of {recorded['name']} in {store.folder}")
    return _adder(encoder, store)


def _remembered(
    context: typer.Context, pairs: pa.Table, recorded: dict[str, Any], tell: Say
) -> tuple[Encoder, VectorStore]:
    """The model that made the column and the store with its vectors; a PairmineError says what is missing."""
    if context.params["store"] == NONE:
        raise PairmineError("--store none keeps no vectors")
    encoder, store = _opened(context, recorded["model"], tell)
    if any(encoder.facts.get(name) != told for name, told in recorded.items() if name not in _FREE):
        raise PairmineError(f"{recorded['name']} made it with other options or weights than it has here")
    missing = _missing(pairs, encoder, store)
    if missing:
        raise PairmineError(f"{store.folder} lacks the vectors of {missing:,} documents")
    return encoder, store


def _recorded(entries: Sequence[Entry]) -> dict[str, Any]:
    """What the lineage tells of the one model that made `score_feedback`."""
    for entry in reversed(entries):
        options = entry.get("options", {})
        made = not options.get("no_feedback", False) if entry.get("command") == "mine" else options.get("feedback")
        models = [model for model in entry.get("models", ()) if str(model.get("model", "")).startswith("st:")]
        if made and len(models) == 1:
            return dict(models[0])
        if made and models:
            break
    raise PairmineError("the file does not tell which model made it")


def _opened(context: typer.Context, model: str, tell: Say) -> tuple[Encoder, VectorStore]:
    from pairmine.backends.encoders import open_encoder
    from pairmine.backends.models import use_threads
    from pairmine.backends.specs import locate, parse_spec
    from pairmine.cli.store_options import open_store

    spec: Spec = parse_spec(model, ("st", "fake"), _FLAG)
    if spec.kind == "st":
        locate(spec, _FLAG)
    use_threads(context.params["workers"])
    return open_encoder(spec, flag=_FLAG), open_store(context.params["store"], "float32", tell)


def _missing(pairs: pa.Table, encoder: Encoder, store: VectorStore) -> int:
    """How many documents have no vector in the store."""
    from pairmine.schema import TEXT, cast_column
    from pairmine.stages.export.rows import Texts
    from pairmine.stages.score import check_texts

    check_texts(pairs, ("document",))
    texts = Texts.of(cast_column(pairs["document"], TEXT, "document")).values
    parts = (texts.slice(start, _AT_ONCE).to_pylist() for start in range(0, len(texts), _AT_ONCE))
    return sum(int((~store.known(encoder, part, "document")).sum()) for part in parts)


def _adder(encoder: Encoder, store: VectorStore) -> Measure:
    from pairmine.stages.score_feedback import FeedbackAdder

    adder = FeedbackAdder(encoder, store)
    return lambda pairs: adder.add(pairs).kept
