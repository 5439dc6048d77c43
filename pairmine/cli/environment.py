"""Options from the environment: `PAIRMINE_MINE_DEPTH=50` stands for `pairmine mine --depth 50`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pairmine.errors import PairmineError

PREFIX = "PAIRMINE"
GENERAL = frozenset(
    {
        *("API_KEY_FILE", "BACKEND", "BASE_URL", "CONCURRENCY", "DEVICE", "DTYPE", "LEDGER", "MAX_USD", "MEMORY"),
        *("OFFLINE", "QUIET", "RETRIES", "RPM", "SEED", "STORE", "TIMEOUT", "TPM", "VECTOR_TYPE", "VERBOSE", "WORKERS"),
    }
)
"""Options that mean the same in every command that has them: `PAIRMINE_SEED` goes for all of these."""
OTHERS = frozenset({"PAIRMINE_DEBUG"})
"""Variables that stand for no option of a command."""
_TAKEN = "pairmine.environment"
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def names_of(path: Sequence[str], option: Any) -> list[str]:
    """The variables that an option listens to; the first one that is set wins.

    >>> names_of(["derive", "ict"], seed)
    ['PAIRMINE_DERIVE_ICT_SEED', 'PAIRMINE_DERIVE_SEED', 'PAIRMINE_SEED']
    """
    word = _upper(flag_of(option).lstrip("-"))
    above = [_name(path[:length], word) for length in range(len(path), 0, -1)]
    return [*above, _name((), word)] if word in GENERAL else above


def flag_of(option: Any) -> str:
    """The long flag of an option, as --output."""
    return next((flag for flag in option.opts if flag.startswith("--")), option.opts[0])


def options_of(command: Any) -> list[Any]:
    """The options of a command that a variable can set: not its arguments."""
    return [each for each in command.params if each.param_type_name == "option"]


def path_of(context: Any) -> list[str]:
    """The words of the command, without the program's own name."""
    words: list[str] = []
    while context.parent is not None:
        words.insert(0, context.info_name)
        context = context.parent
    return words


def offer(context: Any) -> None:
    """Have the options of this command stand at what the environment says, where the command line is silent.

    Raises PairmineError for a value that is none of a switch, or has a quote that nothing closes.
    """
    path, found = path_of(context), {}
    for option in options_of(context.command):
        for name in names_of(path, option):
            if text := os.environ.get(name):
                found[option.name] = _value(name, text, option)
                context.meta.setdefault(_TAKEN, {})[flag_of(option)] = name
                break
    context.default_map = found


def blame(context: Any, error: Any) -> Exception:
    """`error` about a value, by the name of its variable where it came from one."""
    param: Any = getattr(error, "param", None)
    name = _behind(context).get(flag_of(param)) if param is not None else None
    if name is None:
        return error
    what = " ".join(error.message.split())
    return PairmineError(f"{name}={os.environ[name]}: {what[:1].lower()}{what[1:]}; mend that variable or unset it")


def explain(context: Any, error: PairmineError) -> PairmineError:
    """`error` with the variable behind every option that it speaks of."""
    line = str(error)
    behind = [
        f"{flag} is set by ${name}"
        for flag, name in _behind(context).items()
        if _speaks_of(line, flag) or _quotes(line, flag, os.environ.get(name, ""))
    ]
    return PairmineError(f"{line} ({', '.join(behind)})", exit_code=error.exit_code) if behind else error


def remarks(context: Any, commands: Iterable[str]) -> Iterator[str]:
    """A line for each variable that names no option but nearly does: one of this command, or one of several."""
    path = path_of(context)
    mine = {_upper(flag_of(each).lstrip("-")): names_of(path, each)[0] for each in options_of(context.command)}
    known = {name for each in options_of(context.command) for name in names_of(path, each)} | OTHERS
    others = {_upper(each) for each in commands}
    for name in sorted(os.environ):
        if not name.startswith(f"{PREFIX}_") or name in known or not os.environ[name]:
            continue
        own = _name(path, "")
        is_own = name.startswith(own)
        word = name.removeprefix(own if is_own else f"{PREFIX}_")
        if word in GENERAL or (not is_own and _begins_with_one(word, others)):
            continue
        general = {} if is_own else {each: _name((), each) for each in GENERAL}
        if meant := _nearest(word, mine | general):
            yield f"${name} names no option; did you mean ${meant}?"


def is_debugging() -> bool:
    """Whether an error is shown with where it comes from; any word that is no "off" asks for it."""
    return os.environ.get("PAIRMINE_DEBUG", "").lower() not in ("", *_NO)


def all_names(command: Any, context: Any, path: Sequence[str] = ()) -> Iterator[str]:
    """Every variable that some option listens to, of this command and of those below it."""
    if path:
        for option in options_of(command):
            yield from names_of(path, option)
    for word in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield from all_names(command.get_command(context, word), context, [*path, word])


def _behind(context: Any) -> dict[str, str]:
    """The flags of this command that variables set and the command line did not, with those variables."""
    taken = context.meta.get(_TAKEN, {})
    found = {}
    for option in options_of(context.command):
        source = context.get_parameter_source(option.name)
        if flag_of(option) in taken and source is not None and source.name == "DEFAULT_MAP":
            found[flag_of(option)] = taken[flag_of(option)]
    return found


def _value(name: str, text: str, option: Any) -> Any:
    """What the text of a variable stands for; the option itself reads numbers."""
    if option.is_flag:
        return _switch(name, text)
    if not option.multiple:
        return text
    import shlex

    try:
        return shlex.split(text)
    except ValueError:
        raise PairmineError(f"{name}={text}: a quote is not closed; write words as in a shell, 'a b' c") from None


def _switch(name: str, text: str) -> bool:
    if text.lower() not in (*_YES, *_NO):
        raise PairmineError(f"{name}={text}: is a switch; write 1 or 0, true or false")
    return text.lower() in _YES


def _nearest(word: str, variables: dict[str, str]) -> str | None:
    from difflib import get_close_matches

    near = get_close_matches(word, variables, n=1, cutoff=0.75)
    return variables[near[0]] if near else None


def _begins_with_one(word: str, commands: set[str]) -> bool:
    return any(word.startswith(f"{each}_") for each in commands)


def _speaks_of(line: str, flag: str) -> bool:
    import re

    return re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", line) is not None


def _quotes(line: str, flag: str, text: str) -> bool:
    """Whether an error is about the value of an option without the option's flag, as "max score ten: ..."."""
    words = flag.lstrip("-").replace("-", " ")
    shown = (f"{words} {text}", f'"{text}"', f"'{text}'")
    return bool(text) and (line.startswith(f"{text}: ") or any(each in line for each in shown))


def _name(path: Sequence[str], word: str) -> str:
    return "_".join([PREFIX, *map(_upper, path), word])


def _upper(word: str) -> str:
    return word.upper().replace("-", "_")
