"""A trainer's file for the commands that read pair sets: its pairs, and a line on what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.files import lineage
from pairmine.files.forms.faults import ONLY_FOR_TRAINERS
from pairmine.files.forms.form import Form
from pairmine.files.forms.tables import PLACE
from pairmine.files.source import ANY, PairSource
from pairmine.stages.check.finding import ERROR


class FormPairs(PairSource):
    """The pairs of `form`. A fault by which pairs are lost or guessed is an error."""

    def __init__(self, form: Form, say: Callable[[str], None]) -> None:
        super().__init__(form.shards[0].path, ANY, {}, say)
        self.path = self.name = form.path
        self._shards = form.shards
        self._form = form
        self._say(f"{form.path}: read as {form.name}")

    @property
    def _varies(self) -> bool:
        return False

    @property
    def entries(self) -> list[lineage.Entry]:
        """The lineage of the sidecar beside the file."""
        return self._form.entries

    def batches(self) -> Iterator[pa.Table]:
        """The pairs in tables of whole queries. Raises PairmineError where some of them are lost."""
        for table in self._form.chunks():
            self._look_at_findings()
            yield table.drop_columns([PLACE])

    def _look_at_findings(self) -> None:
        for finding in self._form.findings:
            for example in finding.examples if finding.name == "extra-column" else ():
                self._tell(f"{self._form.path}: {example.place} is left out")
        self._announced = True
        self._refuse_faults()

    def _refuse_faults(self) -> None:
        errors = [
            finding
            for finding in self._form.findings
            if finding.severity == ERROR and finding.name not in ONLY_FOR_TRAINERS
        ]
        if errors:
            first = errors[0]
            example: Any = first.examples[0]
            more = f" ({example.note})" if example.note else ""
            raise PairmineError(
                f"{self._form.path}: {example.place}: {first.name}{more}, as have {first.count:,} of "
                f"{first.out_of:,} {first.unit}; run 'pairmine check {self._form.path}', which reads on and shows all"
            )

    def add_to(self, record: lineage.Lineage, role: str) -> None:
        """Record the file."""
        self._form.rows = self.rows
        self._form.add_to(record, role)
