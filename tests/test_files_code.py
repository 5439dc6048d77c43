"""A tree of Python files as rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairmine.errors import PairmineError
from pairmine.files.code import CodeTree
from pairmine.files.lineage import Lineage


def test_files_come_in_the_order_of_their_paths_without_caches_and_environments(tmp_path: Path) -> None:
    for name in ("b.py", "a/z.py", "__pycache__/c.py", ".hidden/d.py", "venv/e.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = '日'\n", encoding="utf-8")
    tree = CodeTree(str(tmp_path))
    assert tree.read().to_pylist() == [{"id": "a/z.py", "text": "x = '日'\n"}, {"id": "b.py", "text": "x = '日'\n"}]
    assert tree.rows == 2


def test_a_declared_encoding_is_followed_and_bad_bytes_are_null(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes("# coding: latin-1\nx = 'é'\n".encode("latin-1"))
    (tmp_path / "b.py").write_bytes(b"x = '\xe9'\n")
    (tmp_path / "c.py").write_bytes(b"")
    assert [text and text[-4:] for text in CodeTree(str(tmp_path)).read()["text"].to_pylist()] == ["'é'\n", None, ""]


def test_one_file_goes_by_its_name_and_changes_with_its_content(tmp_path: Path) -> None:
    digests = []
    for content in ("x", "y"):
        (tmp_path / "a.py").write_text(content)
        tree, record = CodeTree(str(tmp_path / "a.py")), Lineage()
        assert tree.read()["id"].to_pylist() == ["a.py"]
        tree.add_to(record, "source")
        digests.append(record.inputs[0]["sha256"])
    assert digests[0] != digests[1]


def test_a_folder_without_python_is_told(tmp_path: Path) -> None:
    with pytest.raises(PairmineError, match=r"no \.py files in it"):
        CodeTree(str(tmp_path))
    with pytest.raises(PairmineError, match="no such file or folder"):
        CodeTree(str(tmp_path / "absent"))
