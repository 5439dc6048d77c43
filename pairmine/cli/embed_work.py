"""What `pairmine embed` does with texts, as plain data: this process opens it, or every worker of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pairmine.backends.specs import Spec
from pairmine.backends.vectors.store import VectorStore
from pairmine.cli.model_work import ModelJob, Say, quiet, share_of
from pairmine.errors import PairmineError
from pairmine.files.seen import SeenIds, id_keys
from pairmine.files.sharded import read_tables
from pairmine.files.sink import Sink
from pairmine.files.source import PairSource, Source, open_documents, open_pairs, open_queries
from pairmine.outcome import Outcome
from pairmine.stages.embed import Side, embed_texts, stretches, texts_of_pairs

if TYPE_CHECKING:
    from pairmine.backends.encoders import Encoder
    from pairmine.backends.models import Advance
    from pairmine.engines.shards import Piece


class Texts:
    """The texts of an input in tables of some ten thousand rows.

    Of a pair set each id counts once, at its first row with a text; `earlier` are the keys of ids that count elsewhere.
    """

    def __init__(self, source: Source, side: Side, title: bool | None, earlier: np.ndarray | None = None) -> None:
        self.side = side
        self.titles = title is not False
        self.is_pairs = isinstance(source, PairSource)
        if self.is_pairs and title is not None:
            raise PairmineError(f"--{'' if title else 'no-'}title has no effect on a pair set, which has no titles")
        self._source = source
        self._earlier = np.empty(0, np.int64) if earlier is None else earlier

    def tables(self) -> Iterator[tuple[pa.Table, int, pa.Table | None]]:
        """Tables with id and text; of a pair set with the number of rows read and those without a text."""
        if not self.is_pairs:
            for table in stretches(self._source.tables()):
                yield table, table.num_rows, None
            return
        seen = SeenIds()

        def is_repeated(ids: Any) -> np.ndarray:
            keys = id_keys(ids)
            return seen.add_keys(keys).repeated | np.isin(keys, self._earlier)

        yield from texts_of_pairs(self._source.tables(), self.side, is_repeated)


@dataclass(frozen=True)
class EmbedWork:
    """Vectors of the texts of `side` by the encoder of `spec`, whose options `settings` are those of `open_encoder`.

    `store` is a folder, None to keep nothing. Shards are of a pair set where `is_pairs` says so, and `earlier` are then
    the files, one a shard, with the keys of ids that are embedded with an earlier shard.
    """

    spec: Spec
    side: Side
    title: bool | None
    settings: dict[str, Any]
    store: str | None
    vector_type: str
    is_pairs: bool = False
    earlier: tuple[str, ...] = ()

    def open(self, say: Say = quiet) -> EmbedJob:
        """See `shards.Work`."""
        return EmbedJob(self, say)

    def texts(self, source: Source, earlier: np.ndarray | None = None) -> Texts:
        """The texts of an input that are to be embedded."""
        return Texts(source, self.side, self.title, earlier)

    def of_piece(self, piece: Piece) -> Texts:
        """The texts of a shard, but for those that count in an earlier one."""
        open_file = open_pairs if self.is_pairs else open_queries if self.side == "query" else open_documents
        source = open_file(piece.path, quiet)
        return self.texts(source, _read_keys(self.earlier[piece.number]) if self.earlier else None)

    def encoder(self) -> Encoder:
        """The model, loaded."""
        from pairmine.backends.encoders import open_encoder

        return open_encoder(self.spec, flag="--encoder", **self.settings)

    def shared_by(self, workers: int) -> EmbedWork:
        """What one of `workers` does, which keep to a server's limits together."""
        if (server := self.settings.get("server")) is None:
            return self
        return replace(self, settings={**self.settings, "server": replace(server, **share_of(vars(server), workers))})


class EmbedJob(ModelJob):
    """An encoder at its work."""

    def __init__(self, work: EmbedWork, say: Say) -> None:
        super().__init__()
        self._work = work
        self._encoder = work.encoder()
        self.store = VectorStore(work.store, vector_type=work.vector_type, say=say)

    def of(self, texts: Texts, advance: Advance = lambda rows: None) -> Iterator[Outcome]:
        """The vectors of each table."""

        def vectors(some: Any) -> np.ndarray:
            found = self.store.vectors(self._encoder, some, self._work.side, advance)
            return found.block(0, len(found))

        for table, rows, rejected in texts.tables():
            outcome = embed_texts(
                table, vectors, dim=self._dim, titles=texts.titles, vector_type=self._work.vector_type
            )
            if rejected is not None:
                outcome = Outcome(outcome.kept, rejected, rows_in=rows, reshapes=True)
            yield outcome

    def outcomes(self, piece: Piece) -> Iterator[Outcome]:
        """See `shards.Job`."""
        return self.of(self._work.of_piece(piece))

    def facts(self) -> dict[str, Any]:
        """The model, for the lineage."""
        return {"models": [{"name": self._work.spec.name, **self._encoder.facts}]}

    def totals(self) -> dict[str, int]:
        """How many texts were embedded and how many vectors found."""
        return {"embedded": self.store.embedded, "reused": self.store.reused}

    def _dim(self) -> int:
        return int(self._encoder.encode(["x"], self._work.side).shape[1])


@dataclass(frozen=True)
class Ids:
    """Makes what tells the ids of a shard with a text, each once, by their keys, (n,) int64."""

    work: EmbedWork

    def __call__(self) -> Callable[[Piece], np.ndarray]:
        return self._keys

    def _keys(self, piece: Piece) -> np.ndarray:
        keys = [id_keys(table["id"].to_pylist()) for table, _, _ in self.work.of_piece(piece).tables()]
        return np.concatenate([np.empty(0, np.int64), *keys])


def write_keys(path: str, keys: np.ndarray) -> None:
    """Put keys of ids, (n,) int64, into a file that every worker sees."""
    sink = Sink(path)
    sink.write(pa.table({"key": keys}))
    sink.commit([])


def _read_keys(path: str) -> np.ndarray:
    return np.concatenate([table["key"].to_numpy() for table in read_tables(path)])
