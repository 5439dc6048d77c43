"""What is for its user alone, and what a table tells of itself before somebody opens it elsewhere."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pyarrow as pa
import pytest

from pairmine.backends.encoders import FakeEncoder
from pairmine.backends.specs import Spec, locate
from pairmine.backends.vectors.store import VectorStore
from pairmine.cli.doctor.places import variables
from pairmine.errors import PairmineError
from pairmine.files.sink import Sink


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_store_is_made_for_its_user_alone_and_a_shared_one_stays_shared(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir(mode=0o775)
    before = mode(tmp_path / "shared")
    for name in ("deep/own", "shared"):
        VectorStore(tmp_path / name).vectors(FakeEncoder(), ["a text"], "document")
    assert mode(tmp_path / "deep/own") == 0o700
    assert mode(tmp_path / "shared") == before


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_cells_that_a_spreadsheet_would_work_out_are_counted(tmp_path: Path, ending: str) -> None:
    sink = Sink(str(tmp_path / f"out.{ending}"))
    sink.write(pa.table({"text": ["=1+1", "@x", "+x", "-x", "a=b", "", None], "rank": [-1, -2, 3, 4, 5, 6, 7]}))
    sink.finish([])
    said = None if ending == "jsonl" else f"out.{ending}: 4 cells begin with =, +, - or @"
    assert (sink.caution is None) if said is None else (said in str(sink.caution))
    sink.abort()


def test_pickled_weights_of_a_module_are_refused_beside_safe_ones(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")  # nobody reads it, for the safe one stands beside it
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "openvino_model.bin").write_bytes(b"")
    spec = Spec("st", str(tmp_path))
    assert locate(spec, "--encoder") == str(tmp_path)
    (tmp_path / "1_Dense").mkdir()
    (tmp_path / "1_Dense" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(PairmineError, match=r"pickled \(pytorch_model.bin\), which can run code"):
        locate(spec, "--encoder")


def test_doctor_shows_no_password_of_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PAIRMINE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PAIRMINE_BASE_URL", "https://me:hunter2@example.org/v1?key=abc")
    monkeypatch.setenv("HF_ENDPOINT", "https://me:hunter2@example.org")
    shown = json.dumps([[fact.name, fact.value] for fact in variables({"PAIRMINE_BASE_URL"})])
    assert "https://example.org/v1" in shown
    assert "hunter2" not in shown
    assert "abc" not in shown
