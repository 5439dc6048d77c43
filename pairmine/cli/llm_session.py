"""A model with its ledger and its allowance, for the length of a command."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pairmine.cli.llm_options import LlmOptions, assignments
from pairmine.errors import GAVE_UP, PairmineError
from pairmine.llm.money import dollars

if TYPE_CHECKING:
    from pairmine.backends.llms import LLM
    from pairmine.backends.specs import Spec
    from pairmine.cli.progress import Advance
    from pairmine.cli.run import Run
    from pairmine.engines.desk import Desk
    from pairmine.engines.purse import Progress
    from pairmine.engines.shards import Pool
    from pairmine.ledger import Ledger
    from pairmine.llm.asking import Asker
    from pairmine.llm.counting import TokenCounter
    from pairmine.llm.money import Budget, Price
    from pairmine.llm.recipes.recipe import PromptRecipe
    from pairmine.llm.recipes.rendering import Renderer
    from pairmine.llm.tasks import Asked, Plan

Say = Callable[[str], None]


@runtime_checkable
class _Unfinished(Protocol):
    """A backend whose calls may have to be run elsewhere."""

    def unfinished(self) -> PairmineError | None:
        """What is to be done first, None when nothing is left."""


class Session:
    """Opens the ledger at once, the model when `start` is called; closes both at the end.

    What cannot be right is told before anything is opened: a budget without a price, an option that does
    nothing for this kind of model.
    """

    def __init__(
        self, options: LlmOptions, spec: Spec, recipe: PromptRecipe, say: Say, *, only_looks: bool = False
    ) -> None:
        from pairmine.backends.llms import check_server, name_of
        from pairmine.llm.money import check_limits

        self.options = options
        self.spec = spec
        self.recipe = recipe
        self._say = say
        self._only_looks = only_looks
        self.server = _server(options)
        check_server(spec, self.server)
        self.model = name_of(spec, self.server)
        self.list_price = _price(options, spec)
        self.price = self.list_price.of_batch() if self.list_price and options.batch else self.list_price
        check_limits(self.price, max_usd=options.max_usd, max_tokens=options.max_tokens, model=str(spec))
        self.llm: LLM | None = None
        self._ledger: Ledger | None = None
        self._asker: Asker[Asked] | None = None
        self._done: Callable[[], Asker[Asked] | Progress]

    @property
    def ledger(self) -> Ledger:
        """The ledger, opened when it is first asked for."""
        from pairmine.ledger import Ledger

        if self._ledger is None:
            is_read_only = self.options.offline or self._only_looks
            self._ledger = Ledger(self.options.ledger, read_only=is_read_only)
            if self._ledger.remark:
                self._say(self._ledger.remark)
            self._take_in(self._ledger, is_read_only)
        return self._ledger

    def _take_in(self, ledger: Ledger, is_read_only: bool) -> None:
        """Put what a killed run on Ray kept into the ledger; one that is under way keeps it for itself."""
        from pairmine.engines.ledgers import has_shards, merge_shards

        if not has_shards(self.options.ledger):
            return
        remark = "a run on Ray with this ledger has not put its replies there yet; they are not seen here"
        if is_read_only:
            self._say(f"{self.options.ledger}: {remark}")
            return
        try:
            merge_shards(ledger, wait_s=0.0)
        except PairmineError as error:
            self._say(f"{self.options.ledger}: {remark}" if error.exit_code == GAVE_UP else str(error))

    def guard(self, run: Run, recipe_file: str | None) -> None:
        """See to it that no output of `run` takes the place of what this session needs."""
        run.guard("the ledger", self.options.ledger)
        for log in ("-wal", "-shm", "-asking"):
            run.guard("a part of the ledger", self.options.ledger + log)
        run.guard("the recipe", recipe_file)
        run.guard("the file with the key", self.options.api_key_file)

    def plan(self, renderer: Renderer, *, rehearses: bool = False, retries_invalid: int | None = None) -> Plan:
        """The recipe made ready for this model and the user's sampling."""
        from pairmine.llm.tasks import Plan

        return Plan(
            self.recipe,
            renderer,
            model=self.model,
            retries_invalid=self.options.retries_invalid if retries_invalid is None else retries_invalid,
            sampling=self.options.sampling(),
            rehearses=rehearses,
        )

    def start(self) -> Asker[Asked]:
        """Who answers calls: the ledger, and the model unless --offline."""
        from pairmine.backends.llms import open_llm
        from pairmine.llm.asking import Asker

        if not self.options.offline:
            self.llm = open_llm(self.spec, self.server, ledger=self.ledger, say=self._say)
        asker: Asker[Asked] = Asker(self.llm, self.ledger, recipe=self.recipe.name, allowance=self._budget())
        self._asker = asker
        self._done = lambda: asker
        self._started = time.monotonic()
        return asker

    @contextlib.contextmanager
    def desk(self, pool: Pool, shards: int, advance: Advance) -> Iterator[Desk]:
        """Where the workers of `pool` ask, in place of `start`; `advance` is told of tasks as they are done."""
        from pairmine.engines.desk import Limits, desk_of

        limits = Limits(self.price, self.options.max_usd, self.options.max_tokens)
        workers = min(pool.workers, shards, self.most_workers or shards)
        self._started = time.monotonic()
        with (
            desk_of(
                pool,
                self.spec,
                self.server,
                self.ledger,
                model=self.model,
                workers=workers,
                limits=limits,
                tokenizer=self.options.tokenizer,
            ) as desk,
            _Following(lambda: desk.purse.begin("progress")(), advance) as following,
        ):
            self._done = lambda: following.seen
            yield desk

    @property
    def most_workers(self) -> int | None:
        """How many workers may ask at once: no more than requests."""
        return self.options.concurrency

    def asked(self, progress: Progress) -> None:
        """Note what all workers together came to."""
        self._done = lambda: progress

    def counter(self) -> TokenCounter:
        """What counts prompt tokens."""
        from pairmine.llm.counting import counter_for

        own = self.llm.count_tokens if self.llm is not None else None
        return counter_for(self.model, own, tokenizer=self.options.tokenizer)

    def _budget(self) -> Budget | None:
        from pairmine.llm.money import Budget

        limits = self.options.max_usd, self.options.max_tokens
        if limits == (None, None) or self.options.offline:
            return None
        counter = self.counter()
        return Budget(
            lambda call: counter.messages(call.messages),
            price=self.price,
            max_usd=limits[0],
            max_tokens=limits[1],
            model=str(self.spec),
        )

    def finish(self) -> None:
        """To be called when all is written: what must be run elsewhere first stops the command here."""
        if isinstance(self.llm, _Unfinished) and (error := self.llm.unfinished()):
            raise error

    def status(self) -> str:
        """What the progress line says beside the rows: tokens a second, dollars, errors."""
        asker = self._done()
        seconds = max(time.monotonic() - self._started, 1e-3)
        parts = [f"{asker.spent.completion_tokens / seconds:,.0f} tokens/s"]
        usd = asker.spent.usd(self.price)
        if usd is not None:
            parts.append(dollars(usd))
        if asker.failed:
            parts.append(f"{asker.failed:,} failed")
        if elsewhere := getattr(asker, "elsewhere", 0):
            parts.append(f"{elsewhere:,} asked for by another run")
        state = getattr(self.llm, "state", None) or {}
        parts += [f"{name.replace('_', ' ')} {count:,}" for name, count in state.items() if count]
        return ", ".join(parts)

    def spent(self) -> dict[str, Any]:
        """What this run asked and paid, for --summary: it differs from run to run, so it is in no output."""
        asker = self._done()
        return {
            "asked": asker.spent.to_dict(self.price),
            "from_ledger": asker.replays.to_dict(self.price),
            "failed_calls": asker.failed,
        }

    def report(self) -> list[str]:
        """The same for people."""
        asker = self._done()
        usd = asker.spent.usd(self.price)
        cost = f", {dollars(usd)}" if usd is not None else ""
        asked = (
            f"{_replies(asker.spent.calls)} asked for: {asker.spent.prompt_tokens:,} prompt tokens"
            f" ({asker.spent.cached_tokens:,} cached), {asker.spent.completion_tokens:,} written{cost}"
        )
        lines = [asked] if asker.spent.calls else []
        if asker.spent.calls and not asker.spent.tokens:
            lines.append("the server told no numbers of tokens, so that nothing is known of the cost")
        if asker.replays.calls:
            lines.append(f"{_replies(asker.replays.calls)} from the ledger, paid for before")
        return lines

    @property
    def window(self) -> int:
        """How many tasks may be under way."""
        from pairmine.llm.tasks import WINDOW

        return max(WINDOW, self.llm.room if self.llm else 0)

    @property
    def facts(self) -> dict[str, Any]:
        """What the lineage says of the model and the recipe: nothing that differs from run to run."""
        model = {"name": self.model, "model": self.spec.public()}
        if _is_elsewhere(self.options, self.spec):
            model["server"] = "--base-url"
        return {"models": [model], "prompts": [{"name": self.recipe.name, "digest": self.recipe.digest}]}

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.ExitStack() as closing:
            if self._ledger is not None:
                closing.callback(self._ledger.close)
            if self.llm is not None:
                closing.callback(self.llm.close)
            if error is not None:
                self._save()

    def _save(self) -> None:
        """Keep what had arrived when the run was cut short; what cut it short stays the error that is told."""
        if self._asker is None:
            return
        try:
            self._asker.save()
        except PairmineError as error:
            self._say(f"replies that had arrived are not kept: {error}")


class _Following:
    """Asks every second, in a thread of its own, how far all workers are, and tells `advance`."""

    def __init__(self, look: Callable[[], Progress], advance: Advance) -> None:
        from pairmine.engines.purse import Progress

        self.seen = Progress()
        self._look = look
        self._advance = advance
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> _Following:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join(timeout=5.0)

    def _follow(self) -> None:
        while not self._over.wait(1.0):
            before = self.seen.tasks
            try:
                self.seen = self._look()
            except Exception:  # the run is over, and says why
                return
            if self.seen.tasks > before:
                self._advance(self.seen.tasks - before)


def _server(options: LlmOptions) -> Any:

    from pairmine.backends.llms import Server

    return Server(
        base_url=options.base_url,
        key_file=options.api_key_file,
        concurrency=options.concurrency,
        rpm=options.rpm,
        tpm=options.tpm,
        timeout_s=options.timeout,
        retries=options.retries,
        vllm_args=assignments("--vllm-arg", options.vllm_arg or []),
        batch=options.batch,
        batch_folder=options.batch_files,
    )


def _price(options: LlmOptions, spec: Spec) -> Price | None:
    from pairmine.llm.money import find_price, parse_price

    if options.price is not None:
        return parse_price(options.price)
    if spec.kind != "openai":
        return None
    from pairmine.backends.openai_chat import DEFAULT_URL, find_base_url

    base_url = find_base_url(options.base_url)
    return find_price(spec.target, base_url=None if base_url == DEFAULT_URL else base_url)


def _is_elsewhere(options: LlmOptions, spec: Spec) -> bool:
    """Whether the model is at a server that the user named; which one is nobody's business but theirs."""
    if spec.kind != "openai" or options.batch_files:
        return False
    from pairmine.backends.openai_chat import DEFAULT_URL, find_base_url

    return find_base_url(options.base_url) != DEFAULT_URL


def _replies(count: int) -> str:
    return f"{count:,} {'reply' if count == 1 else 'replies'}"
