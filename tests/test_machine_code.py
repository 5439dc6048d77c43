"""Machine code that is kept in files is run only where nobody else can have put it there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pairmine.stages.dedup.kernel import machine_code

NAME = "0123.code"


def test_code_that_all_may_write_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(b"code")
    assert machine_code._own_bytes(path) == b"code"
    path.chmod(0o666)
    with pytest.raises(PermissionError, match="may be somebody else's"):
        machine_code._own_bytes(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what belongs to somebody else")
def test_code_of_another_user_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(b"code")
    os.chown(path, 65534, 65534)
    with pytest.raises(PermissionError, match="may be somebody else's"):
        machine_code._own_bytes(path)


def test_keeping_code_writes_over_nothing_that_is_linked_there(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / NAME).symlink_to(tmp_path / "precious")
    for at in range(5):  # the name that an earlier one used
        (tmp_path / f".{NAME}.{os.getpid() + at}").symlink_to(tmp_path / "precious")
    assert machine_code._put(tmp_path, NAME, b"code")
    assert (tmp_path / "precious").read_text() == "mine"
    assert (tmp_path / NAME).read_bytes() == b"code"
    assert not (tmp_path / NAME).is_symlink()
