"""The options of every command that asks an LLM, each written once, and how they reach a command's signature."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache, wraps
from typing import Annotated, Any

import typer

from pairmine.cli.asked import lay_aside
from pairmine.cli.ledger import DEFAULT, LedgerPath

_RECIPE = "Recipe"
_SERVER = "Server"
_SAMPLING = "Sampling"
_MONEY = "Money"
_REPLIES = "Replies"


_ONLINE = ("base_url", "api_key_file", "concurrency", "rpm", "tpm", "batch", "batch_files")
_SECRET = re.compile(r"(^|_)(api_?key|hf_token|access_token|auth_?token|authorization|password|secret)$", re.I)


def _option(*flags: str, help: str, panel: str, **more: Any) -> Any:
    return typer.Option(*flags, help=help, rich_help_panel=panel, **more)


OutputOrNone = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="File to write, by ending; - is standard output. Not needed with --dry-run.",
        rich_help_panel="Output",
    ),
]
Set = Annotated[
    list[str] | None,
    _option("--set", metavar="NAME=VALUE", help="Set a variable of the recipe.", panel=_RECIPE),
]
Shots = Annotated[int | None, _option("--shots", min=0, help="Exemplars per prompt.", panel=_RECIPE)]
DryRun = Annotated[
    bool,
    _option("--dry-run", help="Only count calls, tokens and dollars, and show the first prompts.", panel=_MONEY),
]
Probe = Annotated[
    int,
    _option(
        "--probe", min=0, help="With --dry-run: really ask about so many samples, for a tight estimate.", panel=_MONEY
    ),
]


@dataclass(frozen=True)
class LlmOptions:
    """What the user said about the model, its server, sampling, money and what becomes of bad replies."""

    base_url: Annotated[
        str | None,
        _option(
            "--base-url",
            help="For a model behind a server: its address, as http://localhost:8000/v1; else $OPENAI_BASE_URL.",
            panel=_SERVER,
        ),
    ] = None
    api_key_file: Annotated[
        str | None,
        _option("--api-key-file", metavar="FILE", help="Holds the key; else $OPENAI_API_KEY.", panel=_SERVER),
    ] = None
    concurrency: Annotated[
        int | None,
        _option("--concurrency", min=1, help="Most requests at once; adapts below it.", panel=_SERVER),
    ] = None
    rpm: Annotated[int | None, _option("--rpm", min=1, help="Most requests per minute.", panel=_SERVER)] = None
    tpm: Annotated[int | None, _option("--tpm", min=1, help="Most tokens per minute.", panel=_SERVER)] = None
    timeout: Annotated[float, _option("--timeout", min=0.1, help="Seconds that one reply may take.", panel=_SERVER)] = (
        600.0
    )
    retries: Annotated[
        int,
        _option(
            "--retries",
            min=0,
            help="How often a call is sent again after a fault of its own; a timeout counts as three.",
            panel=_SERVER,
        ),
    ] = 8
    vllm_arg: Annotated[
        list[str] | None,
        _option(
            "--vllm-arg",
            metavar="KEY=VALUE",
            help="vllm: only: any argument of the engine, as max_model_len=8192.",
            panel=_SERVER,
        ),
    ] = None
    batch: Annotated[
        bool, _option("--batch", help="openai: only: through the Batch API, for half the price.", panel=_SERVER)
    ] = False
    batch_files: Annotated[
        str | None,
        _option(
            "--batch-files",
            metavar="DIR",
            help="Write the requests there as batch files and read the results that are put beside them.",
            panel=_SERVER,
        ),
    ] = None
    ledger: LedgerPath = DEFAULT
    offline: Annotated[
        bool, _option("--offline", help="Ask nobody: only replies that the ledger holds.", panel=_SERVER)
    ] = False
    temperature: Annotated[
        float | None, _option("--temperature", min=0.0, help="In place of the recipe's.", panel=_SAMPLING)
    ] = None
    top_p: Annotated[
        float | None, _option("--top-p", min=0.0, max=1.0, help="In place of the recipe's.", panel=_SAMPLING)
    ] = None
    reply_tokens: Annotated[
        int | None,
        _option(
            "--reply-tokens", min=1, max=100_000_000, help="Longest reply, in place of the recipe's.", panel=_SAMPLING
        ),
    ] = None
    request_arg: Annotated[
        list[str] | None,
        _option(
            "--request-arg",
            metavar="KEY=VALUE",
            help='A further field of every request, VALUE as JSON: chat_template_kwargs={"enable_thinking":false}.',
            panel=_SAMPLING,
        ),
    ] = None
    price: Annotated[
        str | None,
        _option("--price", metavar="IN,OUT", help="Dollars per million tokens, as 0.15,0.60.", panel=_MONEY),
    ] = None
    max_usd: Annotated[
        float | None, _option("--max-usd", min=0.0, help="Stop when this run has spent this much.", panel=_MONEY)
    ] = None
    max_tokens: Annotated[
        int | None,
        _option("--max-tokens", min=1, help="Stop when it has taken this many, of prompts and replies.", panel=_MONEY),
    ] = None
    tokenizer: Annotated[
        str | None,
        _option("--tokenizer", metavar="FOLDER", help="Count prompt tokens with this tokenizer.json.", panel=_MONEY),
    ] = None
    retries_invalid: Annotated[
        int, _option("--retries-invalid", min=0, help="How often an invalid reply is asked for anew.", panel=_REPLIES)
    ] = 1
    max_failed: Annotated[
        float,
        _option("--max-failed", min=0.0, max=1.0, help="Exit 1 when more than this part got no reply.", panel=_REPLIES),
    ] = 0.01

    def sampling(self) -> dict[str, Any]:
        """What takes the place of the recipe's own sampling."""
        chosen = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.reply_tokens}
        found: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
        if self.request_arg:
            found["extra"] = assignments("--request-arg", self.request_arg)
        return found


def of_kind(context: typer.Context, options: LlmOptions, kind: str) -> LlmOptions:
    """`options` without those that variables set for other kinds of models than this one."""
    idle = {"openai": ["vllm_arg"], "vllm": [*_ONLINE]}.get(kind, [*_ONLINE, "vllm_arg", "max_usd"])
    for name in idle:
        lay_aside(context, name)
    return replace(options, **{name: context.params[name] for name in idle})


def takes_llm_options(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with the options of `LlmOptions` in its signature; it gets them as one argument `options`."""
    own = [each for each in inspect.signature(command, eval_str=True).parameters.values() if each.name != "options"]
    shared = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation)
        for field in fields(LlmOptions)
        if (annotation := _annotations()[field.name]) is not None
    ]
    names = {each.name for each in shared}

    @wraps(command)
    def run(**given: Any) -> None:
        options = LlmOptions(**{name: given.pop(name) for name in names})
        command(**given, options=options)

    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own] + shared
    )
    run.__annotations__ = {each.name: each.annotation for each in (*own, *shared)}
    return run


@cache
def _annotations() -> dict[str, Any]:
    from typing import get_type_hints

    return get_type_hints(LlmOptions, include_extras=True)


def ask_again(options: LlmOptions) -> str:
    """What to do about calls that got no reply."""
    return f"run the same command {'without --offline' if options.offline else 'again'} to ask for them"


def assignments(flag: str, given: list[str]) -> dict[str, Any]:
    """KEY=VALUE texts as a dictionary; a value that is no JSON is a text."""
    import orjson

    from pairmine.errors import PairmineError

    found: dict[str, Any] = {}
    for each in given:
        key, equals, value = each.partition("=")
        key = key.strip()
        if not equals or not key:
            raise PairmineError(f"{flag} {each}: write KEY=VALUE")
        if _SECRET.search(key):
            raise PairmineError(f"{flag} {key}: a key has no place on a command line; use the environment or a file")
        try:
            found[key] = orjson.loads(value)
        except ValueError:
            found[key] = value
        try:
            orjson.dumps(found[key])
        except TypeError:
            raise PairmineError(f"{flag} {key}: its value is no text in UTF-8 and no number of 64 bits") from None
    return found
