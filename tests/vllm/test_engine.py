"""The engine in this process: what goes in comes out, once, as asked, with its cost."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pairmine.backends.llms import LLM
from pairmine.backends.vllm_engine import open_vllm
from pairmine.errors import BAD_INPUT, GAVE_UP, PairmineError
from pairmine.llm.calls import Call, Failure, Reply, Sampling

START_S = 240


def only(answers: list[Any]) -> Any:
    ((_, answer),) = answers
    return answer


def replies(answers: list[Any]) -> dict[bytes, str]:
    return {call.key: answer.text for call, answer in answers}


def test_every_call_is_answered_once(llm: LLM, make_call: Any, ask: Any) -> None:
    calls = [make_call(f"Tell me about number {number}.") for number in range(800)]
    answers = ask(llm, calls)
    assert Counter(call.key for call, _ in answers) == Counter(call.key for call in calls)
    assert all(isinstance(answer, Reply) for _, answer in answers)
    assert llm.under_way == 0
    assert llm.wait() == []


def test_it_takes_more_calls_than_it_can_work_on_and_then_no_more(llm: LLM, make_call: Any, ask: Any) -> None:
    before = llm.room
    assert before >= 64
    for number in range(before):
        llm.submit(make_call(f"full {number}", max_tokens=4))
    assert llm.room == 0
    assert llm.under_way == before
    assert len(ask(llm, [])) == before
    assert llm.room == before


def test_a_reply_obeys_the_schema_without_padding(llm: LLM, make_call: Any, ask: Any, schema: Any) -> None:
    answers = ask(llm, [make_call(f"Write about {number}.", schema=schema) for number in range(200)])
    whole = [answer.text for _, answer in answers if answer.finish_reason == "stop"]
    assert len(whole) > 190
    for text in whole:
        read = json.loads(text)
        assert list(read) == ["query", "hard_negative"]
        assert all(isinstance(value, str) for value in read.values())
        assert re.fullmatch(r'\{"query": ?".*", ?"hard_negative": ?".*"\}', text, re.S), text


def test_the_properties_come_in_the_order_of_the_schema(llm: LLM, make_call: Any, ask: Any, schema: Any) -> None:
    turned = {
        **schema,
        "properties": dict(reversed(schema["properties"].items())),
        "required": ["hard_negative", "query"],
    }
    answer = only(ask(llm, [make_call("Write.", schema=turned)]))
    assert list(json.loads(answer.text)) == ["hard_negative", "query"]


def test_the_same_calls_get_the_same_replies_in_any_order(llm: LLM, make_call: Any, ask: Any, schema: Any) -> None:
    calls = [make_call(f"Say {number}.", schema=schema if number % 2 else None) for number in range(120)]
    first = replies(ask(llm, calls))
    assert replies(ask(llm, calls[::-1])) == first
    assert replies(ask(llm, [calls[7]]))[calls[7].key] == first[calls[7].key]


def test_samples_of_one_prompt_differ(llm: LLM, make_call: Any, ask: Any) -> None:
    answers = ask(llm, [make_call("Say something.", sample=number, max_tokens=60) for number in range(20)])
    assert len({answer.text for _, answer in answers}) > 10


def test_a_greedy_reply_is_the_same_for_every_sample(llm: LLM, make_call: Any, ask: Any) -> None:
    calls = [make_call("Say something.", sample=number, temperature=0.0, max_tokens=10) for number in range(5)]
    assert len({answer.text for _, answer in ask(llm, calls)}) == 1


def test_a_reply_that_is_cut_off_says_so(llm: LLM, make_call: Any, ask: Any) -> None:
    answer = only(ask(llm, [make_call("Go on.", max_tokens=5, extra={"ignore_eos": True})]))
    assert answer.finish_reason == "length"
    assert answer.completion_tokens == 5


def test_a_stop_string_ends_the_reply(llm: LLM, make_call: Any, ask: Any) -> None:
    asked = {"max_tokens": 400, "extra": {"ignore_eos": True}}
    open_end = only(ask(llm, [make_call("Speak.", **asked)]))
    stop = open_end.text[20:22]
    answers = ask(llm, [make_call("Speak.", stop=(stop,), sample=number, **asked) for number in range(10)])
    stopped = [answer for _, answer in answers if answer.finish_reason == "stop"]
    assert stopped
    assert all(stop not in answer.text for answer in stopped)


def test_tokens_are_counted_as_they_are_paid(llm: LLM, tiny_model: Path, make_call: Any, ask: Any) -> None:
    call = make_call("Tell me a story about a café.", max_tokens=30)
    answer = only(ask(llm, [call]))
    rendered = "".join(f"<|start|>{message['role']}\n{message['content']}<|end|>\n" for message in call.messages)
    rendered += "<|start|>assistant\n"
    assert [answer.prompt_tokens] == llm.count_tokens([rendered])
    assert 0 < answer.completion_tokens <= 30


def test_counting_tokens_knows_empty_and_foreign_text(llm: LLM) -> None:
    assert llm.count_tokens([]) == []
    empty, short, foreign = llm.count_tokens(["", "word", "日本語"]) or []
    assert empty == 0
    assert 1 <= short <= 4
    assert foreign > 3


def test_a_shared_beginning_is_read_from_the_cache(llm: LLM, make_call: Any, ask: Any) -> None:
    opening = "The rules are long and the same for all. " * 60
    ask(llm, [make_call(opening + "First.")])
    answers = ask(llm, [make_call(opening + f"Then {number}.") for number in range(5)])
    assert all(answer.cached_tokens >= answer.prompt_tokens // 2 for _, answer in answers)


def test_a_prompt_that_is_too_long_fails_alone(llm: LLM, make_call: Any, ask: Any) -> None:
    calls = [make_call("Fine."), make_call("word " * 9000), make_call("Fine too.")]
    answers = {call.key: answer for call, answer in ask(llm, calls)}
    short, long, other = (answers[call.key] for call in calls)
    assert isinstance(long, Failure)
    assert long.reason == "longer than the model's context of 4,096 tokens"
    assert isinstance(short, Reply)
    assert isinstance(other, Reply)


def test_a_reply_may_be_as_long_as_the_context_allows(llm: LLM, make_call: Any, ask: Any) -> None:
    (word,) = llm.count_tokens(["word " * 100]) or [0]
    long = "word " * (3800 * 100 // word)
    answer = only(ask(llm, [make_call(long, max_tokens=100_000, extra={"ignore_eos": True})]))
    assert answer.finish_reason == "length"
    assert answer.prompt_tokens + answer.completion_tokens == 4096


def test_odd_texts_go_through(llm: LLM, make_call: Any, ask: Any) -> None:
    texts = ["", " ", "\x00", "a\u2028b", "🙂" * 50, "<|end|>", '{"query": "\\"', "ﷺ" * 20]
    answers = ask(llm, [make_call(text, max_tokens=20) for text in texts])
    assert len(answers) == len(texts)
    assert all(isinstance(answer, Reply) for _, answer in answers)


def test_thinking_can_be_switched_off_in_the_chat_template(llm: LLM, make_call: Any, ask: Any) -> None:
    off = {"chat_template_kwargs": {"enable_thinking": False}}
    plain, without = (only(ask(llm, [make_call("Why?", max_tokens=5, extra=extra)])) for extra in ({}, off))
    (more,) = llm.count_tokens(["<think></think>\n"]) or [0]
    assert without.prompt_tokens == plain.prompt_tokens + more


def test_sampling_parameters_of_vllm_go_through(llm: LLM, make_call: Any, ask: Any) -> None:
    calls = [make_call("Same.", max_tokens=200, sample=sample, extra={"min_tokens": 200}) for sample in range(5)]
    assert {answer.completion_tokens for _, answer in ask(llm, calls)} == {200}


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"top_kk": 5}, r"sampling: vLLM has no parameter 'top_kk'; did you mean top_k"),
        ({"reasoning_effort": "low"}, r"no parameter 'reasoning_effort'"),
        ({"n": 3}, r"sampling: 'n' is set by pairmine"),
        ({"seed": 3}, r"sampling: 'seed' is set by pairmine"),
        ({"_eos_token_id": 3}, r"no parameter '_eos_token_id'"),
    ],
)
def test_a_parameter_that_vllm_does_not_know_is_named(llm: LLM, make_call: Any, extra: Any, told: str) -> None:
    with pytest.raises(PairmineError, match=told) as caught:
        llm.submit(make_call("Never asked.", extra=extra))
    assert caught.value.exit_code == BAD_INPUT
    assert llm.under_way == 0


def test_lineage_names_the_weights_and_not_their_place(llm: LLM, tiny_model: Path) -> None:
    assert llm.name == "vllm:tiny"
    assert re.fullmatch(r"tiny@[0-9a-f]{12}", llm.model)
    assert llm.facts["sha256"].startswith(llm.model.partition("@")[2])
    assert re.fullmatch(r"\d+\.\d+.*", llm.facts["vllm"])
    assert str(tiny_model.parent) not in json.dumps(llm.facts)


def test_an_argument_that_vllm_does_not_have_is_told_in_one_line(tiny_model: Path) -> None:
    model = open_vllm(str(tiny_model), args={"enforce_eagre": True}, say=lambda line: None)
    with pytest.raises(PairmineError, match=r"--vllm-arg enforce_eagre: vLLM .* did you mean enforce_eager") as caught:
        model.submit(Call(model.model, ({"role": "user", "content": "x"},), Sampling()))
    assert caught.value.exit_code == BAD_INPUT
    assert "\n" not in str(caught.value)
    model.close()


def test_an_argument_that_does_not_fit_is_told_in_one_line(tiny_model: Path) -> None:
    model = open_vllm(str(tiny_model), args={"dtype": "float31"}, say=lambda line: None)
    with pytest.raises(PairmineError, match=r"--llm vllm:tiny: vLLM cannot start \(.*dtype") as caught:
        model.submit(Call(model.model, ({"role": "user", "content": "x"},), Sampling()))
    assert caught.value.exit_code == BAD_INPUT
    assert "\n" not in str(caught.value)
    model.close()


RUN = """
import os, signal, sys, threading, time

from pairmine.backends.vllm_engine import open_vllm
from pairmine.errors import PairmineError
from pairmine.llm.calls import Call, Sampling

def main():
    import psutil

    folder, what = sys.argv[1:]
    llm = open_vllm(folder, args={args}, say=lambda line: print(line, file=sys.stderr))
    endless = Sampling(max_tokens=900, extra={{"ignore_eos": True}})
    number = 0

    def submit():
        nonlocal number
        number += 1
        llm.submit(Call(llm.model, ({{"role": "user", "content": f"Tell {{number}}"}},), endless))

    submit()
    engine = [child for child in psutil.Process().children(recursive=True) if "VLLM::" in child.cmdline()[0]]
    print("pids", *[child.pid for child in engine], flush=True)
    victim = {{"engine": engine[0].pid, "self": os.getpid(), "interrupt": os.getpid()}}[what]
    deadly = signal.SIGINT if what == "interrupt" else signal.SIGKILL
    threading.Timer(1, os.kill, (victim, deadly)).start()
    try:
        while True:
            while llm.room:
                submit()
            llm.wait()
    except PairmineError as error:
        print("error", error.exit_code, error, flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    llm.close()
    print("left", sum(child.is_running() and child.status() != "zombie" for child in engine), flush=True)

if __name__ == "__main__":
    main()
"""


def run_and_kill(
    folder: Path, tmp_path: Path, args: Any, what: str
) -> tuple[subprocess.CompletedProcess[str], list[int]]:
    """A program of its own that uses the engine, in which something is killed; and the engine's processes."""
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(RUN).format(args=args))
    done = subprocess.run(
        [sys.executable, str(script), str(folder), what],
        capture_output=True,
        text=True,
        timeout=START_S,
    )
    first = done.stdout.splitlines()[0].split()
    assert first[0] == "pids", done.stdout + done.stderr
    return done, [int(pid) for pid in first[1:]]


def alive(pids: list[int]) -> list[int]:
    import psutil

    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def test_an_engine_that_is_killed_ends_the_run_and_says_how_to_continue(
    tiny_model: Path, tmp_path: Path, llm_args: Any
) -> None:
    done, pids = run_and_kill(tiny_model, tmp_path, llm_args, "engine")
    assert f"error {GAVE_UP} --llm vllm:tiny: the engine died with" in done.stdout
    assert "run the same command again to continue" in done.stdout
    assert not alive(pids)
    log = re.search(r"its log: (\S+);", done.stdout)
    assert log
    assert Path(log[1]).read_text()
    Path(log[1]).unlink()


def test_a_run_that_is_killed_leaves_no_engine_behind(tiny_model: Path, tmp_path: Path, llm_args: Any) -> None:
    done, pids = run_and_kill(tiny_model, tmp_path, llm_args, "self")
    assert done.returncode == -signal.SIGKILL
    assert len(pids) >= 1
    until = time.monotonic() + 15
    while alive(pids) and time.monotonic() < until:
        time.sleep(0.2)
    assert not alive(pids)


def test_an_interrupted_run_ends_its_engine_and_says_nothing_of_its_own(
    tiny_model: Path, tmp_path: Path, llm_args: Any
) -> None:
    done, pids = run_and_kill(tiny_model, tmp_path, llm_args, "interrupt")
    assert done.stdout.splitlines()[1:] == ["interrupted", "left 0"]
    assert re.fullmatch(r"loading vllm:tiny with vLLM \d+\.\d+\S*\n", done.stderr)
    assert not alive(pids)


def test_two_engines_in_one_process_do_not_end_each_other(
    llm: LLM, tiny_model: Path, llm_args: Any, make_call: Any, ask: Any
) -> None:
    model = open_vllm(str(tiny_model), args=llm_args, say=lambda line: None)
    assert isinstance(only(ask(model, [make_call("Both.")])), Reply)
    model.close()
    assert isinstance(only(ask(llm, [make_call("Still there?")])), Reply)


def test_a_model_without_a_chat_template_is_told_before_anything_is_asked(
    tiny_model: Path, tmp_path: Path, llm_args: Any
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    (base / "chat_template.jinja").unlink()
    model = open_vllm(str(base), args=llm_args, say=lambda line: None)
    with pytest.raises(
        PairmineError, match=r"--llm vllm:base: .*chat template.*--vllm-arg chat_template=FILE"
    ) as caught:
        model.submit(Call(model.model, ({"role": "user", "content": "x"},), Sampling()))
    model.close()
    assert caught.value.exit_code == BAD_INPUT


def test_weights_that_cannot_be_read_are_told_with_the_engine_s_own_words(tiny_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    (broken / "model.safetensors").write_bytes(b"garbage" * 100)
    model = open_vllm(str(broken), args={"enforce_eager": True}, say=lambda line: None)
    with pytest.raises(PairmineError, match=r"vLLM cannot start .*SafetensorError: .*header") as caught:
        model.submit(Call(model.model, ({"role": "user", "content": "x"},), Sampling()))
    model.close()
    assert caught.value.exit_code == GAVE_UP
    log = re.search(r"its log: (\S+);", str(caught.value))
    assert log
    Path(log[1]).unlink()
