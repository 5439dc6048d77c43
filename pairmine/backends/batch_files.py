"""File exchange: requests go out as JSONL, are run wherever the user likes, and their results are read back.

The lines are those of OpenAI's Batch API, which vLLM's `run_batch` speaks too:
a request is `{"custom_id", "method", "url", "body"}`, a result `{"custom_id", "response", "error"}`.
A call's `custom_id` is its key in hex, so results are known again whatever file they come in.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shlex
import tempfile
import zlib
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson

from pairmine.backends.llms import Answer
from pairmine.backends.requests import (
    PATH,
    Complaint,
    Dialect,
    Malformed,
    believable,
    parse,
    read_complaint,
    read_reply,
    request_body,
)
from pairmine.errors import GAVE_UP, PairmineError, code_of
from pairmine.files.locations import cause
from pairmine.files.partial import Partial, said_plainly
from pairmine.ledger import KEY_BYTES
from pairmine.llm.calls import Call, Failure, Reply

URL = "/v1" + PATH
MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000

_READY = 4096
_HANDED_BACK = 1024
# Told to fill a schema, models are prone to go on with white space until they are cut off.
_TERSE = ("--structured-outputs-config", '{"backend":"xgrammar","disable_any_whitespace":true}')
_OURS = re.compile(r"requests-\d{5,}\.jsonl")
# An offset and the number of its file in one integer: 2**40 bytes a file are enough.
_OFFSET_BITS = 40
_MOST_LINE_BYTES = 256 << 20


def request_line(call: Call, dialect: Dialect) -> bytes:
    """The line of a request file that asks for `call`, with its line end."""
    row = {"custom_id": call.key.hex(), "method": "POST", "url": URL, "body": request_body(call, dialect)}
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a result file: a call's `key` and its answer. The key is empty when the id is not one of ours."""

    key: bytes
    answer: Reply | Complaint


def read_row(line: bytes) -> Row:
    """The result in a line. Raises Malformed when it is torn, or says neither what was answered nor why not."""
    value = parse(line)
    if not isinstance(value, dict) or not isinstance(value.get("custom_id"), str):
        raise Malformed("no custom_id")
    key = _key_of(value["custom_id"])
    response, error = value.get("response"), value.get("error")
    response = response if isinstance(response, dict) else {}
    status, body = response.get("status_code"), response.get("body")
    if status == 200 and body:
        return Row(key, read_reply(body))
    if not error and not body:
        raise Malformed("neither a response nor an error")
    # An error outside of a response is the service's own (expired, lost a machine): it may pass.
    return Row(key, read_complaint(status if isinstance(status, int) and status != 200 else 500, body or error))


def _key_of(custom_id: str) -> bytes:
    with contextlib.suppress(ValueError):
        if len(custom_id) == 2 * KEY_BYTES:
            return bytes.fromhex(custom_id)
    return b""


class KeyIndex:
    """A number for each key of 20 bytes, in 28 bytes of memory apiece; of several the first added counts."""

    def __init__(self) -> None:
        self._added = bytearray()
        self._numbers = array("Q")
        self._keys: np.ndarray[Any, Any] = np.empty(0, f"S{KEY_BYTES}")
        self._order: np.ndarray[Any, Any] = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, key: bytes, number: int) -> None:
        """Note a key. It is found after `settle`."""
        self._added += key
        self._numbers.append(number)

    def settle(self) -> None:
        """Make everything added so far findable; nothing can be added after it."""
        keys = np.frombuffer(bytes(self._added), self._keys.dtype)
        self._added.clear()
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def find(self, key: bytes) -> int | None:
        """The number of `key`, None if it was never added."""
        at = int(self._keys.searchsorted(np.bytes_(key)))
        # numpy drops zero bytes at the end of a string; keys are of one length, so nothing is mixed up by that.
        if at == len(self._keys) or self._keys[at] != key.rstrip(b"\0"):
            return None
        return self._numbers[self._order[at]]


class Results:
    """All results in a folder's `*.jsonl` and `*.jsonl.gz`, found by key; only places in files are in memory.

    Files that hold no results (requests, a corpus) are passed over. A reply goes before a complaint,
    else the first in order of file names counts. A complaint that is not about the call (a busy server, a model
    that is not there) is no result. `say` hears of those and of damaged lines, once per file.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.damaged = self.foreign = 0
        self._say = say
        self._handles: list[IO[bytes]] = []
        self._replies, self._complaints = KeyIndex(), KeyIndex()
        try:
            for path in sorted([*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")]):
                if path.is_file() and not path.name.startswith("."):
                    try:
                        self._index(path)
                    except OSError as error:
                        line = f"{path}: {cause(error)}; mend that, or take the file away"
                        raise PairmineError(line, exit_code=code_of(error)) from None
        except BaseException:
            self.close()
            raise
        self._replies.settle()
        self._complaints.settle()

    def __len__(self) -> int:
        return len(self._replies) + len(self._complaints)

    def find(self, key: bytes) -> int | None:
        """The place of the result for `key`, for `read`; None if there is none."""
        place = self._replies.find(key)
        return self._complaints.find(key) if place is None else place

    def read(self, place: int, key: bytes) -> Reply | Complaint | None:
        """The result at `place`; None when the file was changed meanwhile and it is no longer there."""
        handle = self._handles[place >> _OFFSET_BITS]
        handle.seek(place & ((1 << _OFFSET_BITS) - 1))
        try:
            row = read_row(handle.readline(_MOST_LINE_BYTES))
        except Malformed:
            return None
        return row.answer if row.key == key else None

    def close(self) -> None:
        """Close the files."""
        for handle in self._handles:
            handle.close()

    def _index(self, path: Path) -> None:
        handle = self._opened(path)
        first_place = len(self._handles) << _OFFSET_BITS
        self._handles.append(handle)
        damage = passing = ""
        damaged = passed = offset = 0
        is_known = False
        for at, line in enumerate(iter(lambda: handle.readline(_MOST_LINE_BYTES), b""), start=1):
            place, offset = first_place + offset, offset + len(line)
            if not line.strip():
                continue
            try:
                if not is_known and not _is_result(line):
                    return
                is_known = True
                row = read_row(line)
                if isinstance(row.answer, Complaint) and not _is_final(row.answer):
                    passed += 1
                    passing = passing or f"{row.answer.status}: {row.answer.message}"
                else:
                    self._note(row, place)
            except Malformed as error:
                damaged += 1
                damage = damage or f"{path}:{at}: damaged result ({error}), its call stays to be answered"
        self.damaged += damaged
        if damage:
            self._say(damage + (f"; {damaged:,} such lines in this file" if damaged > 1 else ""))
        if passing:
            rows = "1 call was" if passed == 1 else f"{passed:,} calls were"
            self._say(f"{path}: {rows} not answered for a reason that may pass ({passing}); to be asked again")

    def _note(self, row: Row, place: int) -> None:
        if not row.key:
            self.foreign += 1
        elif isinstance(row.answer, Reply):
            self._replies.add(row.key, place)
        else:
            self._complaints.add(row.key, place)

    def _opened(self, path: Path) -> IO[bytes]:
        """The file, one that can be read from any place: a compressed one as an unnamed copy."""
        if path.suffix != ".gz":
            return path.open("rb")
        with contextlib.ExitStack() as stack:
            copy = stack.enter_context(tempfile.TemporaryFile())
            with path.open("rb") as packed:
                if not _unpack(packed, copy):
                    self._say(f"{path}: is cut off or damaged; reading what there is of it")
            copy.seek(0)
            stack.pop_all()
        return copy


def _is_final(complaint: Complaint) -> bool:
    """Whether a complaint is about the call itself, so that asking again would be in vain."""
    return complaint.status in (400, 413, 422) and not complaint.is_quota


def _unpack(packed: IO[bytes], target: IO[bytes]) -> bool:
    """Write what a gzip file holds, up to where it breaks off if it does; whether it was whole."""
    unpacker = None
    while block := packed.read(1 << 16):
        while block:
            unpacker = unpacker or zlib.decompressobj(wbits=31)
            try:
                target.write(unpacker.decompress(block))
            except zlib.error:
                return False
            block = unpacker.unused_data
            if unpacker.eof:
                unpacker = None
    return unpacker is None


def _is_result(line: bytes) -> bool:
    """Whether a file's first row says that the file holds results. Raises Malformed when it says nothing."""
    value = parse(line)
    return isinstance(value, dict) and "custom_id" in value and ("response" in value or "error" in value)


class Requests:
    """Request files in a folder, `requests-00001.jsonl` and so on, that appear together on `commit`."""

    def __init__(self, folder: Path, *, most_requests: int = MOST_REQUESTS, most_bytes: int = MOST_BYTES) -> None:
        self.count = 0
        self._folder = folder
        self._most_requests, self._most_bytes = most_requests, most_bytes
        self._partials: list[Partial] = []
        self._rows = self._bytes = 0

    def write(self, line: bytes) -> None:
        """Add a request, to a new file when the last one is full."""
        if not self._partials or self._rows == self._most_requests or self._bytes + len(line) > self._most_bytes:
            self._partials.append(Partial(str(self._folder / f"requests-{len(self._partials) + 1:05}.jsonl")))
            self._rows = self._bytes = 0
        partial = self._partials[-1]
        with said_plainly(partial.target):
            partial.handle.write(line)
        self._rows += 1
        self._bytes += len(line)
        self.count += 1

    def commit(self) -> list[Path]:
        """Put the files in place, those of an earlier round that are no longer needed away; their paths in order."""
        paths = [Path(partial.target) for partial in self._partials]
        for step in (Partial.sync, Partial.commit):  # all are on disk before the first one has its place
            for partial in self._partials:
                with said_plainly(partial.target):
                    step(partial)
        self._partials = []
        for old in self._folder.glob("requests-*.jsonl"):
            if old not in paths and _OURS.fullmatch(old.name):
                old.unlink(missing_ok=True)
        return paths

    def discard(self) -> None:
        """Drop what was not committed."""
        for partial in self._partials:
            partial.remove()
        self._partials = []


class BatchFiles:
    """An LLM behind a folder: calls with a result in it are answered, the others written out as requests.

    The latter come back as failures, and at the end `unfinished` says that they are to be run first.
    """

    def __init__(
        self,
        model: str,
        folder: Path,
        results: Results,
        requests: Requests,
        *,
        dialect: Dialect,
        name: str,
    ) -> None:
        self.name = name
        self.model = self.price_name = model
        self.facts: dict[str, Any] = {"model": model}
        self._folder = folder
        self._results = results
        self._requests = requests
        self._dialect = dialect
        self._ready: list[tuple[Call, int | None]] = []
        self._counts: Counter[str] = Counter()

    @property
    def room(self) -> int:
        """How many further calls it wants now."""
        return _READY - len(self._ready)

    @property
    def under_way(self) -> int:
        """How many calls wait to be handed back."""
        return len(self._ready)

    @property
    def state(self) -> dict[str, int]:
        """Counts for a progress line: results in the folder, those handed back, missing, damaged, not of this run."""
        taken = self._counts["answered"] + self._counts["failed"]
        return {
            "results": len(self._results),
            "answered": self._counts["answered"],
            "failed": self._counts["failed"],
            "missing": self._requests.count,
            "damaged": self._results.damaged,
            "others": self._results.foreign + len(self._results) - taken,
        }

    def submit(self, call: Call) -> None:
        """Find the call's result."""
        self._ready.append((call, self._results.find(call.key)))

    def wait(self) -> list[Answer]:
        """About a thousand answers at a time; empty when none is under way."""
        taken, self._ready = self._ready[:_HANDED_BACK], self._ready[_HANDED_BACK:]
        return [self._answer(call, place) for call, place in taken]

    def unfinished(self) -> PairmineError | None:
        """The end of a run with calls that have no result: puts the request files in place and says how to run them.

        None where every call had one. Its exit code is 3.
        """
        return self._to_be_run() if self._requests.count else None

    def count_tokens(self, messages: list[str]) -> list[int] | None:
        """None: only the server knows."""
        return None

    def close(self) -> None:
        """Close the results, drop requests that were not finished."""
        self._results.close()
        self._requests.discard()

    def _answer(self, call: Call, place: int | None) -> Answer:
        found = None if place is None else self._results.read(place, call.key)
        if found is None:
            self._requests.write(request_line(call, self._dialect))
            return call, Failure("waits in a request file")
        if isinstance(found, Reply):
            self._counts["answered"] += 1
            return call, believable(found, call)
        self._counts["failed"] += 1
        return call, Failure(f"{found.status}: {found.message}")

    def _to_be_run(self) -> PairmineError:
        count = self._requests.count
        first, *others = self._requests.commit()
        where = f"{first} and {len(others)} more up to {others[-1].name}" if others else str(first)
        words = ["-i", str(first), "-o", str(self._free_name()), "--model", self.model, *_TERSE]
        command = shlex.join(["python", "-m", "vllm.entrypoints.openai.run_batch", *words])
        return PairmineError(
            f"{count:,} {'requests are' if count > 1 else 'request is'} in {where}: run "
            f"{'each file' if others else 'it'}, e.g. {command}, and run this command again",
            exit_code=GAVE_UP,
        )

    def _free_name(self) -> Path:
        names = (self._folder / f"results-{number:05}.jsonl" for number in itertools.count(1))
        return next(path for path in names if not path.exists())


def open_batch_files(
    model: str,
    folder: str | os.PathLike[str],
    *,
    say: Callable[[str], None],
    name: str | None = None,
    dialect: Dialect | None = None,
    most_requests: int = MOST_REQUESTS,
    most_bytes: int = MOST_BYTES,
) -> BatchFiles:
    """An LLM that exchanges files in `folder`, which is made if need be; the results in it are indexed at once.

    `name` is what `origin` calls the model, "openai:MODEL" by default. `dialect` is how the requests are
    worded: by default with a JSON schema and `max_tokens`, as vLLM takes them.
    Raises PairmineError when the folder cannot be made or a file in it not be read.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise PairmineError(f"{path}: is a file; --batch-files takes a folder") from None
    except OSError as error:
        line = f"{path}: {cause(error)}; name a folder that can be made"
        raise PairmineError(line, exit_code=code_of(error)) from None
    requests = Requests(path, most_requests=most_requests, most_bytes=most_bytes)
    return BatchFiles(
        model,
        path,
        Results(path, say),
        requests,
        dialect=dialect or Dialect(),
        name=name or f"openai:{model}",
    )
