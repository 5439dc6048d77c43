"""Every format that `pairmine export` writes, read back as a pair set, with the faults of its form.

`faults` names what can be wrong; `ordered`, `named`, `chats` and `by_id` are the layouts; `rows` reads lines, broken
ones too; `form` puts them together.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pairmine.errors import PairmineError
from pairmine.files.folder import mark_of
from pairmine.files.forms import by_id, chats, named, ordered
from pairmine.files.forms.folders import FOLDERS, FolderRows, find_folder
from pairmine.files.forms.form import FileRows, Form, Source, head_of
from pairmine.files.forms.layout import Head, Layout
from pairmine.files.forms.notes import Notes
from pairmine.files.forms.pairs import FormPairs
from pairmine.files.forms.recognise import recognise
from pairmine.files.forms.sidecar import Sidecar, exported_as, find_sidecar
from pairmine.files.locations import STDIN, find_shards, is_remote
from pairmine.files.source import PairSource, open_pairs

__all__ = ["FORMS", "Form", "find_folder", "open_form", "pairs_of"]

FORMS: dict[str, Layout] = {
    layout.name: layout for module in (ordered, named, chats, by_id) for layout in module.LAYOUTS
}

_READ_BY_OPEN_PAIRS = {
    *("st-pair", "st-triplet", "st-ntuple", "st-pair-class", "pylate-contrastive", "simcse-pair", "simcse-triplet"),
    *("flag-embedder", "flag-reranker", "beir"),
}
"""Formats that every command takes as they are, by `open_pairs`, which reads no scores where labels stand."""

_ANYBODYS = {layout.name for layout in ordered.LAYOUTS} - {"simcse-pair", "simcse-triplet"}
"""Formats with columns that tables have which were not made for a trainer."""

Say = Callable[[str], None]


def open_form(path: str, say: Say, *, form: str | None = None) -> Form | None:
    """The trainer's file or folder at `path`, read as the format `form` or as what its columns say.

    None for a pair set, a corpus, and whatever else `open_pairs` reads by itself. What was taken for what is said
    where it could be another format too. Raises PairmineError for a format that is not known or cannot be there.
    """
    if form is not None and form not in FORMS:
        raise PairmineError(f"--form {form}: no such format; known: {', '.join(FORMS)}")
    if path == STDIN or is_remote(path):
        if form is not None:
            raise PairmineError(f"--form {form}: reads files of this machine; put {path} into a file first")
        return None
    here = Path(path)
    if form in FOLDERS or (form is None and find_folder(here)):
        return _open_folder(here, form or find_folder(here) or "", say)
    return _open_file(path, say, form)


def _open_folder(path: Path, form: str, say: Say) -> Form:
    base, file = (path, None) if path.is_dir() else (path.parent, path)
    source = FolderRows(base, FOLDERS[form], file)
    head = head_of(source)
    if form == "st-ids" and "document_ids" in head.columns:
        told = exported_as((mark_of(str(base)) or {}).get("lineage", []))
        if told != "st-ids":
            form = "pylate-kd"
        if told is None:
            say(f"{path}: read as pylate-kd; pass --form st-ids if it is that")
    return _opened(str(path), form, source, head, None if source.columns else find_sidecar(str(path)))


def _open_file(path: str, say: Say, form: str | None) -> Form | None:
    source = FileRows(find_shards(path))
    try:
        head = head_of(source)
    except PairmineError:
        if form is None:
            return None
        raise
    names = [form] if form else recognise(head)
    if not names:
        return None
    if names[0] in FOLDERS and names[0] != "contrastors":
        return _open_folder(Path(path), names[0], say)
    sidecar = find_sidecar(path)
    told = exported_as(sidecar.entries) if sidecar else None
    if told not in names and len(names) > 1:
        say(f"{path}: read as {names[0]}; pass --form {names[1]} if it is that")
    found = told if told in names else names[0]
    is_guess = form is None and told != found and found in _ANYBODYS
    return _opened(path, found, source, head, sidecar, is_guess=is_guess)


def _opened(
    path: str, form: str, source: Source, head: Head, sidecar: Sidecar | None, *, is_guess: bool = False
) -> Form:
    layout = FORMS[form]
    try:
        layout.prepare(head, Notes(muted=True))
    except PairmineError as error:
        raise PairmineError(f"{path}: cannot be read as {form}: {error}; name its format with --form") from None
    return Form(path, layout, source, head, sidecar, is_guess=is_guess)


def pairs_of(path: str, say: Say, *, split: str | None = None) -> PairSource:
    """A pair set, or a trainer's file or folder as one, for a command that reads pair sets.

    What `open_pairs` reads by itself it reads here as well. Faults by which pairs would be lost are errors.
    """
    form = None if split else open_form(path, lambda line: None)
    if form is None or form.name in _READ_BY_OPEN_PAIRS:
        return open_pairs(path, say, split=split)
    return FormPairs(form, say)
