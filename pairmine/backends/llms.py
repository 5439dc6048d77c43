"""Chat models behind one protocol: calls go in, replies come out, in whatever order they are done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from pairmine.backends.specs import Spec, parse_spec
from pairmine.errors import PairmineError
from pairmine.llm.calls import Call, Failure, Reply

Answer = tuple[Call, Reply | Failure]


class LLM(Protocol):
    """A chat model. One thread uses it: `submit` while there is `room`, then `wait`, until nothing is under way.

    `name` is how `origin`, lineage and reports call it ("openai:gpt-5-mini"), `model` what calls
    to it carry in their key. `facts` go into the lineage. `price_name` is the model's name in price lists.
    """

    name: str
    model: str
    facts: dict[str, Any]

    @property
    def room(self) -> int:
        """How many further calls it wants now; 0 when it is full."""

    @property
    def under_way(self) -> int:
        """How many calls were submitted and not handed back yet."""

    def submit(self, call: Call) -> None:
        """Take a call. It may be sent at once or only in `wait`."""

    def wait(self) -> list[Answer]:
        """Block until a call is done, and hand back all that are; empty only when none is under way.

        Raises PairmineError with exit code 3 when the server or the key is no good, so that
        further calls are pointless; replies that did arrive are handed back before that.
        """

    def count_tokens(self, messages: list[str]) -> list[int] | None:
        """Tokens of each text by the model's own tokenizer, None where only the server knows."""

    def close(self) -> None:
        """Let go of connections and memory; calls under way are given up."""


@dataclass(frozen=True)
class Server:
    """Where and how a model is asked: what the user said about it, as far as it was said."""

    base_url: str | None = None
    key_file: str | None = None
    concurrency: int | None = None
    rpm: float | None = None
    tpm: float | None = None
    timeout_s: float = 600.0
    retries: int = 8
    vllm_args: Mapping[str, Any] = field(default_factory=dict)
    batch: bool = False
    batch_folder: str | None = None

    def share(self, workers: int) -> Server:
        """What one of so many `workers` may ask of it, that all of them together keep to the ceilings."""
        return replace(
            self,
            concurrency=None if self.concurrency is None else max(1, self.concurrency // workers),
            rpm=None if self.rpm is None else self.rpm / workers,
            tpm=None if self.tpm is None else self.tpm / workers,
        )


KINDS = ("openai", "vllm", "fake")


def name_of(spec: Spec, server: Server) -> str:
    """What calls to the model carry in their key, found without starting it or asking anybody."""
    if spec.kind == "vllm":
        from pairmine.backends.vllm_engine import identity

        return identity(spec.target, server.vllm_args)
    return spec.target or spec.kind


def open_llm(
    spec: Spec | str,
    server: Server | None = None,
    *,
    ledger: Any = None,
    say: Callable[[str], None] = lambda line: None,
    **settings: Any,
) -> LLM:
    """The chat model that `spec` names ("openai:MODEL", "vllm:MODEL", "fake:"), ready for calls.

    Where it is and how it is asked is said by `server`, or by its fields: base_url="http://localhost:8000/v1".
    `ledger` is where batches are noted, `say` takes lines for people. Raises PairmineError for a spec that is
    none, a setting that this kind of model does not take, a missing package or key, and with exit code 3 for a
    model that cannot be loaded.
    """
    spec = parse_spec(spec, KINDS, "llm") if isinstance(spec, str) else spec
    server = server or Server(**settings)
    check_server(spec, server)
    if spec.kind == "fake":
        from pairmine.backends.fake_llm import FakeLLM

        return FakeLLM()
    if spec.kind == "vllm":
        from pairmine.backends.vllm_engine import open_vllm

        return open_vllm(spec.target, args=server.vllm_args, say=say)
    if server.batch_folder:
        from pairmine.backends.batch_files import open_batch_files

        return open_batch_files(spec.target, server.batch_folder, say=say)
    from pairmine.backends.openai_chat import find_base_url, find_key, open_chat

    base_url = find_base_url(server.base_url)
    key = find_key(base_url, Path(server.key_file) if server.key_file else None)
    if server.batch:
        from pairmine.backends.openai_batch import open_batch

        return open_batch(spec.target, base_url=base_url, api_key=key, ledger=ledger, say=say)
    return open_chat(
        spec.target,
        base_url=base_url,
        api_key=key,
        concurrency=server.concurrency,
        rpm=server.rpm,
        tpm=server.tpm,
        timeout_s=server.timeout_s,
        retries=server.retries,
        say=say,
    )


def check_server(spec: Spec, server: Server) -> None:
    """Raise a PairmineError for what was said about the server that this kind of model does not take."""
    online = {
        "--base-url": server.base_url,
        "--api-key-file": server.key_file,
        "--concurrency": server.concurrency,
        "--rpm": server.rpm,
        "--tpm": server.tpm,
        "--batch": server.batch,
        "--batch-files": server.batch_folder,
    }
    if spec.kind != "openai":
        for flag, value in online.items():
            if value:
                raise PairmineError(f"{flag} has no effect with --llm {spec}; it is for openai: models")
    if spec.kind != "vllm" and server.vllm_args:
        raise PairmineError(f"--vllm-arg has no effect with --llm {spec}; it is for vllm: models")
    if server.batch and server.batch_folder:
        raise PairmineError("--batch and --batch-files are two ways of sending; leave one of them out")
    for flag in ("--concurrency", "--rpm", "--tpm"):
        if online[flag] and (server.batch or server.batch_folder):
            raise PairmineError(f"{flag} has no effect with --batch or --batch-files; leave it out")
    if server.batch_folder and (server.base_url or server.key_file):
        raise PairmineError("--batch-files asks no server; leave out --base-url and --api-key-file")
