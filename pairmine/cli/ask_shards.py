"""Asking a model about shards: workers ask about one each and leave the answers, out of which its rows are written.

Rows are written last, by the ordinary code, which finds every answer and so writes what one machine writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from pairmine.engines.cut import write_shard
from pairmine.engines.desk import Client, Desk
from pairmine.engines.purse import Progress
from pairmine.engines.shards import Piece
from pairmine.errors import PairmineError
from pairmine.files.sharded import WorkFolder, exists, read_tables
from pairmine.llm.asking import Asker, Found
from pairmine.llm.calls import Call, Failure, Reply
from pairmine.llm.recipes.rendering import Renderer
from pairmine.llm.tasks import Plan

if TYPE_CHECKING:
    from pairmine.cli.llm_session import Session
    from pairmine.cli.ray_run import RayEngine
    from pairmine.cli.run import Run

STEP = "ask"


@dataclass(frozen=True)
class Prepared:
    """A plan as plain data."""

    render: Callable[[], Renderer]
    model: str
    retries_invalid: int
    sampling: dict[str, Any]

    def plan(self) -> Plan:
        """The plan, its templates compiled."""
        renderer = self.render()
        return Plan(
            renderer.recipe,
            renderer,
            model=self.model,
            retries_invalid=self.retries_invalid,
            sampling=self.sampling,
        )


class Inquiry(Protocol):
    """What is asked about shards, as plain data."""

    @property
    def recipe(self) -> Prepared:
        """The plan."""

    @property
    def folder(self) -> WorkFolder:
        """Where answers are left."""

    def ask(self, plan: Plan, piece: Piece, asker: Asker[Any], client: Client) -> None:
        """Have all calls about a shard answered by `asker`, with the window of `client`, which is told of tasks."""

    def is_whole(self, piece: Piece) -> bool:
        """Whether all is there that a worker left about a shard."""


@dataclass(frozen=True)
class Asked:
    """What asking about a shard came to; an error ends the run once the other workers have what they sent."""

    progress: Progress
    error: tuple[str, int] | None = None


def ask_shards(
    engine: RayEngine,
    run: Run,
    session: Session,
    inquiry: Inquiry,
    pieces: Sequence[Piece],
    *,
    what: str,
    most: int | None,
) -> int:
    """Have all shards asked about; how many tasks there were. Of `most` tasks a row the progress is told as `what`."""
    total = Progress()
    missing = []
    for piece in pieces:
        kept = inquiry.folder.read(_marker(piece))
        if kept is None or not exists(answers_about(inquiry.folder, piece)) or not inquiry.is_whole(piece):
            missing.append(piece)
        else:
            total.tasks += int(kept)
    error = None
    if missing:
        _check_gpus(engine, session)
        # Calls that failed before may get replies now, on which the rows of this shard and of later ones depend.
        engine.forget([piece for piece in pieces if piece.number >= missing[0].number])
        tasks = None if most is None else most * sum(piece.rows for piece in missing)
        advance = run.begin(what, tasks, session.status)
        with session.desk(engine.cluster, len(missing), advance) as desk:
            make, most_workers = Asking(inquiry, desk), session.most_workers
            for _, asked in engine.cluster.map(make, missing, resident=True, most=most_workers):
                total.tasks += asked.progress.tasks
                if asked.error is not None and error is None:
                    error = asked.error
                    desk.purse.begin("stop")()
            # With what was paid to workers that were lost, which those that took their shards found in the ledger.
            total = replace(desk.purse.begin("progress")(), tasks=total.tasks)
    session.asked(total)
    if error is not None:
        raise PairmineError(error[0], exit_code=error[1])
    return total.tasks


def _check_gpus(engine: RayEngine, session: Session) -> None:
    """Raise PairmineError where engines would all take the same GPU, since Ray was not told that they take one."""
    gpus = getattr(engine.cluster, "gpus", 0)
    if session.spec.kind == "vllm" and gpus and not engine.takes_gpus:
        raise PairmineError(
            f"--llm {session.spec}: the cluster has {gpus:g} GPUs, and a worker asks for none; add --gpus-per-worker 1"
        )


def answers_about(folder: WorkFolder, piece: Piece) -> str:
    """Where the answers about a shard lie."""
    return folder.place(f"{STEP}/replies-{piece.number:05}.parquet")


def _marker(piece: Piece) -> str:
    return f"done/{STEP}/{piece.number:05}.json"


@dataclass(frozen=True)
class Asking:
    """Makes what asks about a shard, on a worker."""

    inquiry: Inquiry
    desk: Desk

    def __call__(self) -> Callable[[Piece], Asked]:
        inquiry = self.inquiry
        inquiry.folder.check_seen()
        client = self.desk.open()
        plan = inquiry.recipe.plan()

        def ask(piece: Piece) -> Asked:
            record = _Record()
            before = client.progress()
            try:
                with client.asking(plan.recipe.name, record.answered) as asker:
                    inquiry.ask(plan, piece, asker, client)
            except PairmineError as error:
                return Asked(client.progress().since(before), (str(error), error.exit_code))
            write_shard(answers_about(inquiry.folder, piece), [_table_of(record.answers)])
            progress = client.progress().since(before)
            # A call that failed is asked again by a run that goes on.
            if not record.failures:
                inquiry.folder.write(_marker(piece), str(progress.tasks))
            return Asked(progress)

        return ask


class _Record:
    """The answers about a shard."""

    def __init__(self) -> None:
        self.answers: dict[bytes, Reply | Failure] = {}
        self.failures = 0

    def answered(self, call: Call, answer: Reply | Failure) -> None:
        """Note an answer."""
        self.failures += isinstance(answer, Failure)
        self.answers[call.key] = answer


def _table_of(answers: dict[bytes, Reply | Failure]) -> pa.Table:
    """The answers with what reading them takes."""
    given = list(answers.values())
    replies = [each if isinstance(each, Reply) else None for each in given]
    texts = [None if each is None else each.text.encode("utf-8", "surrogatepass") for each in replies]
    return pa.table(
        {
            "key": pa.array(list(answers), pa.binary()),
            "text": pa.array(texts, pa.large_binary()),
            "finish_reason": pa.array([each.finish_reason if each else None for each in replies], pa.string()),
            "failure": pa.array([each.reason if isinstance(each, Failure) else None for each in given], pa.string()),
        }
    )


class Answers:
    """A keeper of the answers about one shard."""

    def __init__(self, folder: WorkFolder, piece: Piece) -> None:
        self._answers: dict[bytes, Reply | Failure] = {}
        for table in read_tables(answers_about(folder, piece)):
            for key, text, finish_reason, failure in zip(
                *(column.to_pylist() for column in table.columns), strict=True
            ):
                known = (
                    Failure(failure) if text is None else Reply(text.decode("utf-8", "surrogatepass"), finish_reason)
                )
                self._answers[key] = known

    def find(self, keys: Any) -> dict[bytes, Found]:
        """See `asking.Keeper`."""
        return {key: self._answers[key] for key in keys if key in self._answers}

    def keep(self, answers: Any, *, recipe: str, backend: str) -> None:
        """Nothing is asked, so nothing comes."""
