"""What `pairmine export` knows of a trainer, asked of a file that is there already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from pairmine.files.forms.group import Group
from pairmine.files.forms.notes import Notes
from pairmine.files.locations import Shard
from pairmine.stages.export import find_target


def note_kind(form: str, shards: Sequence[Shard], notes: Notes) -> None:
    """Note files of a kind that the trainer of `form` does not open; a folder has its layout, and is not looked at."""
    target = find_target(form)
    if target.fill is not None:
        return
    notes.among("wrong-file-kind", len(shards), "files")
    kinds = {"jsonl" if kind == "json" else kind for kind in target.formats}
    for shard in shards:
        name = Path(shard.path).name
        if target.endings and not name.endswith(target.endings):
            notes.add("wrong-file-kind", name, f"{target.trainer} opens {' and '.join(target.endings)} alone")
        elif shard.kind not in kinds:
            notes.add("wrong-file-kind", name, f"{target.trainer} is fed with {' or '.join(target.formats)}")
        elif target.not_in_name and target.not_in_name in name:
            notes.add("wrong-file-kind", name, f'"{target.not_in_name}" in its name says another format')


def note_misread(form: str, groups: Sequence[Group], notes: Notes) -> None:
    """Note the training rows with a text that the trainer of `form` takes for something else."""
    target = find_target(form)
    if target.unreadable is None:
        return
    owners = [group for group in groups for _ in range(len(group.texts) + 1)]
    texts = [text for group in groups for text in (group.query, *group.texts)]
    is_misread = target.unreadable(pa.array(texts, pa.string())).fill_null(False)
    for at, found in enumerate(is_misread.to_pylist()):
        if found:
            notes.add("misread-texts", owners[at].place, f'"{str(texts[at])[:60]}": {target.because}')
