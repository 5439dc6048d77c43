"""Query likelihood: how probable a language model finds a query's words once it has read the document.

Zero-shot reranking by it needs no training (UPR, Sachan et al. 2022, arXiv 2204.07496); LLM-QL builds on the same
number. It is kept as the mean log-probability of the query's tokens, so that long queries are not punished.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np

from pairmine.backends.admission import LONGEST_HOLD_S, retry_after_s
from pairmine.backends.encoders import nothing
from pairmine.backends.exchange import PATIENCE_S, is_local, shown_address
from pairmine.backends.http_clients import (
    Moved,
    Slow,
    TooMuch,
    blocking_client,
    certificates,
    library,
    told_of_address,
)
from pairmine.backends.models import LENGTH_STEP, ROW_STEP, TOKENS_PER_BATCH, Advance
from pairmine.backends.requests import Complaint, Malformed, parse, read_complaint
from pairmine.backends.specs import Spec, locate, parse_spec
from pairmine.errors import BAD_INPUT, GAVE_UP, PairmineError
from pairmine.keys import without_keys
from pairmine.tokens import tokens

if TYPE_CHECKING:
    from pairmine.backends.vllm_engine import VllmEngine

KINDS = ("vllm", "openai", "hf", "fake")
FLAG = "--scorer"
_PROMPT = Path(__file__).parents[1] / "prompts" / "parts" / "query-likelihood.yaml"
_AT_ONCE = 256
_PIECE = 4096
"""So many texts are cut into tokens, and sorted by their shape, at once."""
_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 8.0
# The server goes on reading after we have hung up.
_FAULTS_OF_A_TIMEOUT = 3
_LOGITS_BYTES = 256 << 20
_LONG = 256

T = TypeVar("T")


@dataclass(frozen=True)
class Prompt:
    """The words around a document; the query follows them behind one blank."""

    before: str
    after: str

    @property
    def digest(self) -> str:
        """What the lineage knows it by."""
        return sha256(f"{self.before}\0{self.after}".encode()).hexdigest()

    def prefix(self, document: str) -> str:
        """All that stands before the query."""
        return f"{self.before} {document.strip()}\n{self.after}"


@cache
def load_prompt() -> Prompt:
    """The prompt that comes with pairmine, `prompts/parts/query-likelihood.yaml`."""
    import yaml

    found = yaml.safe_load(_PROMPT.read_text(encoding="utf-8"))
    return Prompt(found["before"].rstrip("\n"), found["after"].rstrip("\n"))


class LanguageModel(Protocol):
    """Reads texts and tells how probable it found their ends."""

    facts: dict[str, Any]

    def log_probs(self, texts: Sequence[tuple[str, str]], advance: Advance = ...) -> list[np.ndarray | None]:
        """Of each (beginning, end) the natural log-probabilities of the end's tokens, (tokens,) float64.

        The text is cut into tokens as a whole; its end are the tokens after those that it shares with the
        beginning alone. None where the whole is longer than the model can read.
        """

    def close(self) -> None:
        """Let go of connections and memory."""


class QueryLikelihood:
    """Scores a pair by the mean log-probability of the query's tokens given the document, 0 at most.

    A pair that is too long for the model, and a blank query, get NaN.
    """

    scale = "logprob"

    def __init__(self, model: LanguageModel, prompt: Prompt | None = None) -> None:
        self._model = model
        self._prompt = prompt or load_prompt()
        self.facts = {**model.facts, "scale": self.scale, "prompt": self._prompt.digest}

    def score(self, queries: Sequence[str], documents: Sequence[str], advance: Advance = nothing) -> np.ndarray:
        """One mean log-probability per pair, (n,) float32."""
        scores = np.full(len(queries), np.nan, np.float32)
        asked = [row for row, query in enumerate(queries) if query.strip()]
        texts = [(self._prompt.prefix(documents[row]), f" {queries[row].strip()}") for row in asked]
        advance(len(queries) - len(asked))
        for row, found in zip(asked, self._model.log_probs(texts, advance), strict=True):
            if found is not None and len(found):
                scores[row] = found.mean()
        return scores

    def close(self) -> None:
        """Let go of the model."""
        self._model.close()


def inner_spec(spec: Spec) -> Spec:
    """The language model that `ql:KIND:MODEL` names, a folder of it looked at; raises PairmineError for none."""
    with _as_likelihood():
        inner = parse_spec(spec.target, KINDS, FLAG)
        if inner.kind in ("vllm", "hf"):
            locate(inner, FLAG)
        return inner


@contextmanager
def _as_likelihood() -> Iterator[None]:
    """Errors that name the spec of an inner model name that of the likelihood."""
    try:
        yield
    except PairmineError as error:
        line = str(error).replace("--llm vllm:", f"{FLAG} ql:vllm:")
        line = line.replace(f"{FLAG} ", f"{FLAG} ql:") if not line.startswith(f"{FLAG} ql:") else line
        raise PairmineError(line, exit_code=error.exit_code) from error


def open_likelihood(
    spec: Spec,
    *,
    device: str | None = None,
    base_url: str | None = None,
    key_file: str | None = None,
    concurrency: int | None = None,
    timeout_s: float = 600.0,
    retries: int = 8,
    vllm_args: Mapping[str, Any] | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> QueryLikelihood:
    """The scorer that `spec` ("ql:vllm:MODEL", "ql:openai:MODEL", "ql:hf:MODEL", "ql:fake:") names.

    `device` is for hf:, `vllm_args` for vllm:, the others for openai:, which means the completions of a vLLM server:
    `base_url` or OPENAI_BASE_URL. Raises PairmineError for an unknown spec, model or server.
    """
    inner = inner_spec(spec)
    model: LanguageModel
    if inner.kind == "fake":
        model = UnigramModel()
    elif inner.kind == "hf":
        with _as_likelihood():
            model = TransformersModel(inner, device=device)
    elif inner.kind == "vllm":
        from pairmine.backends.vllm_engine import open_vllm

        with _as_likelihood():
            model = VllmModel(open_vllm(inner.target, args=vllm_args or {}, say=say))
    else:
        from pairmine.backends.openai_chat import DEFAULT_URL, find_base_url, find_key

        url = find_base_url(base_url)
        if url == DEFAULT_URL:
            raise PairmineError(
                f"{FLAG} {spec}: OpenAI's own server tells no likelihoods of a prompt; pass --base-url of a vLLM server"
            )
        key = find_key(url, Path(key_file) if key_file else None)
        model = ServedModel(inner.target, url, key, concurrency=concurrency, timeout_s=timeout_s, retries=retries)
    return QueryLikelihood(model)


def common_start(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two lists share from their beginning on."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


class UnigramModel:
    """A stand-in without a model: words drawn from those of the document, smoothed. For trying a pipeline out."""

    _SMOOTHING = 0.1
    _VOCABULARY = 10_000

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {"model": "ql:fake:"}

    def log_probs(self, texts: Sequence[tuple[str, str]], advance: Advance = nothing) -> list[np.ndarray | None]:
        """Logs of ``(count + 0.1) / (words + 1000)`` for each word of the end."""
        found: list[np.ndarray | None] = []
        for beginning, end in texts:
            counts = Counter(tokens(beginning))
            total = counts.total() + self._SMOOTHING * self._VOCABULARY
            found.append(np.log([(counts[word] + self._SMOOTHING) / total for word in tokens(end)]))
            advance(1)
        return found

    def close(self) -> None:
        """Nothing to let go of."""


class TransformersModel:
    """A causal language model by transformers.

    A text runs beside others of its own shape alone: its length and the part that is asked about, both rounded up
    to a multiple of 16. Short ones run four at a time or a multiple of that, long ones one by one. So the same pair has
    the same bits in every batch; logits are made for the part that is asked about, and take 256 MB at most.
    """

    def __init__(self, spec: Spec, *, device: str | None = None) -> None:
        from pairmine.backends.plain_models import load_plain, positions

        what = "causal language model"
        self._model, self._tokenizer, self._device, self.facts = load_plain(
            spec, FLAG, "AutoModelForCausalLM", what, device=device
        )
        self._limit = positions(self._model, self._tokenizer)
        self._vocabulary = int(self._model.config.get_text_config().vocab_size)
        self._takes_tail = "logits_to_keep" in signature(self._model.forward).parameters

    def log_probs(self, texts: Sequence[tuple[str, str]], advance: Advance = nothing) -> list[np.ndarray | None]:
        """The log-softmax of the model's own logits."""
        found: list[np.ndarray | None] = []
        for at in range(0, len(texts), _PIECE):
            piece = cut_all(self._tokenizer, texts[at : at + _PIECE])
            told: list[np.ndarray | None] = [None] * len(piece)
            for shape, rows in self._batches(piece):
                for row, values in zip(rows, self._run([piece[row] for row in rows], shape), strict=True):
                    told[row] = values
                advance(len(rows))
            advance(len(piece) - sum(values is not None for values in told))
            found += told
        return found

    def _batches(self, pieces: Sequence[Cut]) -> Iterator[tuple[_Shape, list[int]]]:
        """The rows of each shape that the model can read, as many at a time as their logits leave room for."""
        of_shape: dict[_Shape, list[int]] = {}
        for row, (whole, start) in enumerate(pieces):
            if len(whole) <= self._limit:
                length = min(_up(len(whole)), self._limit)
                tail = min(_up(length - start + 1), length) if self._takes_tail else length
                of_shape.setdefault(_Shape(length, tail), []).append(row)
        for shape, rows in sorted(of_shape.items()):
            size = self._texts_at_once(shape)
            for at in range(0, len(rows), size):
                yield shape, rows[at : at + size]

    def _texts_at_once(self, shape: _Shape) -> int:
        """A multiple of four, or 1 for long texts: by then one fills the processor, and the rest would be padding."""
        logits_bytes = 4 * self._vocabulary * shape.tail
        if shape.length > _LONG or ROW_STEP * logits_bytes > _LOGITS_BYTES:
            return 1
        fit = min(_LOGITS_BYTES // logits_bytes, TOKENS_PER_BATCH // shape.length)
        return fit // ROW_STEP * ROW_STEP

    def _run(self, pieces: Sequence[Cut], shape: _Shape) -> list[np.ndarray]:
        import torch

        # What fills up comes behind the text, where a causal model has not looked yet: it needs no mask.
        filled = [whole + whole[-1:] * (shape.length - len(whole)) for whole, _ in pieces]
        step = min(self._texts_at_once(shape), ROW_STEP)
        ids = torch.tensor(filled + filled[-1:] * (-len(filled) % step), device=self._device)
        more = {"logits_to_keep": shape.tail} if self._takes_tail else {}
        with torch.inference_mode():
            logits = self._model(input_ids=ids, use_cache=False, **more).logits
        found = []
        for row, (whole, start) in enumerate(pieces):
            # The logits at a token are those of the next one.
            first = start - 1 - (shape.length - shape.tail)
            own = torch.log_softmax(logits[row, first : first + len(whole) - start].double(), dim=-1)
            found.append(own.gather(1, ids[row, start : len(whole), None])[:, 0].cpu().numpy())
        return found

    def close(self) -> None:
        """Let go of the model."""
        self._model = None


Cut = tuple[list[int], int]
"""The tokens of a whole text, and the first of them that belongs to its end; never the very first."""


class _Shape(NamedTuple):
    """How long a text is as it runs, in tokens, and for how many of the last ones logits are made."""

    length: int
    tail: int


def _up(length: int) -> int:
    return max(-(-length // LENGTH_STEP), 1) * LENGTH_STEP


def cut_all(tokenizer: Any, texts: Sequence[tuple[str, str]]) -> list[Cut]:
    """Where in its tokens each text's end begins; a beginning that comes again is cut into tokens once."""
    if not texts:
        return []
    distinct = list(dict.fromkeys(beginning for beginning, _ in texts))
    beginnings = dict(zip(distinct, tokenizer(distinct)["input_ids"], strict=True))
    wholes = tokenizer([beginning + end for beginning, end in texts])["input_ids"]
    return [
        (list(whole), max(common_start(whole, beginnings[beginning]), 1))
        for whole, (beginning, _) in zip(wholes, texts, strict=True)
    ]


class VllmModel:
    """A model in this process through vLLM, by the log-probabilities of prompts."""

    def __init__(self, engine: VllmEngine) -> None:
        self._engine = engine
        self.facts = dict(engine.facts)

    def log_probs(self, texts: Sequence[tuple[str, str]], advance: Advance = nothing) -> list[np.ndarray | None]:
        """As the engine reports them; their last bits may depend on what it computes at the same time."""
        found: list[np.ndarray | None] = []
        for at in range(0, len(texts), _AT_ONCE):
            piece = cut_all(self._engine.tokenizer, texts[at : at + _AT_ONCE])
            with _as_likelihood():
                told = self._engine.prompt_log_probs([whole for whole, _ in piece])
            for (_, start), values in zip(piece, told, strict=True):
                found.append(None if values is None else np.array(values[start - 1 :], np.float64))
            advance(len(piece))
        return found

    def close(self) -> None:
        """End the engine."""
        self._engine.close()


class ServedModel:
    """A model of a vLLM server, through completions that echo their prompt with its log-probabilities.

    Where the query begins is asked of the server's /tokenize, once per document.
    """

    def __init__(
        self, model: str, base_url: str, key: str, *, concurrency: int | None, timeout_s: float, retries: int
    ) -> None:
        self._name = model
        self._url = base_url
        self._key = key
        self._timeout_s = timeout_s
        # Read once: it takes longer than all else that a client needs.
        self._certificates = certificates()
        self._clients: list[Any] = []
        self._idle = [self._new_client()]
        self._retries = retries
        # Only a server that has answered once is waited for when it is away, or asked again when it is no vLLM.
        self._answered: set[str] = set()
        self._is_closed = threading.Event()
        self._pool = ThreadPoolExecutor(concurrency or 16)
        self._beginnings: dict[str, list[int]] = {}
        self.facts: dict[str, Any] = {"model": f"openai:{model}", "server": "--base-url"}

    def log_probs(self, texts: Sequence[tuple[str, str]], advance: Advance = nothing) -> list[np.ndarray | None]:
        """As the server reports them; their last bits may depend on what it computes at the same time."""
        found: list[np.ndarray | None] = []
        for at in range(0, len(texts), _AT_ONCE):
            piece = texts[at : at + _AT_ONCE]
            distinct = list(dict.fromkeys(beginning for beginning, _ in piece))
            self._beginnings = dict(zip(distinct, self._map(self._tokenize, distinct), strict=True))
            for values in self._map(self._ask, piece):
                found.append(values)
                advance(1)
        return found

    def close(self) -> None:
        """Close the connections."""
        self._is_closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for client in self._clients:
            client.close()

    def _new_client(self) -> Any:
        """A client of which the connection is known: it is for one request at a time."""
        from openai import OpenAI

        http = blocking_client(
            trust_env=not is_local(self._url),
            timeout_s=self._timeout_s,
            keeps_connections=True,
            trusted=self._certificates,
        )
        settings: dict[str, Any] = {"timeout": self._timeout_s, "max_retries": 0, "http_client": http}
        with told_of_address(shown_address(self._url)):
            client = OpenAI(base_url=self._url, api_key=self._key, **settings)
        self._clients.append(client)
        return client

    @contextmanager
    def _client(self) -> Iterator[Any]:
        """A client that nobody else uses meanwhile."""
        try:
            client = self._idle.pop()
        except IndexError:
            client = self._new_client()
        try:
            yield client
        finally:
            self._idle.append(client)

    def _map(self, ask: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        futures = [self._pool.submit(ask, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def _tokenize(self, text: str) -> list[int]:
        def read(told: Any) -> list[int]:
            if isinstance(told, dict) and _are_ids(told.get("tokens")):
                return list(told["tokens"])
            raise self._odd(told, "its /tokenize gives no tokens")

        root = self._url.removesuffix("/v1")
        found = self._post(f"{root}/tokenize", {"model": self._name, "prompt": text}, read)
        if found is None:
            raise self._no_vllm("its /tokenize gives no tokens")
        return found

    def _ask(self, text: tuple[str, str]) -> np.ndarray | None:
        beginning, end = text
        body = {
            "model": self._name,
            "prompt": beginning + end,
            "echo": True,
            "logprobs": 1,
            "max_tokens": 1,
            "temperature": 0,
            "return_token_ids": True,
        }

        def read(told: Any) -> np.ndarray:
            try:
                choice = told["choices"][0]
                whole, values = choice["prompt_token_ids"], choice["logprobs"]["token_logprobs"]
                if _are_ids(whole) and isinstance(values, list) and len(values) >= len(whole):
                    start = max(common_start(whole, self._beginnings[beginning]), 1)
                    own = values[start : len(whole)]
                    if all(type(value) in (int, float) and -1e6 < value < 1e-3 for value in own):
                        return np.array(own, np.float64)
            except (KeyError, TypeError, IndexError):
                pass
            raise self._odd(told, "its completions do not echo the prompt with token ids and log-probabilities")

        return self._post("/completions", body, read)

    def _post(self, path: str, body: dict[str, Any], read: Callable[[Any], T]) -> T | None:
        """What `read` finds in the answer; None where the prompt is too long for the server."""
        faults = tries = 0
        away_since: float | None = None
        while True:
            try:
                found = read(self._sent(path, body))
                self._answered.add(path)
                return found
            except _TooLong:
                return None
            except _Passing as fault:
                is_away = fault.is_away and bool(self._answered)
                away_since = (away_since or time.monotonic()) if is_away else None
                faults += 0 if is_away else fault.faults
                few = (fault.is_away or fault.is_telling) and path not in self._answered
                most = min(1, self._retries) if few else self._retries
                pause_s = min(_LONGEST_PAUSE_S, _PAUSE_S * 2**tries) * random.uniform(0.5, 1.0)
                is_over = faults > most or fault.asked_s > LONGEST_HOLD_S
                is_over = is_over or (away_since is not None and time.monotonic() - away_since > PATIENCE_S)
                if is_over or self._is_closed.wait(max(pause_s, fault.asked_s)):
                    raise fault.error from None
                tries += 1

    def _sent(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON of an answer; raises _Passing for what another try may mend, PairmineError for the rest."""
        import openai

        try:
            with self._client() as client:
                return parse(client.post(path, body=body, cast_to=library().Response).content)
        except Malformed as error:
            raise self._no_answer(str(error)) from None
        except openai.APITimeoutError:
            raise self._no_answer(f"no answer in {self._timeout_s:g} s", _FAULTS_OF_A_TIMEOUT) from None
        except openai.APIStatusError as error:
            raise self._refused(path, _complaint(error.response), error.response.headers) from None
        except (Moved, Slow, TooMuch, openai.APIConnectionError) as error:
            raise self._broken_off(error) from None

    def _broken_off(self, error: Exception) -> Exception:
        """What to raise where no whole answer came."""
        # Some versions of the openai package wrap what they do not know.
        cause = error.__cause__ or error
        if isinstance(cause, Moved):
            return self._gave_up(f"{shown_address(self._url)}: {cause}", "give that as --base-url if it is right")
        if isinstance(cause, Slow | TooMuch):
            return self._no_answer(str(cause), _FAULTS_OF_A_TIMEOUT)
        kind = type(cause).__name__
        if kind not in ("ConnectError", "ProxyError"):
            return self._no_answer(f"the connection broke off, {kind}")
        away = self._gave_up(f"cannot reach {shown_address(self._url)} ({kind})", "start the server")
        return _Passing(away, is_away=True)

    def _no_answer(self, why: str, faults: int = 1) -> _Passing:
        line = f"no answer of {shown_address(self._url)} ({why})"
        return _Passing(self._gave_up(line, "look at the server"), faults=faults)

    def _odd(self, told: Any, what: str) -> Exception:
        """What to raise for an answer of another shape: an error in a 200, or that of another server."""
        complaint = read_complaint(200, told)
        if isinstance(told, dict) and (told.get("error") or told.get("object") == "error"):
            return self._refused("", complaint, {})
        return _Passing(self._no_vllm(what), is_telling=True)

    def _refused(self, path: str, complaint: Complaint, headers: Mapping[str, str]) -> Exception:
        """What to raise for an error that the server put in words."""
        said = without_keys(complaint.message)
        if complaint.status == 400 and "context length" in said:
            return _TooLong()
        if complaint.status == 404 and "model" not in said:
            return self._no_vllm(f"it has no {path.rpartition('/')[1]}{path.rpartition('/')[2]}")
        line = f"{FLAG} ql:openai:{self._name}: the server answers {complaint.status}: {said[:200]}"
        error = PairmineError(line, exit_code=GAVE_UP if complaint.status >= 429 else BAD_INPUT)
        if not complaint.is_transient:
            return error
        return _Passing(error, asked_s=retry_after_s(headers, time.time()) or 0.0)

    def _gave_up(self, what: str, remedy: str) -> PairmineError:
        line = f"{FLAG} ql:openai:{self._name}: {without_keys(what)}; {remedy} and run the same command again"
        return PairmineError(line, exit_code=GAVE_UP)

    def _no_vllm(self, what: str) -> PairmineError:
        return PairmineError(
            f"{FLAG} ql:openai:{self._name}: {shown_address(self._url)} is no server for likelihoods, {what}; "
            "it wants a vLLM server of version 0.10 or later"
        )


class _TooLong(Exception):
    """A prompt of more tokens than the model can read."""


class _Passing(Exception):
    """What may be otherwise at another try, and the error that it is if it stays so.

    `faults` are the tries that it uses up; `asked_s` is how long the server wants to be left alone. What `is_telling`
    shows, before anything was answered, that this is not the server that was meant. A server that goes away after it
    has answered is waited for, and no tries are used up.
    """

    def __init__(
        self,
        error: PairmineError,
        *,
        faults: int = 1,
        asked_s: float = 0.0,
        is_telling: bool = False,
        is_away: bool = False,
    ) -> None:
        super().__init__(str(error))
        self.error, self.faults, self.asked_s = error, faults, asked_s
        self.is_telling, self.is_away = is_telling, is_away


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(each) is int for each in value)


def _complaint(response: Any) -> Complaint:
    """What an answer that is no success says."""
    try:
        body = parse(response.content)
    except Malformed:
        body = response.content.decode("utf-8", "replace")
    return read_complaint(response.status_code, body)
