"""Files to a dataset repository of the hub, in one commit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pairmine.errors import GAVE_UP, PairmineError

_PART = r"\w(?:[\w.-]{0,94}\w)?"
_NAME = re.compile(f"{_PART}/{_PART}", re.ASCII)


def check_repository(name: str) -> None:
    """Raise a PairmineError unless `name` is OWNER/NAME."""
    if not _NAME.fullmatch(name) or ".." in name or "--" in name or name.endswith(".git"):
        raise PairmineError(f"--push-to {name}: is no repository of the hub; write OWNER/NAME")


def check_token() -> None:
    """Raise a PairmineError where nobody is logged in, which the hub would say after all files are written."""
    from huggingface_hub import get_token

    if not get_token():
        raise PairmineError("--push-to: there is no token for the hub; set HF_TOKEN, or run 'hf auth login'")


def push(repository: str, files: Mapping[str, Path | bytes], *, private: bool, message: str) -> str:
    """Send `files`, by their names there, to a dataset repository, made where there is none; the address of the commit.

    The token is the one in HF_TOKEN or of the last login. Whatever the hub refuses ends with exit code 3.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    api = HfApi(library_name="pairmine")
    try:
        api.create_repo(repository, repo_type="dataset", private=private or None, exist_ok=True)
        if private and not api.dataset_info(repository).private:
            raise PairmineError(
                f"{repository}: is there already and public; make it private at the hub, or leave out --private"
            )
        operations = [
            CommitOperationAdd(
                path_in_repo=name, path_or_fileobj=content if isinstance(content, bytes) else str(content)
            )
            for name, content in files.items()
        ]
        return str(api.create_commit(repository, operations, repo_type="dataset", commit_message=message).commit_url)
    except PairmineError:
        raise
    except Exception as error:
        raise PairmineError(f"{repository}: {_cause(error)}", exit_code=GAVE_UP) from error


def _cause(error: Exception) -> str:
    """What went wrong, in a line: an answer of the hub by its number, else what the library says."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status in (401, 403):
        return "the hub refused it (no right to write there); set HF_TOKEN to a token that may write, or log in"
    if type(error).__name__ == "OfflineModeIsEnabled":
        return "HF_HUB_OFFLINE is set; unset it to push"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    return f"the hub answered {status} ({said})" if status else f"could not be sent ({said})"
