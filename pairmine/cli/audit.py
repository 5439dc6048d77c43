"""The part of `pairmine stats` that embeds texts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pairmine.backends.specs import locate, parse_spec
from pairmine.cli.progress import Progress
from pairmine.cli.run import choice, say
from pairmine.stages.audit import AMONG, Sample, audit, differences

if TYPE_CHECKING:
    import pyarrow as pa

    from pairmine.cli.ray_run import RayEngine
    from pairmine.stages.audit import Encodes

_FLAG = "--encoder"


class Audit:
    """Samples a pair set while it is read; then an encoder's numbers on the sample, and on that of another one.

    What cannot be right about the options is told at once.
    """

    def __init__(self, encoder: str, *, sample: int, seed: int, positive_from: float, among: str) -> None:
        choice("--rank-among", among, AMONG)
        self._spec = parse_spec(encoder, ("st", "fake"), _FLAG)
        if self._spec.kind == "st":
            locate(self._spec, _FLAG)
        self.size, self.seed = sample, seed
        self._positive_from, self._among = positive_from, among
        self._sample = Sample(sample, seed=seed)
        self._encoder: Encodes

    def add(self, chunk: pa.Table) -> None:
        """Take in a chunk of whole queries."""
        self._sample.add(chunk)

    def load(self, workers: int, engine: RayEngine | None = None, **settings: Any) -> None:
        """Load the encoder, with the `settings` of `open_encoder`; with an `engine` its workers do."""
        from pairmine.backends.encoders import open_encoder
        from pairmine.backends.models import use_threads
        from pairmine.cli.progress import Progress

        opening = partial(open_encoder, self._spec, flag=_FLAG, **settings)
        if engine is not None:
            from pairmine.cli.stats_shards import EncoderOfWorkers

            self._encoder = EncoderOfWorkers(engine.cluster, opening)
            return
        use_threads(workers)
        with Progress("stats", quiet=False).loading(self._spec):
            self._encoder = opening()

    def numbers(self, against: str | None, split: str | None) -> dict[str, Any]:
        """The numbers; with `against`, those of that pair set and the differences from them too."""
        found = self._numbers(self._sample)
        if against is None:
            return found
        from pairmine.files.forms import pairs_of

        other = Sample(self.size, seed=self.seed)
        for chunk in pairs_of(against, say, split=split).chunks():
            other.add(chunk)
        original = self._numbers(other)
        return {**found, "original": original, "difference": differences(found, original)}

    def _numbers(self, sample: Sample) -> dict[str, Any]:
        progress = Progress("stats", quiet=False)
        try:
            found = audit(
                sample.table(),
                self._encoder,
                positive_from=self._positive_from,
                among=self._among,
                advance=progress.begin("texts", None),
            )
        finally:
            progress.end()
        return {"name": self._spec.name, "among": self._among, **found}
