"""The server's side of OpenAI's Batch API: files up and down, batches made, found and asked about.

A connection that breaks says nothing about the batch, which goes on without us: every request is tried
again for hours. Making a batch is the one step that must not be repeated blindly: an answer
that got lost may have made one, so it is looked for before another is made.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, TypeVar

from pairmine.backends.batch_files import URL
from pairmine.backends.exchange import shown_address
from pairmine.backends.http_clients import Moved, Slow, TooMuch
from pairmine.backends.requests import Complaint, Malformed, count_of, parse, read_complaint
from pairmine.errors import BAD_INPUT, GAVE_UP, PairmineError
from pairmine.files.locations import told_of_tempdir
from pairmine.keys import remember, remember_address, without_keys

TAG = "pairmine"
DAY_S = 86_400
_LONGEST_PAUSE_S = 60.0
_FIRST_PATIENCE_S = 60.0
# A download has no length that could be known before, so it has a speed: a kilobyte a second after ten minutes.
_LATE_S, _SLOWEST = 600.0, 1000.0
_REPLIES = "the replies of a batch"

T = TypeVar("T")


class Gone(Exception):
    """A batch or a file that the server does not know, or no longer."""


class Unclear(Exception):
    """Nothing was learned: the connection broke, or the server is busy or talks nonsense. Try again."""


@dataclass(frozen=True)
class Info:
    """A batch as the server describes it. `complaint` is why it was refused as a whole, None if it was not."""

    batch_id: str
    status: str
    input_file: str = ""
    output_file: str = ""
    error_file: str = ""
    completed: int = 0
    failed: int = 0
    complaint: Complaint | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it, and all that came of it can be fetched."""
        if self.status not in ("completed", "expired", "cancelled", "failed"):
            return False
        # A batch may be called completed some moments before its output is there.
        return bool(self.output_file) or not self.completed


class _Told(Exception):
    """An error that came with a 200."""

    def __init__(self, complaint: Complaint) -> None:
        super().__init__(complaint.message)
        self.complaint = complaint


def _body(sent: Any) -> Any:
    """The JSON of an answer. Raises Malformed when it is none, _Told when it is an error."""
    body = parse(sent.content)
    if isinstance(body, dict) and body.get("error") and not body.get("id"):
        raise _Told(read_complaint(200, body))
    return body


def _info(body: Any) -> Info:
    if not isinstance(body, dict) or not isinstance(body.get("id"), str):
        raise Malformed("no batch")
    if not isinstance(body.get("status"), str):  # it would never end
        raise Malformed("a batch without a status")
    counts = body.get("request_counts")
    counts = counts if isinstance(counts, dict) else {}
    return Info(
        body["id"],
        body["status"],
        input_file=str(body.get("input_file_id") or ""),
        output_file=str(body.get("output_file_id") or ""),
        error_file=str(body.get("error_file_id") or ""),
        completed=count_of(counts.get("completed")),
        failed=count_of(counts.get("failed")),
        complaint=_whole_complaint(body),
    )


def _whole_complaint(body: dict[str, Any]) -> Complaint | None:
    errors = body.get("errors")
    data = errors.get("data") if isinstance(errors, dict) else errors
    if not isinstance(data, list) or not data:
        return None
    first = read_complaint(400, {"error": data[0]})
    line = data[0].get("line") if isinstance(data[0], dict) else None
    where = f" (line {line} of the request file)" if line else ""
    return Complaint(400, first.message + where, first.param, first.code)


class BatchService:
    """Files and batches at one server, by an `openai.OpenAI` client.

    Every method blocks until it has an answer. Raises PairmineError: exit code 3 when the server cannot be reached
    for `patience_s` (for a minute, if it never answered) or refuses the key, 2 when it refuses what is asked;
    and Gone for what it does not know.
    """

    def __init__(
        self,
        client: Any,
        *,
        say: Callable[[str], None],
        patience_s: float,
        pause_s: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        remember(str(client.api_key))
        remember_address(str(client.base_url))
        self.url = shown_address(str(client.base_url)).rstrip("/")
        self._client = client
        self._say = say
        self._patience_s = patience_s
        self._pause_s = pause_s
        self._sleep = sleep
        self._has_answered = False

    def upload(self, handle: IO[bytes], name: str) -> str:
        """Upload a request file; its id."""

        def attempt() -> str:
            handle.seek(0)
            sent = self._client.files.with_raw_response.create(file=(name, handle), purpose="batch")
            body = _body(sent)
            if not isinstance(body, dict) or not isinstance(body.get("id"), str):
                raise Malformed("no file")
            return body["id"]

        return self._known("upload a request file", attempt)

    def create(self, input_file: str, tag: str, window: str) -> Info:
        """Make a batch of an uploaded file, once: where an answer got lost, the batch that it made is taken."""
        since = int(time.time())
        is_doubtful = False

        def attempt() -> Info:
            nonlocal is_doubtful
            if is_doubtful and (found := self._look(tag, input_file, since)):
                return found
            is_doubtful = True
            made = self._client.batches.with_raw_response.create(
                input_file_id=input_file, endpoint=URL, completion_window=window, metadata={TAG: tag}
            )
            return _info(_body(made))

        return self._known("make a batch", attempt)

    def find(self, tag: str, input_file: str, since: int) -> Info | None:
        """The batch that carries `tag` or was made of `input_file`, made after `since`; None if there is none."""
        return self._known("list its batches", lambda: self._look(tag, input_file, since))

    def retrieve(self, batch_id: str) -> Info:
        """How a batch stands."""
        return self._patiently(
            f"say how {batch_id} stands",
            lambda: _info(_body(self._client.batches.with_raw_response.retrieve(batch_id))),
        )

    def download(self, file_id: str) -> IO[bytes]:
        """A file's content, whole, as an unnamed file at its beginning."""

        def attempt() -> IO[bytes]:
            with contextlib.ExitStack() as stack:
                with told_of_tempdir(_REPLIES):
                    copy = stack.enter_context(tempfile.TemporaryFile())
                began = time.monotonic()
                with self._client.files.with_streaming_response.content(file_id) as response:
                    for block in response.iter_bytes():
                        with told_of_tempdir(_REPLIES):
                            copy.write(block)
                        if time.monotonic() - began > _LATE_S + copy.tell() / _SLOWEST:
                            raise Unclear("it comes at less than a kilobyte a second")
                with told_of_tempdir(_REPLIES):
                    copy.seek(0)
                stack.pop_all()
            return copy

        return self._patiently(f"send {file_id}", attempt)

    def delete(self, file_id: str) -> None:
        """Delete a file if that can be had at once; one that stays behind does no harm."""
        # What it answers is not read, and may be no JSON.
        client = self._client.with_options(timeout=10.0)
        with contextlib.suppress(Unclear, Gone, PairmineError):
            self._once("delete a file", lambda: client.files.with_raw_response.delete(file_id))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _look(self, tag: str, input_file: str, since: int) -> Info | None:
        after: dict[str, str] = {}
        seen: set[str] = set()
        while True:
            page = _body(self._client.batches.with_raw_response.list(limit=100, **after))
            batches = page.get("data") if isinstance(page, dict) else None
            if not isinstance(batches, list) or not all(isinstance(body, dict) for body in batches):
                raise Malformed("no list of batches")
            for body in batches:
                metadata = body.get("metadata")
                is_tagged = isinstance(metadata, dict) and metadata.get(TAG) == tag
                if is_tagged or (input_file and body.get("input_file_id") == input_file):
                    return _info(body)
            if not page.get("has_more") or not batches:
                return None
            last, made = batches[-1].get("id"), batches[-1].get("created_at")
            # Newest come first. A day's difference between the clocks is allowed for.
            if isinstance(made, int) and made < since - DAY_S:
                return None
            # To take a list that goes in a circle for a whole one is to pay for a batch twice.
            if not isinstance(last, str) or last in seen:
                raise Malformed("a list of batches that does not end")
            seen.add(last)
            after = {"after": last}

    def _known(self, what: str, action: Callable[[], T]) -> T:
        """`action` at an address that every server with a Batch API has."""
        try:
            return self._patiently(what, action)
        except Gone as error:
            raise PairmineError(f"{self.url}: has no Batch API ({error}); leave --batch out") from None

    def _patiently(self, what: str, action: Callable[[], T]) -> T:
        patience_s = self._patience_s if self._has_answered else min(self._patience_s, _FIRST_PATIENCE_S)
        give_up_at = time.monotonic() + patience_s
        pause_s = self._pause_s
        is_told = False
        while True:
            try:
                found = self._once(what, action)
                self._has_answered = True
                return found
            except Unclear as error:
                if time.monotonic() > give_up_at:
                    raise PairmineError(
                        f"{self.url}: could not {what} for {_span(patience_s)} ({error}); "
                        "nothing is lost, check the address and run the same command again to continue",
                        exit_code=GAVE_UP,
                    ) from None
                if not is_told:
                    self._say(f"{self.url}: could not {what} ({error}); trying again")
                is_told = True
            self._sleep(random.uniform(0.5, 1.0) * pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _once(self, what: str, action: Callable[[], T]) -> T:
        import openai

        try:
            return action()
        except openai.APIStatusError as error:
            complaint = read_complaint(error.status_code, error.body or error.message)
        except _Told as error:
            complaint = error.complaint
        except Moved as error:
            raise PairmineError(
                f"{self.url}: could not {what}: {without_keys(str(error))}; nothing was sent there: if it is right, "
                "give it as --base-url",
                exit_code=GAVE_UP,
            ) from None
        except (Slow, TooMuch, Malformed) as error:
            raise Unclear(without_keys(str(error))) from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise Unclear(without_keys(str(cause).partition("\n")[0]) or type(cause).__name__) from None
        except Exception as error:
            if not _is_transport(error):
                raise
            raise Unclear(without_keys(str(error)) or type(error).__name__) from None
        if complaint.is_transient:
            raise Unclear(f"{complaint.status}: {complaint.message}")
        if complaint.status == 404:
            raise Gone(f"{complaint.status}: {complaint.message}")
        raise self._refusal(what, complaint)

    def _refusal(self, what: str, complaint: Complaint) -> PairmineError:
        said = f"{self.url}: refused to {what} ({complaint.status}: {complaint.message})"
        if complaint.status in (401, 403):
            return PairmineError(f"{said}; check the API key and what it may do", exit_code=GAVE_UP)
        if complaint.is_quota:
            return PairmineError(f"{said}; add credit and run the same command again", exit_code=GAVE_UP)
        return PairmineError(f"{said}; mend that, or leave --batch out", exit_code=BAD_INPUT)


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.3g} hours" if seconds >= 7200 else f"{seconds:.3g} seconds"


def _is_transport(error: Exception) -> bool:
    """Whether the HTTP library raised it: openai wraps what breaks a request, not what breaks a download."""
    return type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2")
