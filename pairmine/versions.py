"""The version that a format of ours carries: one newer than this pairmine reads is refused, an older one is read."""

from __future__ import annotations

import json
from typing import Any

from pairmine.errors import PairmineError


def check_format(found: Any, newest: int, where: str, remedy: str = "") -> int:
    """The version `found` in a file of ours at `where`, from 1 to `newest`.

    Raises PairmineError for a newer one, and ValueError for what is no version, which means a damaged file. `remedy` is
    what may be done but for upgrading: ", or name another --store".
    """
    if type(found) is not int or found < 1:
        raise ValueError(f"no version of a format: {found!r:.40}")
    if found > newest:
        raise PairmineError(
            f"{where}: written by a newer pairmine (format {found}, this one reads {newest}); upgrade pairmine{remedy}"
        )
    return found


def plan_text(digest: str, newest: int) -> str:
    """What a folder of unfinished work holds about the run that it belongs to."""
    return json.dumps({"format": newest, "digest": digest}) + "\n"


def plan_digest(text: str, newest: int, where: str) -> str | None:
    """The digest in `plan_text`, None where it is damaged: the work is then begun anew.

    The first pairmine wrote a bare digest, as format 1. Raises PairmineError for a newer one, whose work would be lost.
    """
    if not text.lstrip().startswith("{"):
        return text.strip()
    try:
        body = json.loads(text)
        check_format(body["format"], newest, where, ", or remove the folder")
        return str(body["digest"])
    except (ValueError, KeyError, TypeError):
        return None
