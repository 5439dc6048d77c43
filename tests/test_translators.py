from __future__ import annotations

import importlib.util
from pathlib import Path

import pyarrow as pa
import pytest
import tiny_models

from pairmine.backends.specs import parse_spec
from pairmine.backends.translators import FakeTranslator, Translator, open_translator
from pairmine.errors import PairmineError
from pairmine.stages.derive import derive

ROWS = ["It rained all day.", "the river rose", "Nobody was hurt by the flood in the hills, nobody.", "two"] * 3


def opened(spec: str) -> Translator:
    return open_translator(parse_spec(spec, ("mt", "fake"), "--translator"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_models.t5(tmp_path_factory.mktemp("models") / "t5")


def test_a_translation_is_what_the_library_writes_for_the_text_alone(folder: str) -> None:
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    model = opened(f"mt:{folder}")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    plain = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    text = "It rained all day."
    ids = tokenizer(text, padding="max_length", max_length=16, return_tensors="pt")
    with torch.inference_mode():
        written = plain.generate(**ids, num_beams=4, do_sample=False, max_new_tokens=48)
    assert model.translate([text]) == [[tokenizer.decode(written[0], skip_special_tokens=True).strip()]]


@pytest.mark.slow
def test_a_text_is_translated_alike_whatever_stands_beside_it(folder: str) -> None:
    model = opened(f"mt:{folder}")
    together = model.translate(ROWS, 2)
    assert all(len(each) == 2 for each in together)
    assert together == [model.translate([row], 2)[0] for row in ROWS]
    assert model.translate(ROWS[::-1], 2)[::-1] == together
    assert model.translate([]) == []


def test_a_task_and_languages_stand_behind_a_question_mark(folder: str) -> None:
    plain, told = opened(f"mt:{folder}"), opened(f"mt:{folder}?prefix=the flood")
    assert told.translate(["the river rose"]) == plain.translate(["the flood the river rose"])
    assert told.facts["prefix"] == "the flood"
    assert told.facts["model"] == "mt:t5"
    german = opened(f"mt:{folder}?to=deu_Latn")
    assert german.translate(["the river rose"]) != plain.translate(["the river rose"])


def test_a_wrong_model_is_one_line(folder: str, tmp_path: Path) -> None:
    wrong = {
        f"mt:{folder}?language=de": "there is no 'language'; known: from, to, prefix",
        f"mt:{folder}?to=xx_None": "the model knows no language 'xx_None'",
        f"mt:{tiny_models.bert(tmp_path / 'bert')}": "cannot be loaded as a translation model",
        f"mt:{tmp_path}/nowhere": "no such folder",
    }
    for spec, message in wrong.items():
        with pytest.raises(PairmineError) as error:
            opened(spec)
        assert message in str(error.value)
        assert "\n" not in str(error.value)


def test_backtranslation_goes_there_and_back_with_real_models(folder: str) -> None:
    there, back = opened(f"mt:{folder}"), opened(f"mt:{folder}?prefix=hurt")
    rows = pa.table({"id": [f"d{at}" for at in range(len(ROWS))], "text": ROWS})
    kept = derive("backtranslation", rows, resources={"translator": there, "back": back}, views=3).kept.to_pylist()
    assert {row["source_id"] for row in kept} == {f"d{at}" for at in range(len(ROWS))}
    expected = back.translate([there.translate([ROWS[0]])[0][0]], 2)[0]
    assert [row["document"] for row in kept if row["source_id"] == "d0"] == expected


def test_the_stand_in_says_that_it_is_one() -> None:
    fake = opened("fake:")
    assert isinstance(fake, FakeTranslator)
    assert fake.facts == {"model": "fake:"}
    assert fake.translate(["a b c", ""], 2) == [["c b a", "b a"], [""]]


@pytest.mark.skipif(importlib.util.find_spec("sentencepiece") is not None, reason="sentencepiece is installed here")
def test_a_tokenizer_without_its_library_names_the_install_line(tmp_path: Path) -> None:
    from transformers import MarianConfig, MarianMTModel

    config = MarianConfig(
        vocab_size=8,
        d_model=8,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=1,
        decoder_attention_heads=1,
        encoder_ffn_dim=8,
        decoder_ffn_dim=8,
        max_position_embeddings=16,
        pad_token_id=7,
        decoder_start_token_id=7,
    )
    MarianMTModel(config).save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "MarianTokenizer"}')
    (tmp_path / "vocab.json").write_text("{}")
    for name in ("source.spm", "target.spm"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(PairmineError, match="its tokenizer needs a library; pip install sentencepiece"):
        opened(f"mt:{tmp_path}")
