"""Opens what a recipe works with besides its input: models by spec, files of the user's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairmine.errors import PairmineError

if TYPE_CHECKING:
    from pairmine.cli.run import Run
    from pairmine.recipes import Recipe, Resource

_METAVARS = {
    "mlm": "SPEC",
    "encoder": "SPEC",
    "translator": "SPEC",
    "tokenizer": "FOLDER",
    "lexicon": "FILE",
    "documents": "CORPUS",
    "lines": "FILE",
}


def metavar(resource: Resource) -> str:
    """What help shows behind the flag."""
    return _METAVARS[resource.kind]


def open_resources(recipe: Recipe, run: Run, given: Mapping[str, str | None]) -> dict[str, Any]:
    """The recipe's resources that the user named, opened, by keyword. Files and models go into the lineage.

    Raises PairmineError, naming the flag, for a required one that is missing and for one that
    cannot be opened.
    """
    for each in recipe.resources:
        if each.required and not given[each.keyword]:
            raise PairmineError(f"recipe {recipe.name} needs --{each.name} {metavar(each)}: {each.meaning}")
    opened = {each.keyword: _open(each, run, given[each.keyword]) for each in recipe.resources if given[each.keyword]}
    models = [found.facts for found in opened.values() if isinstance(getattr(found, "facts", None), dict)]
    if models:
        run.detail(models=models)
    return opened


def _open(resource: Resource, run: Run, value: str | None) -> Any:
    assert value
    flag = f"--{resource.name}"
    if resource.kind == "mlm":
        from pairmine.backends.masked import open_masked_lm
        from pairmine.backends.specs import parse_spec

        spec = parse_spec(value, ("mlm", "fake"), flag)
        with run.progress.loading(spec):
            return open_masked_lm(spec, flag=flag)
    if resource.kind == "encoder":
        from pairmine.backends.encoders import open_encoder
        from pairmine.backends.specs import parse_spec

        spec = parse_spec(value, ("st", "fake"), flag)
        with run.progress.loading(spec):
            return open_encoder(spec, flag=flag)
    if resource.kind == "translator":
        from pairmine.backends.specs import parse_spec
        from pairmine.backends.translators import open_translator

        spec = parse_spec(value, ("mt", "fake"), flag)
        with run.progress.loading(spec):
            return open_translator(spec, flag=flag)
    if resource.kind == "tokenizer":
        return _tokenizer(flag, value)
    if resource.kind == "documents":
        from pairmine.files.source import open_documents

        return run.reads(open_documents(value, run.say), resource.keyword).read()
    if resource.kind == "lexicon":
        return _lexicon(run, resource.keyword, value)
    return _lines(run, resource.keyword, value)


def _tokenizer(flag: str, value: str) -> Any:
    """A `tokenizers.Tokenizer` out of a folder, or out of the hub's cache of a model."""
    from tokenizers import Tokenizer

    path = Path(os.path.expanduser(value))
    file = path / "tokenizer.json" if path.is_dir() else path
    if file.is_file():
        try:
            return Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise PairmineError(f"{flag} {value}: no tokenizer.json that can be read ({error})") from None
    if value.startswith((".", "/", "~")) or value.count("/") > 1:
        raise PairmineError(f"{flag} {value}: no such tokenizer.json or folder with one")
    try:
        return Tokenizer.from_pretrained(value)
    except Exception as error:
        raise PairmineError(
            f"{flag} {value}: cannot be loaded ({error}); give a folder with a tokenizer.json"
        ) from None


_OF_LEXICON = {
    "text": ("word", "lemma", "term", "phrase", "label", "source", "key", "from"),
    "other": (
        *("synonym", "alternative", "alternatives", "synonyms", "paraphrase", "translation", "translations"),
        *("description", "definition", "target", "value", "to", "back_translation", "tag", "pos", "upos"),
    ),
}
"""The columns of a lexicon, and what files call them."""


def _lexicon(run: Run, role: str, path: str) -> dict[str, tuple[str, ...]]:
    """Each word or text with what stands for it, in the file's order and without repeats."""
    from pairmine.files.columns import Wanted
    from pairmine.files.source import open_rows

    flag = f"--{role.replace('_', '-')}"
    wanted = tuple(Wanted(name, aliases, flag) for name, aliases in _OF_LEXICON.items())
    found: dict[str, dict[str, None]] = {}
    for table in run.reads(open_rows(path, wanted, run.say), role).tables():
        if missing := next((name for name in _OF_LEXICON if name not in table.column_names), None):
            raise PairmineError(
                f'{flag} {path}: no column for "{missing}" (found: {", ".join(table.column_names) or "none"}); '
                "its first line must name two columns, as text and other, word and synonym, label and description"
            )
        for text, other in zip(table["text"].to_pylist(), table["other"].to_pylist(), strict=True):
            others = other if isinstance(other, list) else [other]
            kept = [str(each) for each in others if each is not None and str(each).strip()]
            if text is not None and str(text).strip() and kept:
                found.setdefault(str(text), {}).update(dict.fromkeys(kept))
    return {text: tuple(others) for text, others in found.items()}


def _lines(run: Run, role: str, path: str) -> list[str]:
    """The lines of a text file, blank ones too, since they stand beside the lines of another file."""
    from pairmine.files.text_lines import open_lines

    source = run.reads(open_lines(path), role)
    lines: list[str] = source.read()
    return lines
