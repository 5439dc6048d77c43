from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tiny_models

from pairmine.backends.masked import FakeMaskedLM, MaskedLM, open_masked_lm
from pairmine.backends.specs import parse_spec
from pairmine.errors import PairmineError
from pairmine.stages.derive import derive

FLOOD = "It rained all DAY and (the river) rose by Two metres, 北京大学."


def opened(spec: str) -> MaskedLM:
    return open_masked_lm(parse_spec(spec, ("mlm", "fake"), "--mlm"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    return {"bert": tiny_models.bert(root / "bert"), "roberta": tiny_models.roberta(root / "roberta")}


@pytest.fixture(scope="module", params=["bert", "roberta"])
def model(request: pytest.FixtureRequest, folders: dict[str, str]) -> MaskedLM:
    return opened(f"mlm:{folders[request.param]}")


def texts(count: int, seed: int = 0) -> list[str]:
    draws = random.Random(seed)
    words = (FLOOD + " Nobody was hurt by the flood").split()
    return [" ".join(draws.choices(words, k=draws.randint(1, 60))) for _ in range(count)]


def test_spans_stand_in_the_text_in_order_without_blanks(model: MaskedLM) -> None:
    for text, spans in zip([FLOOD, "", "  a  b "], model.spans([FLOOD, "", "  a  b "]), strict=True):
        pieces = [text[start:end] for start, end in spans]
        assert all(piece and piece == piece.strip() for piece in pieces)
        assert "".join(pieces) == "".join(text.split())
        assert [start for start, _ in spans] == sorted({start for start, _ in spans})
    assert model.spans([]) == []


def test_only_the_masked_tokens_change(model: MaskedLM) -> None:
    spans = model.spans([FLOOD])[0]
    for number, (start, end) in enumerate(spans):
        copy = model.edit([FLOOD], [[number]], [[0.5]])[0]
        assert copy.startswith(FLOOD[:start])
        assert copy.endswith(FLOOD[end:])
    assert model.edit([FLOOD], [[]], [[]]) == [FLOOD]
    assert model.edit([], [], []) == []


@pytest.mark.slow
def test_what_is_put_in_is_a_word_or_a_part_of_one(model: MaskedLM) -> None:
    spans = model.spans([FLOOD])[0]
    for draw in np.linspace(0, 0.999, 50).tolist():
        for number in (0, 3, 6):
            start, end = spans[number]
            copy = model.edit([FLOOD], [[number]], [[draw]])[0]
            filled = copy[start : len(copy) - len(FLOOD) + end]
            assert filled.isalnum(), copy


def test_a_model_without_capitals_keeps_those_of_the_text(folders: dict[str, str]) -> None:
    model = opened(f"mlm:{folders['bert']}")
    spans = model.spans([FLOOD])[0]
    shouted = next(at for at, (start, _) in enumerate(spans) if FLOOD[start:].startswith("DAY"))
    for draw in (0.1, 0.4, 0.8):
        first = model.edit([FLOOD], [[0]], [[draw]])[0]
        assert not first[0].islower()
        again = model.edit([FLOOD], [[shouted]], [[draw]])[0]
        assert again.split()[3] == again.split()[3].upper()


@pytest.mark.slow
def test_a_text_gets_the_same_edit_whatever_stands_beside_it(model: MaskedLM) -> None:
    rows = texts(60)
    draws = random.Random(3)
    spans = model.spans(rows)
    masked = [sorted(draws.sample(range(len(each)), max(1, len(each) // 3))) for each in spans]
    units = [[draws.random() for _ in each] for each in masked]
    together = model.edit(rows, masked, units)
    alone = [model.edit([row], [each], [unit])[0] for row, each, unit in zip(rows, masked, units, strict=True)]
    turned = model.edit(rows[::-1], masked[::-1], units[::-1])[::-1]
    assert together == alone == turned


def test_draws_follow_the_models_own_chances(folders: dict[str, str]) -> None:
    """1,000 draws for one masked word against a softmax over the same tokens, computed without the class under test."""
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    text = "the river rose"
    tokenizer = AutoTokenizer.from_pretrained(folders["bert"])
    plain = AutoModelForMaskedLM.from_pretrained(folders["bert"])
    ids = tokenizer(text, return_tensors="pt")
    ids["input_ids"][0, 2] = tokenizer.mask_token_id
    with torch.inference_mode():
        logits = plain(**ids).logits[0, 2].double().numpy()
    words = tokenizer.convert_ids_to_tokens(list(range(len(logits))))
    allowed = [at for at, word in enumerate(words) if word.isalnum()]
    chances = np.exp(logits[allowed] - logits[allowed].max())
    chances /= chances.sum()
    model = opened(f"mlm:{folders['bert']}")
    number = model.spans([text])[0].index((4, 9))
    units = ((np.arange(1000) + 0.5) / 1000).tolist()
    copies = model.edit([text] * 1000, [[number]] * 1000, [[unit] for unit in units])
    likely = np.argsort(-chances)[:3]
    for at in likely.tolist():
        expected = text.replace("river", words[allowed[at]])
        assert abs(sum(copy == expected for copy in copies) / 1000 - chances[at]) < 0.01


def test_a_long_text_is_edited_as_far_as_the_model_reads(model: MaskedLM) -> None:
    long = "river " * 500
    spans = model.spans([long])[0]
    assert 20 < len(spans) <= 62
    copy = model.edit([long], [[len(spans) - 1]], [[0.5]])[0]
    assert copy.endswith("river " * (500 - 63))


def test_attention_is_what_the_first_position_pays_to_each_token(folders: dict[str, str]) -> None:
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    model = opened(f"mlm:{folders['bert']}")
    rows = texts(9)
    found = model.attention(rows)
    plain = AutoModelForMaskedLM.from_pretrained(folders["bert"], attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(folders["bert"])
    for text, spans, weights in zip(rows, model.spans(rows), found, strict=True):
        assert weights.shape == (len(spans),)
        with torch.inference_mode():
            ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=64)
            expected = plain(**ids, output_attentions=True).attentions[-1][0, :, 0, 1:-1].mean(dim=0)
        np.testing.assert_allclose(weights, expected.numpy(), atol=1e-5)
    assert model.attention([]) == []


def test_a_derived_set_is_the_same_in_chunks_of_any_size(model: MaskedLM) -> None:
    rows = pa.table({"id": [f"d{at}" for at in range(40)], "text": texts(40, seed=1)})
    given = {"resources": {"mlm": model}, "views": 3, "seed": 2}
    whole = derive("mlm-edit", rows, **given).kept.to_pylist()
    parts = [derive("mlm-edit", rows.slice(at, 7), **given).kept.to_pylist() for at in range(0, 40, 7)]
    assert [row for part in parts for row in part] == whole
    assert len({row["document"] for row in whole if row["label"] == 0}) > 60


def test_the_lineage_names_the_weights_and_not_the_folder(folders: dict[str, str]) -> None:
    facts = opened(f"mlm:{folders['bert']}").facts
    assert facts["model"] == "mlm:bert"
    assert len(facts["sha256"]) == 64
    assert facts["max_length"] == 64
    assert opened(f"mlm:{folders['roberta']}").facts["max_length"] == 64  # 66 positions, two of them never used


def test_a_model_that_is_none_is_one_line(tmp_path: Path, folders: dict[str, str]) -> None:
    from transformers import BertConfig, BertModel

    (tmp_path / "empty").mkdir()
    headless = tmp_path / "headless"
    BertModel(
        BertConfig(vocab_size=90, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    ).save_pretrained(headless)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (headless / name).write_bytes((Path(folders["bert"]) / name).read_bytes())
    wrong = {
        f"mlm:{tmp_path}/nowhere": "no such folder",
        f"mlm:{tmp_path}/empty": "holds no model.safetensors",
        f"mlm:{headless}": "is no masked language model (it has no cls.predictions",
        f"mlm:{tiny_models.t5(tmp_path / 't5')}": "cannot be loaded as a masked language model",
    }
    for spec, message in wrong.items():
        with pytest.raises(PairmineError) as error:
            opened(spec)
        assert message in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(PairmineError, match="name a model or a folder after the colon, as in mlm:"):
        opened("mlm:")


def test_the_stand_in_says_that_it_is_one() -> None:
    fake = opened("fake:")
    assert isinstance(fake, FakeMaskedLM)
    assert fake.facts == {"model": "fake:"}
    assert fake.edit(["a b c"], [[0, 2]], [[0.0, 0.99]]) == ["sun b north"]
