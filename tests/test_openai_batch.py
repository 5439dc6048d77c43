"""The Batch API: what a user gets, pays and reads, whatever breaks on the way."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batch_server import BatchServer, error_row
from llm_server import Response

from pairmine.backends.batch_files import read_row
from pairmine.backends.openai_batch import OpenAIBatch, open_batch
from pairmine.backends.requests import Dialect
from pairmine.errors import PairmineError
from pairmine.ledger import Batch, Ledger
from pairmine.llm.calls import Call, Failure, Reply, Sampling

KEY = "sk-not-to-be-seen"


def call(number: int, **more: Any) -> Call:
    return Call("tiny", ({"role": "user", "content": f"question {number} ü"},), Sampling(), **more)


def prompt(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def echo(body: dict[str, Any]) -> str:
    return f"answer to {prompt(body)}"


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with BatchServer(echo, key=KEY) as running:
        yield running


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


class Runs:
    """Runs of one command, as the stage makes them: what the ledger has is not asked again."""

    def __init__(self, server: BatchServer, ledger: Ledger) -> None:
        self.server, self.ledger = server, ledger
        self.said: list[str] = []
        self.failures: dict[bytes, str] = {}

    def open(self, **options: Any) -> OpenAIBatch:
        settings = {"base_url": self.server.base_url, "api_key": KEY, "poll_s": 0.001, "patience_s": 10, **options}
        return open_batch("tiny", ledger=self.ledger, say=self.said.append, **settings)

    def run(self, calls: list[Call], *, keep: bool = True, **options: Any) -> Counter[bytes]:
        """Ask all that is missing; how often each call was answered or failed."""
        llm = self.open(**options)
        done: Counter[bytes] = Counter()
        try:
            kept = self.ledger.find([one.key for one in calls])
            for one in calls:
                if one.key not in kept:
                    llm.submit(one)
            while llm.under_way:
                answers = llm.wait()
                assert answers
                replies = [(one, answer) for one, answer in answers if isinstance(answer, Reply)]
                if keep:
                    self.ledger.keep(replies, recipe="queries", backend=llm.name)
                for one, answer in answers:
                    done[one.key] += 1
                    if isinstance(answer, Failure):
                        self.failures[one.key] = answer.reason
                    else:
                        assert answer.text == f"answer to {one.messages[-1]['content']}"
        finally:
            llm.close()
        return done

    def heard(self, words: str) -> bool:
        return any(words in line for line in self.said)


@pytest.fixture
def runs(server: BatchServer, ledger: Ledger) -> Runs:
    return Runs(server, ledger)


def all_paid_once(server: BatchServer, calls: list[Call]) -> bool:
    return server.paid() == Counter({one.key.hex(): 1 for one in calls})


# --- the ordinary course --------------------------------------------------------------------------


def test_every_call_is_answered_once_with_its_tokens(server: BatchServer, ledger: Ledger, runs: Runs) -> None:
    calls = [call(n) for n in range(30)]
    assert runs.run(calls) == Counter(one.key for one in calls)
    assert all_paid_once(server, calls)
    reply = ledger.find([calls[0].key])[calls[0].key]
    assert (reply.prompt_tokens, reply.completion_tokens, reply.served_by) == (7, 3, "tiny")


def test_a_finished_batch_leaves_no_record_and_no_prompts_at_the_server(
    server: BatchServer, ledger: Ledger, runs: Runs
) -> None:
    runs.run([call(1)])
    assert ledger.open_batches() == []
    assert list(server.files) == ["file-output-batch_2"]


def test_nothing_is_asked_of_the_server_before_a_call_is_submitted(server: BatchServer, runs: Runs) -> None:
    llm = runs.open()
    assert llm.wait() == []
    assert llm.room > 0
    llm.close()
    assert not server.events


def test_a_batch_is_told_by_its_states_and_never_by_its_key(runs: Runs) -> None:
    runs.run([call(1), call(2)])
    assert runs.said == [
        "batch_2: 2 requests sent (0.0 MB), answers within 24h",
        "batch_2: in_progress, 0 of 2 answered",
        "batch_2: finalizing, 0 of 2 answered",
        "batch_2: completed, 2 of 2 answered",
    ]


@pytest.mark.parametrize(
    ("total", "options", "sizes"),
    [
        (120, {"most_requests": 50}, [50, 50, 20]),
        pytest.param(120_000, {}, [50_000, 50_000, 20_000], marks=pytest.mark.slow),
    ],
)
def test_many_requests_go_in_several_files(
    server: BatchServer, runs: Runs, total: int, options: dict[str, int], sizes: list[int]
) -> None:
    llm = runs.open(**options)
    sent = [call(n) for n in range(total)]
    for one in sent:
        llm.submit(one)
    got: Counter[bytes] = Counter()
    while llm.under_way:
        got.update(one.key for one, _ in llm.wait())
    llm.close()
    assert [batch["request_counts"]["total"] for batch in server.batches.values()] == sizes
    assert got == Counter(one.key for one in sent)


def test_a_file_stays_below_its_bytes(server: BatchServer, runs: Runs) -> None:
    taken: list[int] = []
    server.upon = lambda event: taken.extend(map(len, server.files.values())) if event == "upload" else None
    calls = [call(n) for n in range(40)]
    runs.run(calls, most_bytes=2000)
    assert len(server.batches) > 4
    assert max(size for size in taken) <= 2000
    assert all_paid_once(server, calls)


def test_room_shrinks_by_what_is_under_way(runs: Runs) -> None:
    llm = runs.open(most_under_way=3)
    for n in range(3):
        llm.submit(call(n))
    assert (llm.room, llm.under_way) == (0, 3)
    llm.close()


# --- rows and batches that go wrong ---------------------------------------------------------------


def test_an_expired_batch_keeps_what_was_finished_and_sends_the_rest_again(server: BatchServer, runs: Runs) -> None:
    server.ends = [("expired", 12)]
    calls = [call(n) for n in range(20)]
    assert runs.run(calls) == Counter(one.key for one in calls)
    assert all_paid_once(server, calls)
    assert [batch["request_counts"]["total"] for batch in server.batches.values()] == [20, 8]
    assert runs.heard("8 requests without an answer; sending again")


def test_a_row_that_met_a_busy_server_is_sent_again(server: BatchServer, runs: Runs) -> None:
    seen: Counter[str] = Counter()

    def answer(body: dict[str, Any]) -> Any:
        seen[prompt(body)] += 1
        is_bad = "question 3 " in prompt(body) and seen[prompt(body)] <= 2
        return error_row(429, "Rate limit reached") if is_bad else echo(body)

    server.answer = answer
    calls = [call(n) for n in range(6)]
    assert runs.run(calls) == Counter(one.key for one in calls)
    assert runs.failures == {}
    assert len(server.batches) == 3


def test_a_row_that_always_breaks_fails_after_four_tries(server: BatchServer, runs: Runs) -> None:
    server.answer = lambda body: error_row(500, "boom") if "question 3 " in prompt(body) else echo(body)
    calls = [call(n) for n in range(6)]
    assert runs.run(calls) == Counter(one.key for one in calls)
    assert runs.failures == {calls[3].key: "500: boom"}
    assert len(server.asked_for[calls[3].key.hex()]) == 4


def test_a_row_that_is_too_long_fails_alone_and_at_once(server: BatchServer, ledger: Ledger, runs: Runs) -> None:
    said = "maximum context length is 8192 tokens"
    server.answer = lambda body: error_row(400, said) if "question 3 " in prompt(body) else echo(body)
    calls = [call(n) for n in range(6)]
    runs.run(calls)
    assert runs.failures == {calls[3].key: f"400: {said}"}
    assert ledger.open_batches() == []


def test_a_lone_row_that_is_too_long_does_not_end_the_run(server: BatchServer, runs: Runs) -> None:
    server.answer = lambda body: error_row(400, "maximum context length is 8192 tokens")
    runs.run([call(1)])
    assert list(runs.failures) == [call(1).key]


def test_a_model_without_json_schema_ends_the_run_with_one_line(
    server: BatchServer, ledger: Ledger, runs: Runs
) -> None:
    said = "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."
    server.answer = lambda body: error_row(400, said, param="response_format")
    schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    with pytest.raises(PairmineError, match=r"all of 3 requests failed alike .*leave --batch out") as caught:
        runs.run([call(n, schema=schema) for n in range(3)])
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_a_parameter_that_a_model_does_not_take_is_left_out_and_all_sent_again(server: BatchServer, runs: Runs) -> None:
    def answer(body: dict[str, Any]) -> Any:
        refusal = error_row(400, "Unsupported parameter: 'temperature' is not supported", param="temperature")
        return refusal if "temperature" in body else echo(body)

    server.answer = answer
    calls = [call(n) for n in range(12)]
    assert runs.run(calls, most_requests=6) == Counter(one.key for one in calls)
    assert runs.failures == {}
    assert all_paid_once(server, calls)
    assert [line for line in runs.said if "temperature" in line] == ["tiny takes no temperature; leaving it out"]


def test_a_batch_that_fails_alike_ends_the_run(server: BatchServer, ledger: Ledger, runs: Runs) -> None:
    server.answer = lambda body: error_row(404, "The model `tiny` does not exist")
    with pytest.raises(PairmineError, match=r"all of 2 requests failed alike .404: The model `tiny`") as caught:
        runs.run([call(1), call(2)])
    assert caught.value.exit_code == 2
    assert ledger.open_batches() == []


def test_a_batch_that_does_not_validate_ends_the_run_with_the_servers_words(
    server: BatchServer, ledger: Ledger, runs: Runs
) -> None:
    server.refusals = [("model_not_found", "The provided model 'tiny' is not supported by the Batch API.")]
    with pytest.raises(PairmineError, match=r"batch_2: the server refused the batch .*'tiny'.*line 1") as caught:
        runs.run([call(1)])
    assert caught.value.exit_code == 2
    assert ledger.open_batches() == []


def test_a_full_queue_at_the_account_is_waited_for(server: BatchServer, runs: Runs) -> None:
    server.refusals = [("token_limit_exceeded", "Enqueued token limit reached")]
    calls = [call(n) for n in range(30)]
    assert runs.run(calls, most_requests=10) == Counter(one.key for one in calls)
    assert all_paid_once(server, calls)
    assert runs.heard("the rest is sent as batches end")


def test_a_batch_larger_than_the_accounts_queue_is_halved(server: BatchServer, runs: Runs) -> None:
    server.refusals = [("token_limit_exceeded", "Enqueued token limit reached")] * 2
    calls = [call(n) for n in range(40)]
    assert runs.run(calls) == Counter(one.key for one in calls)
    assert [batch["request_counts"]["total"] for batch in server.batches.values()] == [40, 20, 10, 10, 10, 10]


def test_an_account_without_any_queue_gives_up_after_one_request(server: BatchServer, runs: Runs) -> None:
    server.refusals = [("token_limit_exceeded", "Enqueued token limit reached")] * 9
    with pytest.raises(PairmineError, match="no room for a single request") as caught:
        runs.run([call(n) for n in range(4)])
    assert caught.value.exit_code == 3


def test_a_cancelled_batch_ends_the_run_and_the_next_one_sends_the_rest(
    server: BatchServer, ledger: Ledger, runs: Runs
) -> None:
    server.ends = [("cancelled", 4)]
    calls = [call(n) for n in range(10)]
    with pytest.raises(PairmineError, match="batch_2: was cancelled with 6 requests not answered") as caught:
        runs.run(calls)
    assert caught.value.exit_code == 3
    assert len(ledger.find([one.key for one in calls])) == 4
    assert runs.run(calls) == Counter(one.key for one in calls[4:])
    assert all_paid_once(server, calls)


def test_an_account_out_of_money_ends_the_run_with_what_was_answered(
    server: BatchServer, ledger: Ledger, runs: Runs
) -> None:
    broke = error_row(429, "You exceeded your current quota", code="insufficient_quota")
    server.answer = lambda body: broke if "question 3 " in prompt(body) else echo(body)
    calls = [call(n) for n in range(6)]
    with pytest.raises(PairmineError, match="exceeded your current quota; add credit") as caught:
        runs.run(calls)
    assert caught.value.exit_code == 3
    assert len(ledger.find([one.key for one in calls])) == 5
    server.answer = echo
    assert runs.run(calls) == Counter([calls[3].key])


def test_a_row_that_is_in_neither_result_file_is_sent_again(server: BatchServer, runs: Runs) -> None:
    def lose_one(event: str) -> None:
        if event == "retrieve" and server.files.get("file-output-batch_2", b"").count(b"\n") == 2:
            server.files["file-output-batch_2"] = server.files["file-output-batch_2"].split(b"\n", 1)[1]

    server.upon = lose_one
    calls = [call(n) for n in range(2)]
    assert runs.run(calls) == Counter(one.key for one in calls)
    assert runs.heard("1 request without an answer; sending again")


# --- connections that break -----------------------------------------------------------------------


def test_broken_connections_and_busy_answers_cost_nothing_but_time(server: BatchServer, runs: Runs) -> None:
    draw = random.Random(5)
    server.upon = lambda event: event != "create" and draw.random() < 0.4
    server.busy = [503, 429, 500, 502]
    calls = [call(n) for n in range(40)]
    assert runs.run(calls, most_requests=10) == Counter(one.key for one in calls)
    assert all_paid_once(server, calls)
    assert len(server.batches) == 4
    assert runs.heard("trying again")


def test_a_batch_whose_creation_was_not_confirmed_is_found_and_not_made_twice(server: BatchServer, runs: Runs) -> None:
    server.upon = lambda event: event == "create" and server.events["create"] <= 3
    calls = [call(n) for n in range(9)]
    assert runs.run(calls, most_requests=3) == Counter(one.key for one in calls)
    assert server.events["create"] == 3
    assert all_paid_once(server, calls)


def test_a_torn_line_in_the_results_is_fetched_again(server: BatchServer, runs: Runs) -> None:
    server.torn = {"file-output-batch_2"}
    calls = [call(n) for n in range(5)]
    assert runs.run(calls) == Counter(one.key for one in calls)
    assert server.events["download"] == 2
    assert runs.heard("1 damaged line in its results; fetching them again")
    assert all_paid_once(server, calls)


@pytest.mark.parametrize("page", [b"<html>Sign in</html>\n", b""])
def test_results_that_cannot_be_read_stay_at_the_server_and_are_not_paid_for_again(
    server: BatchServer, ledger: Ledger, runs: Runs, page: bytes
) -> None:
    calls = [call(n) for n in range(5)]
    server.plan = lambda event, before: Response(200, page) if event == "download" else None
    with pytest.raises(PairmineError, match=r"its results cannot be read .*run the same command again") as caught:
        runs.run(calls)
    assert caught.value.exit_code == 3
    server.plan = lambda event, before: None
    assert runs.run(calls) == Counter(one.key for one in calls)
    assert all_paid_once(server, calls)
    assert ledger.open_batches() == []


@pytest.mark.parametrize("page", [b"<html>Gone</html>", b"", b'{"deleted": tr'])
def test_what_a_server_answers_to_a_file_that_is_to_be_deleted_ends_no_run(
    server: BatchServer, runs: Runs, page: bytes
) -> None:
    calls = [call(n) for n in range(5)]
    server.plan = lambda event, before: Response(200, page) if event == "delete" else None
    assert runs.run(calls) == Counter(one.key for one in calls)
    assert all_paid_once(server, calls)


def test_results_that_are_fewer_than_the_server_counts_are_fetched_again(server: BatchServer, runs: Runs) -> None:
    def cut(good: Response) -> Response:
        return replace(good, body=good.body[: good.body.index(b"\n") + 1])

    calls = [call(n) for n in range(5)]
    server.plan = lambda event, before: cut if event == "download" and before == 0 else None
    assert runs.run(calls) == Counter(one.key for one in calls)
    assert runs.heard("1 of 5 answers in its results; fetching them again")
    assert all_paid_once(server, calls)


@pytest.mark.parametrize(
    "counts",
    [[1], {"completed": "many"}, {"completed": [1], "failed": {}}, {"completed": float("nan")}, {"completed": 10**400}],
)
def test_counts_of_a_batch_that_are_none_end_no_run(server: BatchServer, runs: Runs, counts: Any) -> None:
    def odd(good: Response) -> Response:
        return replace(good, body=json.dumps({**json.loads(good.body), "request_counts": counts}).encode())

    server.plan = lambda event, before: odd if event == "retrieve" else None
    calls = [call(n) for n in range(3)]
    assert runs.run(calls) == Counter(one.key for one in calls)


@pytest.mark.parametrize("others", [["x"], [{"id": 7, "metadata": [1], "created_at": "today"}], [{"id": "a"}]])
def test_a_list_of_batches_that_cannot_be_read_makes_no_second_batch(
    server: BatchServer, runs: Runs, others: Any
) -> None:
    page = Response(200, json.dumps({"data": others, "has_more": True}).encode())
    server.upon = lambda event: event == "create"
    server.plan = lambda event, before: page if event == "list" else None
    with pytest.raises(PairmineError, match=r"a list of batches that does not end|no list of batches"):
        runs.run([call(1)], patience_s=0.3)
    server.upon = lambda event: None
    server.plan = lambda event, before: None
    assert runs.run([call(1)]) == Counter([call(1).key])
    assert len(server.batches) == 1


def test_an_error_of_the_key_in_a_200_ends_the_run_at_once(server: BatchServer, runs: Runs) -> None:
    said = Response(200, b'{"error": {"message": "invalid api key", "code": 401}}')
    server.plan = lambda event, before: said
    with pytest.raises(PairmineError, match=r"401: invalid api key.*check the API key"):
        runs.run([call(1)])


def test_an_answer_in_drops_is_broken_off_and_a_proxy_is_not_asked_for_this_machine(
    server: BatchServer, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drops() -> Iterator[bytes | float | str]:
        yield b"HTTP/1.1 200 OK\r\n"
        while True:
            yield b"X: y\r\n"
            yield 0.02

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server.plan = lambda event, before: Response(script=drops) if before == 0 else None
    began = time.monotonic()
    assert runs.run([call(1)], timeout_s=0.3) == Counter([call(1).key])
    assert time.monotonic() - began < 8
    assert runs.heard("no answer in 0.3 s")


def test_a_refused_key_is_told_without_showing_it(runs: Runs, server: BatchServer) -> None:
    with pytest.raises(PairmineError, match=r"401: Incorrect API key.*check the API key") as caught:
        runs.run([call(1)], api_key="sk-wrong-secret")
    assert caught.value.exit_code == 3
    assert "secret" not in str(caught.value) + "".join(runs.said)


def test_a_server_without_a_batch_api_is_told_so(runs: Runs, server: BatchServer, ledger: Ledger) -> None:
    server.has_api = False
    with pytest.raises(PairmineError, match=r"has no Batch API .*leave --batch out") as caught:
        runs.run([call(1)])
    assert caught.value.exit_code == 2
    assert ledger.open_batches() == []


def test_a_server_that_stays_away_ends_the_run_and_says_how_to_go_on(runs: Runs) -> None:
    with pytest.raises(
        PairmineError, match=r"could not upload a request file for 0.05 seconds .*run the same command again"
    ) as caught:
        runs.run([call(1)], base_url="http://127.0.0.1:9/v1", patience_s=0.05)
    assert caught.value.exit_code == 3


# --- runs that end early, and the next one --------------------------------------------------------


class Stopped(KeyboardInterrupt):
    """Ctrl-C at a moment of the test's choice."""


def test_ctrl_c_while_polling_leaves_the_batch_for_the_next_run(server: BatchServer, runs: Runs) -> None:
    def press(_: float) -> None:
        raise Stopped

    calls = [call(n) for n in range(7)]
    with pytest.raises(Stopped):
        runs.run(calls, sleep=press)
    assert runs.heard("1 batch at the server (batch_2); run the command again to fetch")
    assert runs.run(calls) == Counter(one.key for one in calls)
    assert runs.heard("batch_2: 7 requests of this run were sent with it before")
    assert len(server.batches) == 1


def test_a_reply_that_never_reached_the_ledger_is_fetched_again_and_not_paid_again(
    server: BatchServer, ledger: Ledger, runs: Runs
) -> None:
    calls = [call(n) for n in range(7)]
    runs.run(calls, keep=False)
    assert len(ledger.open_batches()) == 1
    assert runs.run(calls) == Counter(one.key for one in calls)
    assert all_paid_once(server, calls)
    assert ledger.open_batches() == []


def test_replies_that_a_run_did_not_ask_for_wait_for_one_that_does(
    server: BatchServer, ledger: Ledger, runs: Runs
) -> None:
    calls = [call(n) for n in range(8)]
    with pytest.raises(Stopped):
        runs.run(calls, sleep=lambda _: (_ for _ in ()).throw(Stopped()))
    runs.run(calls[:3])
    assert len(ledger.open_batches()) == 1
    assert runs.run(calls) == Counter(one.key for one in calls[3:])
    assert all_paid_once(server, calls)
    assert ledger.open_batches() == []


def test_a_call_that_comes_after_its_batch_was_fetched_is_not_sent(server: BatchServer, runs: Runs) -> None:
    calls = [call(n) for n in range(4)]
    runs.run(calls, keep=False)
    llm = runs.open()
    for some in (calls[:2], calls[2:]):
        for one in some:
            llm.submit(one)
        assert {one.key for one, _ in llm.wait()} == {one.key for one in some}
    llm.close()
    assert len(server.batches) == 1


def test_new_calls_go_along_with_those_that_are_in_an_earlier_batch(server: BatchServer, runs: Runs) -> None:
    calls = [call(n) for n in range(10)]
    with pytest.raises(Stopped):
        runs.run(calls[:4], sleep=lambda _: (_ for _ in ()).throw(Stopped()))
    assert runs.run(calls) == Counter(one.key for one in calls)
    assert [batch["request_counts"]["total"] for batch in server.batches.values()] == [4, 6]


def test_a_batch_older_than_the_server_keeps_them_is_sent_again(
    server: BatchServer, ledger: Ledger, runs: Runs
) -> None:
    calls = [call(n) for n in range(4)]
    keys = tuple(one.key for one in calls)
    ledger.save_batch(
        Batch("batch_old", f"batch {server.base_url}", "sent file-9", keys, int(time.time()) - 31 * 86_400)
    )
    assert runs.run(calls) == Counter(keys)
    assert runs.heard("batch_old: the server has its results no more (404: No batch found")
    assert ledger.open_batches() == []


def test_a_young_batch_of_another_account_is_not_paid_for_again(
    server: BatchServer, ledger: Ledger, runs: Runs
) -> None:
    keys = tuple(call(n).key for n in range(4))
    ledger.save_batch(Batch("batch_x", f"batch {server.base_url}", "sent file-9", keys))
    with pytest.raises(PairmineError, match=r"batch_x: sent on .* 4 requests of this run.*use the key that sent it"):
        runs.run([call(n) for n in range(4)])
    assert server.batches == {}
    assert len(ledger.open_batches()) == 1


def test_results_that_were_deleted_at_the_server_are_asked_for_again(
    server: BatchServer, ledger: Ledger, runs: Runs
) -> None:
    calls = [call(n) for n in range(4)]
    runs.run(calls, keep=False)
    del server.files["file-output-batch_2"]
    assert runs.run(calls) == Counter(one.key for one in calls)
    assert runs.heard("batch_2: the server has its results no more")
    assert ledger.open_batches() == []


def test_an_expired_batch_and_its_successor_are_told_apart_after_a_restart(
    server: BatchServer, ledger: Ledger, runs: Runs
) -> None:
    server.ends = [("expired", 5)]
    calls = [call(n) for n in range(9)]

    def stop_at_the_second(_: float) -> None:
        if len(server.batches) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        runs.run(calls, sleep=stop_at_the_second, keep=False)
    assert len(ledger.open_batches()) == 2
    assert runs.run(calls) == Counter(one.key for one in calls)
    assert all_paid_once(server, calls)
    assert ledger.open_batches() == []


class Steps:
    """Lets a run go on for `number` steps, each a call of the ledger or the server or the moment after it."""

    def __init__(self, number: int, ledger: Any, service: Any) -> None:
        self.left = number
        self.ledger: Any = _Stepwise(ledger, self)
        self.service: Any = _Stepwise(service, self)

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Stopped


class _Stepwise:
    def __init__(self, part: Any, steps: Steps) -> None:
        self._part, self._steps = part, steps

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if not callable(found):
            return found

        def stepwise(*args: Any, **more: Any) -> Any:
            self._steps.step()
            value = found(*args, **more)
            self._steps.step()
            return value

        return stepwise


@pytest.mark.parametrize("stride", [11, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.slow
def test_a_run_may_die_between_any_two_steps(
    server: BatchServer, runs: Runs, monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    """One batch expires half-way and a row meets a busy server, so that there are successors to lose track of."""
    met: Counter[str] = Counter()

    def answer(body: dict[str, Any]) -> Any:
        met[prompt(body)] += 1
        is_bad = "0 " in prompt(body) and met[prompt(body)] == 1
        return error_row(503, "busy") if is_bad else echo(body)

    server.answer = answer
    ledger = runs.ledger
    for number in range(0, 5000, stride):
        calls = [call(number * 1000 + n) for n in range(10)]
        server.batches.clear()
        llm = runs.open()
        steps = Steps(number, ledger=ledger, service=llm._service)
        llm._service, runs.ledger, llm._ledger = steps.service, steps.ledger, steps.ledger
        llm._most_requests = 4
        monkeypatch.setattr(runs, "open", lambda llm=llm, **_: llm)
        server.ends = [("expired", 2)]
        try:
            runs.run(calls)
        except Stopped:
            pass
        finally:
            monkeypatch.undo()
            runs.ledger = ledger
        if steps.left > 0:
            break
        runs.run(calls)
        keys = {one.key for one in calls}
        assert ledger.find(list(keys)).keys() == keys, number
        assert {server.paid()[key.hex()] for key in keys} == {1}, number
        assert ledger.open_batches() == [], number
    assert number > 80


CHILD = """
import os, signal, sys
from pairmine.backends.openai_batch import open_batch
from pairmine.ledger import Ledger
from pairmine.llm.calls import Call, Sampling

url, path, key, dies = sys.argv[1:]
calls = [Call("tiny", ({"role": "user", "content": f"question {n} ü"},), Sampling()) for n in range(30)]
with Ledger(path) as ledger:
    llm = open_batch("tiny", base_url=url, api_key=key, ledger=ledger, say=lambda line: None, poll_s=0.001,
                     most_requests=10)
    for call in calls:
        llm.submit(call)
    print(os.getpid(), flush=True)
    sys.stdin.readline()
    while llm.under_way:
        answers = llm.wait()
        half = answers[: len(answers) // 2]
        ledger.keep(half, recipe="queries", backend=llm.name)
        if dies == "handed back":
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("event", "nth"),
    [("upload", 2), ("create", 2), ("retrieve", 1), ("retrieve", 8), ("download", 2), ("handed back", 1)],
)
def test_kill_9_at_any_stage_pays_nothing_twice_and_loses_nothing(
    server: BatchServer, ledger: Ledger, runs: Runs, event: str, nth: int
) -> None:
    """The server kills the client just before it would get the answer to its nth request of a kind."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, server.base_url, str(ledger.path), KEY, event],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    pid = int(child.stdout.readline())

    def kill(happened: str) -> bool:
        if happened == event and server.events[event] == nth:
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    server.upon = kill
    child.communicate("go\n", timeout=60)
    assert child.returncode == -signal.SIGKILL
    server.upon = lambda event: None
    calls = [call(n) for n in range(30)]
    kept = ledger.find([one.key for one in calls])
    assert runs.run(calls, most_requests=10) == Counter(one.key for one in calls if one.key not in kept)
    assert all_paid_once(server, calls)
    assert {server.live_batches(one.key.hex()) for one in calls} == {1}
    assert ledger.open_batches() == []
    # The id of a file whose upload was not confirmed is known to nobody; it expires.
    assert len([name for name in server.files if "output" not in name]) == (event == "upload")


def test_a_reply_of_every_shape_is_read() -> None:
    key = call(1).key.hex()
    expired = b'{"custom_id": "%s", "response": null, "error": {"code": "batch_expired", "message": "late"}}'
    row = read_row(expired % key.encode())
    assert (row.key, row.answer.code) == (call(1).key, "batch_expired")  # type: ignore[union-attr]


def test_the_dialect_decides_the_words_of_a_request(server: BatchServer, runs: Runs) -> None:
    seen: list[dict[str, Any]] = []
    server.answer = lambda body: seen.append(body) or echo(body)  # type: ignore[func-returns-value]
    runs.run([call(1)], dialect=Dialect(refused=frozenset({"seed", "max_tokens"})))
    assert "seed" not in seen[0]
    assert seen[0]["max_completion_tokens"] == 512
