"""What `vllm:` says before an engine is needed. The engine itself: `make test-vllm`."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from pairmine.backends import vllm_engine
from pairmine.backends.specs import Spec
from pairmine.backends.vllm_engine import VllmEngine, identity, open_vllm
from pairmine.errors import PairmineError
from pairmine.llm.calls import Call, Sampling


@pytest.fixture
def has_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let vLLM seem to be there: nothing here loads it."""
    real = importlib.util.find_spec
    there = ModuleSpec("vllm", None, origin="vllm/__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there if name == "vllm" else real(name))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder, as far as its name goes."""
    model = tmp_path / "models" / "Small-1B"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "config.json").write_text("{}")
    return model


def opened(target: str | Path, **args: Any) -> VllmEngine:
    return open_vllm(str(target), args=args, say=lambda line: None)


def refusal(target: str | Path, **args: Any) -> str:
    with pytest.raises(PairmineError) as caught:
        opened(target, **args)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_vllm_the_error_is_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    told = refusal("Qwen/Qwen3-8B")
    assert told == "--llm vllm:Qwen/Qwen3-8B: vLLM is not installed; run: pip install 'pairmine[vllm]'"


def test_a_folder_that_happens_to_be_called_vllm_is_not_vllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if (found := importlib.util.find_spec("vllm")) and found.origin:
        pytest.skip("vLLM is installed here")
    (tmp_path / "vllm").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "pip install 'pairmine[vllm]'" in refusal("Qwen/Qwen3-8B")


@pytest.mark.usefixtures("has_vllm")
class TestWithVllm:
    def test_a_model_must_be_named(self) -> None:
        assert "name a model or a folder after the colon" in refusal("")

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        assert "no such folder" in refusal(tmp_path / "absent")

    def test_pickled_weights_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "pytorch_model.bin").write_bytes(b"")
        assert "pickled (pytorch_model.bin)" in refusal(tmp_path)

    @pytest.mark.parametrize("load_format", ["auto", "pt", "npcache"])
    def test_a_load_format_that_takes_pickles_is_refused(self, folder: Path, load_format: str) -> None:
        assert refusal(folder, load_format=load_format).startswith(f"--vllm-arg load_format={load_format}: may load")

    def test_a_retrained_model_is_another_model(self, folder: Path) -> None:
        before = opened(folder)
        (folder / "model.safetensors").write_bytes(b"other weights")
        after = opened(folder)
        assert before.name == after.name == "vllm:Small-1B"
        assert before.model != after.model
        assert before.model.startswith("Small-1B@")
        assert len(before.model) == len("Small-1B@") + 12

    def test_a_model_that_moved_is_the_same(self, folder: Path, tmp_path: Path) -> None:
        before = opened(folder).model
        (tmp_path / "elsewhere").mkdir()
        assert opened(folder.rename(tmp_path / "elsewhere" / "Small-1B")).model == before

    def test_a_hub_model_is_called_by_its_name(self) -> None:
        model = opened("Qwen/Qwen3-8B")
        assert (model.name, model.model) == ("vllm:Qwen3-8B", "Qwen/Qwen3-8B")

    def test_arguments_that_change_replies_are_part_of_the_name_and_others_are_not(self, tmp_path: Path) -> None:
        template = tmp_path / "chat.jinja"
        template.write_text("{{ messages }}")
        plain = opened("Qwen/Qwen3-8B").model
        assert opened("Qwen/Qwen3-8B", max_num_seqs=8, gpu_memory_utilization=0.5, hf_token="hf_secret").model == plain
        assert opened("Qwen/Qwen3-8B", revision="v2").model == "Qwen/Qwen3-8B+revision=v2"
        one = opened("Qwen/Qwen3-8B", chat_template=str(template)).model
        template.write_text("{{ messages[0] }}")
        assert len({plain, one, opened("Qwen/Qwen3-8B", chat_template=str(template)).model}) == 3
        assert str(tmp_path) not in one

    def test_facts_hold_no_token_and_no_place(self, folder: Path) -> None:
        facts = str(opened(folder, hf_token="hf_secret", download_dir=str(folder)).facts)
        assert "hf_secret" not in facts
        assert str(folder.parent) not in facts

    def test_a_run_that_asks_nothing_loads_nothing(self, folder: Path) -> None:
        said: list[str] = []
        model = open_vllm(str(folder), args={}, say=said.append)
        assert model.room == 1
        assert model.under_way == 0
        assert model.wait() == []
        model.close()
        assert said == []


def test_the_name_in_keys_is_known_without_vllm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    named = identity(str(folder), {"quantization": "fp8"})
    assert named.startswith("Small-1B@")
    assert named.endswith("+quantization=fp8")
    assert identity("Qwen/Qwen3-8B", {}) == "Qwen/Qwen3-8B"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of one hub model in a cache that is all there is: the hub itself is out of reach."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    place = tmp_path / "cache" / "models--some-org--Small-1B"
    commit = "0123456789abcdef" * 2 + "01234567"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    snapshot = place / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    return snapshot


@pytest.mark.usefixtures("has_vllm")
class TestHubModels:
    def test_what_is_in_the_cache_is_not_fetched_again(self, hub_cache: Path) -> None:
        (hub_cache / "model.safetensors").write_bytes(b"weights")
        args = {"download_dir": str(hub_cache.parents[2])}
        assert vllm_engine._fetch(Spec("vllm", "some-org/Small-1B"), args) == str(hub_cache)

    def test_a_repository_of_pickles_is_refused_before_the_engine_starts(self, hub_cache: Path) -> None:
        model = opened("some-org/Small-1B", download_dir=str(hub_cache.parents[2]))
        with pytest.raises(PairmineError, match="the repository holds no safetensors"):
            model.submit(Call(model.model, ({"role": "user", "content": "x"},), Sampling()))

    def test_a_model_that_cannot_be_fetched_is_told_in_one_line(self, hub_cache: Path) -> None:
        model = opened("some-org/Absent-1B", download_dir=str(hub_cache.parents[2]))
        with pytest.raises(
            PairmineError, match=r"--llm vllm:some-org/Absent-1B: cannot be loaded \(.+\); give"
        ) as caught:
            model.submit(Call(model.model, ({"role": "user", "content": "x"},), Sampling()))
        assert caught.value.exit_code == 3
        assert "\n" not in str(caught.value)
