"""OpenAI's Batch API: requests go up as files, are answered within a day at half the price, and come down as files.

What must never happen is that a request is paid for twice. So every batch is written to the ledger under
a name of our own before it is made, that name goes into its metadata, and a run that finds such a record
looks for the batch at the server before it sends anything. A record is closed only when the ledger holds
every reply of its batch; until then a call whose key is in it waits for it instead of being sent.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import secrets
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Any, Protocol

from pairmine.backends.batch_files import MOST_BYTES, MOST_REQUESTS, KeyIndex, read_row, request_line
from pairmine.backends.batch_service import DAY_S, BatchService, Gone, Info
from pairmine.backends.exchange import DEFAULT_URL, is_local, shown_address
from pairmine.backends.http_clients import blocking_client, told_of_address
from pairmine.backends.llms import Answer
from pairmine.backends.requests import Complaint, Dialect, Malformed, adapted, believable, first_guess
from pairmine.errors import BAD_INPUT, GAVE_UP, PairmineError
from pairmine.ledger import Batch
from pairmine.llm.calls import Call, Failure, Reply

MOST_UNDER_WAY = 250_000
TRIES = 3
DOWNLOADS = 3

# The state of a record is one of these words and the id of the request file, once that is uploaded.
_UNSENT = "unsent"
_SENT = "sent"
_FETCHED = "fetched"
_HANDED_BACK = 1024
_LOOKED_UP = 512
# After so many polls without news the next one comes no later than this one did: about nine times poll_s.
_QUIETEST = 12
# So long a server keeps batches and their files.
_KEPT_S = 30 * DAY_S
_QUEUE_FULL = "token_limit_exceeded"
# Rows whose turn never came: nothing was tried, so nothing counts against them.
_NOT_TRIED = ("batch_expired", "batch_cancelled")
# So many rows that fail alike, and none that does not, are the run's fault and not the rows'.
_ENOUGH = 10

Say = Callable[[str], None]


class BatchKeeper(Protocol):
    """Where batches and replies are kept; `ledger.Ledger` is one."""

    def find(self, keys: Sequence[bytes]) -> Mapping[bytes, Reply]:
        """The replies that are there, by key."""

    def save_batch(self, batch: Batch, *, instead_of: str | None = None) -> None:
        """Write a batch or its new state, in the place of the one with the id `instead_of`."""

    def open_batches(self, backend: str | None = None) -> list[Batch]:
        """The batches that were saved and not closed, oldest first."""

    def close_batch(self, batch_id: str) -> None:
        """Forget a batch."""


@dataclass(eq=False)
class _Sent:
    """A batch at the server. `waiting` are the calls of this run that it is to answer, in order.

    `replied` are the keys whose reply came down, asked for in this run or not: they are paid for.
    """

    record: Batch
    dialect: Dialect
    is_new: bool = True
    seen: tuple[Any, ...] = ()
    waiting: dict[bytes, None] = field(default_factory=dict)
    replied: dict[bytes, None] = field(default_factory=dict)
    complaints: dict[bytes, Complaint] = field(default_factory=dict)
    completed: int = 0
    damaged: int = 0
    downloads: int = 0
    is_closed: bool = False

    @property
    def batch_id(self) -> str:
        return self.record.batch_id

    @property
    def input_file(self) -> str:
        return self.record.state.partition(" ")[2]


class OpenAIBatch:
    """An LLM behind the Batch API. `wait` sends what was submitted since the last time, and may block for a day.

    Submit all there is to ask, or all that there is room for, before `wait`: each `wait` that finds nothing to
    hand back makes batches of what was submitted, however little that is. Replies are safe at the server until
    the ledger has them, so a run can be killed at any moment and repeated.
    """

    def __init__(
        self,
        model: str,
        service: BatchService,
        ledger: BatchKeeper,
        *,
        say: Say,
        name: str,
        dialect: Dialect,
        window: str,
        poll_s: float,
        most_under_way: int,
        most_requests: int,
        most_bytes: int,
        sleep: Callable[[float], None],
    ) -> None:
        self.name = name
        self.model = self.price_name = model
        self.facts: dict[str, Any] = {"model": model}
        self._service = service
        self._ledger = ledger
        self._backend = f"batch {service.url}"
        self._say = say
        self._dialect = self._first_dialect = dialect
        self._window = window
        self._poll_s = poll_s
        self._most_under_way = most_under_way
        self._most_requests = most_requests
        self._most_bytes = most_bytes
        self._sleep = sleep
        self._calls: dict[bytes, Call] = {}
        self._unsent: deque[bytes] = deque()
        self._batches: list[_Sent] = []
        self._earlier: list[_Sent] = []
        self._earlier_keys: KeyIndex | None = None
        self._coming: deque[tuple[_Sent, Iterator[bytes]]] = deque()
        self._failures: deque[Answer] = deque()
        self._fetched: list[_Sent] = []
        self._not_kept: list[_Sent] = []
        self._tries: Counter[bytes] = Counter()
        self._stop: PairmineError | None = None
        self._queue_is_full = False
        self._quiet_polls = 0

    # --- the protocol -----------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many further calls it wants now."""
        return self._most_under_way - self.under_way

    @property
    def under_way(self) -> int:
        """How many calls were submitted and not handed back yet."""
        return len(self._calls) + len(self._failures)

    @property
    def state(self) -> dict[str, int]:
        """Counts for a progress line: batches at the server, calls in them, calls not sent yet."""
        at_work = self._at_work()
        return {
            "batches": len(at_work),
            "in_batches": sum(len(sent.waiting) for sent in at_work),
            "unsent": len(self._unsent),
        }

    def submit(self, call: Call) -> None:
        """Take a call. It waits for the batch of an earlier run that it is in, or is sent by the next `wait`."""
        self._calls[call.key] = call
        earlier = self._earlier_batch(call.key)
        if earlier is None:
            self._unsent.append(call.key)
        else:
            earlier.waiting[call.key] = None

    def wait(self) -> list[Answer]:
        """Answers of a batch that ended, at most about a thousand at a time; empty only when none is under way.

        Raises PairmineError: exit code 3 when the server gives up, a batch was cancelled or the account is
        out of money, 2 when the server refuses a whole batch; what was answered is handed back before that.
        """
        self._close_kept()
        while self._calls or self._failures:
            if answers := self._hand_back():
                return answers
            if self._stop:
                raise self._stop
            if not self._coming:
                self._send()
                self._poll()
        return []

    def count_tokens(self, messages: list[str]) -> list[int] | None:
        """None: only the server knows."""
        return None

    def close(self) -> None:
        """Let go of the connection. Batches at the server go on; the same command run again fetches them."""
        self._fetched += self._not_kept
        self._not_kept = []
        with contextlib.suppress(PairmineError):
            if self._earlier_keys is None:
                self._records()
            self._close_kept()
        if open_ones := self._at_work():
            ids = ", ".join(sent.batch_id for sent in open_ones[:3]) + (", ..." if len(open_ones) > 3 else "")
            self._say(
                f"{_many(len(open_ones), 'batch', 'batches')} at the server ({ids}); run the command again to fetch"
            )
        self._service.close()

    # --- batches of earlier runs ------------------------------------------------------------------

    def _earlier_batch(self, key: bytes) -> _Sent | None:
        if self._earlier_keys is None:
            self._earlier_keys = self._recalled()
        at = self._earlier_keys.find(key)
        if at is None:
            return None
        sent = self._earlier[at]
        # A batch that was fetched has nothing for a key without a reply: that one was sent anew, or is to be.
        was_fetched = sent.downloads > 0 and key not in sent.waiting
        return None if sent.is_closed or (was_fetched and key not in sent.replied) else sent

    def _recalled(self) -> KeyIndex:
        """The keys of the batches in the ledger, the newest batch first: a key may be in an expired one as well."""
        index = KeyIndex()
        for record in reversed(self._records()):
            made = self._made(record) if record.state.startswith(_UNSENT) else record
            if made is not None:
                for key in made.keys:
                    index.add(key, len(self._earlier))
                self._earlier.append(_Sent(made, self._first_dialect, is_new=False))
        self._batches += self._earlier
        index.settle()
        return index

    def _records(self) -> list[Batch]:
        """The open batches in the ledger, oldest first. Those that hold nothing new any more are closed on the way."""
        still_open: list[Batch] = []
        for record in self._ledger.open_batches(self._backend):
            if record.state.startswith(_FETCHED) and self._are_kept(record.keys):
                self._close(_Sent(record, self._first_dialect))
            else:
                still_open.append(record)
        return still_open

    def _made(self, record: Batch) -> Batch | None:
        """The batch that an earlier run was about to make, if it came to that."""
        uploaded = record.state.partition(" ")[2]
        info = self._service.find(record.batch_id, uploaded, record.created)
        if info is None:
            self._close(_Sent(record, self._first_dialect))
            return None
        made = Batch(info.batch_id, self._backend, f"{_SENT} {info.input_file}", record.keys, record.created)
        self._ledger.save_batch(made, instead_of=record.batch_id)
        return made

    # --- sending ----------------------------------------------------------------------------------

    def _send(self) -> None:
        while self._unsent and not (self._queue_is_full and self._at_work()):
            with tempfile.TemporaryFile() as handle:
                keys = self._write(handle)
                self._make(keys, handle)

    def _write(self, handle: IO[bytes]) -> tuple[bytes, ...]:
        """Write a request file of calls that were not sent yet, as many as may go into one; their keys."""
        keys: list[bytes] = []
        size = 0
        while self._unsent and len(keys) < self._most_requests:
            line = request_line(self._calls[self._unsent[0]], self._dialect)
            size += len(line)
            if keys and size > self._most_bytes:
                break
            handle.write(line)
            keys.append(self._unsent.popleft())
        return tuple(keys)

    def _make(self, keys: tuple[bytes, ...], handle: IO[bytes]) -> None:
        """Make a batch. The ledger knows of it before the server does, by the tag that its metadata will carry."""
        tag, now = secrets.token_hex(16), int(time.time())
        self._ledger.save_batch(Batch(tag, self._backend, _UNSENT, keys, now))
        try:
            uploaded = self._service.upload(handle, f"pairmine-{tag}.jsonl")
            self._ledger.save_batch(Batch(tag, self._backend, f"{_UNSENT} {uploaded}", keys, now))
            info = self._service.create(uploaded, tag, self._window)
        except PairmineError as error:
            if error.exit_code == BAD_INPUT:
                self._ledger.close_batch(tag)
            raise
        record = Batch(info.batch_id, self._backend, f"{_SENT} {uploaded}", keys, now)
        self._ledger.save_batch(record, instead_of=tag)
        sent = _Sent(record, self._dialect, waiting=dict.fromkeys(keys))
        self._batches.append(sent)
        self._quiet_polls = 0
        size = f"{handle.tell() / 1e6:,.1f} MB"
        self._say(f"{info.batch_id}: {_many(len(keys), 'request')} sent ({size}), answers within {self._window}")

    def _send_again(self, keys: Sequence[bytes]) -> None:
        self._unsent.extend(keys)

    # --- polling ----------------------------------------------------------------------------------

    def _at_work(self) -> list[_Sent]:
        """Batches that calls of this run wait for."""
        return [sent for sent in self._batches if sent.waiting]

    def _poll(self) -> None:
        """Ask about every batch once, a while after the last time, until one has ended."""
        at_work = self._at_work()
        if at_work and all(sent.seen or sent.is_new for sent in at_work):
            self._sleep(self._poll_s * 1.2**self._quiet_polls * random.uniform(0.8, 1.2))
        self._quiet_polls = min(self._quiet_polls + 1, _QUIETEST)
        for sent in at_work:
            try:
                info = self._service.retrieve(sent.batch_id)
            except Gone as error:
                self._unknown(sent, str(error))
                continue
            self._tell(sent, info)
            if info.has_ended:
                self._end(sent, info)

    def _tell(self, sent: _Sent, info: Info) -> None:
        """A line when a batch has come further, and quicker polling while it does."""
        seen = (info.status, info.completed, info.failed)
        if seen == sent.seen:
            return
        if not sent.seen and not sent.is_new:
            self._say(f"{sent.batch_id}: {_many(len(sent.waiting), 'request')} of this run were sent with it before")
        if not sent.seen or info.status != sent.seen[0]:
            failed = f", {info.failed:,} failed" if info.failed else ""
            self._say(
                f"{sent.batch_id}: {info.status}, {info.completed:,} of {len(sent.record.keys):,} answered{failed}"
            )
        sent.seen = seen
        self._quiet_polls = 0

    def _unknown(self, sent: _Sent, why: str) -> None:
        """A batch that the server does not know. A young one is another account's: to send it again is to pay again."""
        if time.time() - sent.record.created > _KEPT_S:
            self._give_up(sent, why)
            return
        sent_on = time.strftime("%Y-%m-%d %H:%M", time.localtime(sent.record.created))
        self._stop = PairmineError(
            f"{sent.batch_id}: sent on {sent_on}, holds {_many(len(sent.waiting), 'request')} of this run, and the "
            f"server does not know it ({why}); use the key that sent it, or another --ledger to pay for all again"
        )

    def _give_up(self, sent: _Sent, why: str) -> None:
        """A batch whose results the server has no more."""
        calls = _many(len(sent.waiting), "request is", "requests are")
        self._say(f"{sent.batch_id}: the server has its results no more ({why}); its {calls} sent again")
        self._close(sent)
        self._send_again(list(sent.waiting))
        sent.waiting.clear()

    def _end(self, sent: _Sent, info: Info) -> None:
        if info.status == "failed":
            self._refused(sent, info.complaint or Complaint(400, "no reason is given"))
            return
        self._queue_is_full = False
        try:
            files = [self._service.download(name) for name in (info.output_file, info.error_file) if name]
        except Gone as error:
            self._give_up(sent, str(error))
            return
        fetched = f"{_FETCHED} {info.input_file or sent.input_file}"
        if sent.record.state != fetched:
            sent.record = replace(sent.record, state=fetched)
            self._ledger.save_batch(sent.record)
        sent.downloads += 1
        sent.completed = info.completed
        sent.damaged = 0
        sent.complaints.clear()
        self._coming.append((sent, _lines(files)))

    def _refused(self, sent: _Sent, complaint: Complaint) -> None:
        """A batch that was not begun: nothing in it is paid for."""
        self._close(sent)
        keys, sent.waiting = list(sent.waiting), {}
        if complaint.code == _QUEUE_FULL:
            self._send_later(keys, complaint)
            return
        remedy = "add credit" if complaint.is_quota else "mend that"
        self._stop = PairmineError(
            f"{sent.batch_id}: the server refused the batch ({complaint.message}); {remedy} and run the command again",
            exit_code=GAVE_UP if complaint.is_quota else BAD_INPUT,
        )

    def _send_later(self, keys: list[bytes], complaint: Complaint) -> None:
        """An account may have so many tokens waiting in batches at a time, and no number says how many."""
        self._unsent.extendleft(reversed(keys))
        self._queue_is_full = True
        if self._at_work():
            self._say(f"the account's queue is full ({complaint.message}); the rest is sent as batches end")
            return
        if len(keys) == 1:
            self._stop = PairmineError(
                f"{self._service.url}: no room for a single request ({complaint.message}); "
                "run the same command again when other batches of the account have ended",
                exit_code=GAVE_UP,
            )
        self._most_requests = max(len(keys) // 2, 1)
        self._say(f"the account's queue is full ({complaint.message}); sending {self._most_requests:,} at a time")

    # --- handing back -----------------------------------------------------------------------------

    def _hand_back(self) -> list[Answer]:
        answers: list[Answer] = []
        while len(answers) < _HANDED_BACK and (self._coming or self._failures):
            if self._failures:
                answers.append(self._failures.popleft())
                continue
            sent, lines = self._coming[0]
            some = list(itertools.islice(lines, _HANDED_BACK - len(answers)))
            answers += [answer for line in some if (answer := self._read(sent, line))]
            if not some:
                self._coming.popleft()
                self._finish(sent)
        return answers

    def _read(self, sent: _Sent, line: bytes) -> Answer | None:
        try:
            row = read_row(line)
        except Malformed:
            sent.damaged += 1
            return None
        if isinstance(row.answer, Complaint):
            sent.complaints[row.key] = row.answer
            return None
        if row.key:
            sent.replied[row.key] = None
        if row.key not in sent.waiting:
            return None
        del sent.waiting[row.key]
        call = self._calls.pop(row.key)
        return call, believable(row.answer, call)

    def _finish(self, sent: _Sent) -> None:
        """Settle what a batch left unanswered: sent again, failed, or the end of the run."""
        found = len(sent.replied) + len(sent.complaints) + sent.damaged
        if sent.waiting and (sent.damaged or found < sent.completed):
            what = _many(sent.damaged, "damaged line") if sent.damaged else f"{found:,} of {sent.completed:,} answers"
            if sent.downloads < DOWNLOADS:
                self._say(f"{sent.batch_id}: {what} in its results; fetching them again")
                return
            if found == sent.damaged:  # all was answered, and to send it again is to pay again
                self._stop = PairmineError(
                    f"{sent.batch_id}: its results cannot be read ({what}); they stay at the server, "
                    "run the same command again to fetch them",
                    exit_code=GAVE_UP,
                )
                return
        if sent in self._not_kept:
            self._not_kept.remove(sent)
        self._fetched.append(sent)
        left, sent.waiting = list(sent.waiting), {}
        if not sent.replied and self._failed_alike(sent, left):
            return
        is_cancelled = bool(sent.seen) and sent.seen[0] == "cancelled"
        again = [key for key in left if not self._settled(key, sent.complaints.get(key), sent)]
        if is_cancelled and again:
            self._stop = PairmineError(
                f"{sent.batch_id}: was cancelled with {_many(len(again), 'request')} not answered; "
                "what was answered is kept, run the same command again to send the rest",
                exit_code=GAVE_UP,
            )
        elif again:
            self._say(f"{sent.batch_id}: {_many(len(again), 'request')} without an answer; sending again")
        self._send_again(again)

    def _settled(self, key: bytes, complaint: Complaint | None, sent: _Sent) -> bool:
        """Whether nothing more is to be done about a call that a batch did not answer; False sends it again."""
        if complaint is None:
            if sent.seen and sent.seen[0] != "completed":
                return False
            complaint = Complaint(500, "the batch ended without an answer to it")
        if complaint.code in _NOT_TRIED:
            return False
        if complaint.is_quota:
            self._stop = PairmineError(
                f"{self._service.url}: {complaint.message}; add credit and run the same command again",
                exit_code=GAVE_UP,
            )
            return False
        self._tries[key] += 1
        if complaint.is_transient and self._tries[key] <= TRIES:
            return False
        self._failures.append((self._calls.pop(key), Failure(f"{complaint.status}: {complaint.message}")))
        return True

    def _failed_alike(self, sent: _Sent, left: list[bytes]) -> bool:
        """Whether all calls failed for one reason that is not theirs: they go out in other words, or the run ends.

        Nothing is paid for a row that failed.
        """
        found = [sent.complaints[key] for key in left if key in sent.complaints]
        if not found or len(found) < len(left) or len({complaint.message for complaint in found}) > 1:
            return False
        complaint = found[0]
        if complaint.is_transient or complaint.is_quota:
            return False
        if sent.dialect != self._dialect:
            self._send_again(left)
            return True
        change = adapted(complaint, self._calls[left[0]], self._dialect)
        if change and change[0].format == self._dialect.format:
            self._dialect = change[0]
            self._say(f"{self.model} {change[1]}")
            self._send_again(left)
            return True
        if not change and len(left) < _ENOUGH and complaint.status not in (401, 403, 404):
            return False
        remedy = (
            "take a model that answers by JSON schema, or leave --batch out: then other ways are tried"
            if change
            else "mend that and run the command again"
        )
        self._stop = PairmineError(
            f"{sent.batch_id}: all of {_many(len(left), 'request')} failed alike "
            f"({complaint.status}: {complaint.message}); {remedy}",
            exit_code=BAD_INPUT,
        )
        return True

    # --- letting go -------------------------------------------------------------------------------

    def _close_kept(self) -> None:
        """Close the batches whose replies have all reached the ledger since they were handed back.

        Others hold replies to calls that this run did not make: `close` looks once more, a later run may want them.
        """
        for sent in self._fetched:
            if self._are_kept(list(sent.replied)):
                self._close(sent)
            else:
                self._not_kept.append(sent)
        self._fetched = []

    def _are_kept(self, keys: Sequence[bytes]) -> bool:
        slices = (keys[at : at + _LOOKED_UP] for at in range(0, len(keys), _LOOKED_UP))
        return all(len(self._ledger.find(some)) == len(some) for some in slices)

    def _close(self, sent: _Sent) -> None:
        """Forget a batch. The prompts that lie at the server go, the replies stay there as long as it keeps them."""
        self._ledger.close_batch(sent.batch_id)
        sent.is_closed = True
        if sent in self._batches:
            self._batches.remove(sent)
        if sent.input_file:
            self._service.delete(sent.input_file)


def _lines(files: list[IO[bytes]]) -> Iterator[bytes]:
    for file in files:
        with file:
            yield from (line for line in file if line.strip())


def _many(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def open_batch(
    model: str,
    *,
    base_url: str | None,
    api_key: str,
    ledger: BatchKeeper,
    say: Say,
    poll_s: float = 30.0,
    window: str = "24h",
    name: str | None = None,
    dialect: Dialect | None = None,
    timeout_s: float = 600.0,
    patience_s: float = 6 * 3600.0,
    most_under_way: int = MOST_UNDER_WAY,
    most_requests: int = MOST_REQUESTS,
    most_bytes: int = MOST_BYTES,
    sleep: Callable[[float], None] = time.sleep,
) -> OpenAIBatch:
    """An LLM behind the Batch API of OpenAI, or of the compatible server at `base_url`.

    Nothing is sent, and no server asked, before the first call is submitted. `name` is what `origin` calls
    the model, "openai:MODEL" by default. `dialect` is how the requests are worded: a batch is too slow to try
    out what a server takes. It is asked about its batches every `poll_s` seconds, up to ten times as
    seldom while nothing changes, and given up when it could not be reached for `patience_s`.
    """
    import openai

    http = blocking_client(trust_env=not is_local(base_url or DEFAULT_URL), timeout_s=timeout_s)
    with told_of_address(shown_address(base_url or DEFAULT_URL)):
        client = openai.OpenAI(api_key=api_key, base_url=base_url, timeout=timeout_s, max_retries=0, http_client=http)
    service = BatchService(client, say=say, patience_s=patience_s, pause_s=min(poll_s, 1.0), sleep=sleep)
    return OpenAIBatch(
        model,
        service,
        ledger,
        say=say,
        name=name or f"openai:{model}",
        dialect=dialect or first_guess(base_url),
        window=window,
        poll_s=poll_s,
        most_under_way=most_under_way,
        most_requests=most_requests,
        most_bytes=most_bytes,
        sleep=sleep,
    )
