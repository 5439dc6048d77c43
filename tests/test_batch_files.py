"""File exchange: which requests are written, which results are taken, and what is said of the others."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from pairmine.backends.batch_files import (
    BatchFiles,
    KeyIndex,
    open_batch_files,
    read_row,
)
from pairmine.backends.requests import Complaint, Malformed
from pairmine.errors import PairmineError
from pairmine.llm.calls import Call, Failure, Reply, Sampling


def call(number: int, **more: Any) -> Call:
    return Call("tiny", ({"role": "user", "content": f"question {number} ü"},), Sampling(), **more)


def result(one: Call, text: str = "answer", **more: Any) -> dict[str, Any]:
    """A line as both OpenAI and vLLM write it."""
    body = {
        "model": "tiny",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }
    response = {"status_code": 200, "request_id": "r", "body": body}
    return {"id": "batch-1", "custom_id": one.key.hex(), "response": response, "error": None, **more}


def refusal(one: Call, status: int, message: str) -> dict[str, Any]:
    """An error in vLLM's words: no body, and the message beside the response."""
    error = {"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}}
    return result(one, response={"status_code": status, "request_id": "r", "body": None}, error=error)


def put(path: Path, rows: Sequence[dict[str, Any] | bytes]) -> None:
    lines = [row if isinstance(row, bytes) else orjson.dumps(row) for row in rows]
    content = b"".join(line + b"\n" for line in lines)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


class Exchange:
    """A folder and the runs over it; each opens it anew, as a process does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.error: PairmineError | None = None
        self.state: dict[str, int] = {}

    def open(self, **options: Any) -> BatchFiles:
        return open_batch_files("tiny", self.folder, say=self.said.append, **options)

    def run(self, calls: Sequence[Call], **options: Any) -> dict[bytes, Reply | Failure]:
        """Ask all, as the stage does; what has a result, and in `error` what is to be done about the others."""
        llm = self.open(**options)
        got: dict[bytes, Reply | Failure] = {}
        todo = list(calls)
        while todo or llm.under_way:
            while todo and llm.room:
                llm.submit(todo.pop(0))
            answers = llm.wait()
            assert not {one.key for one, _ in answers} & got.keys()
            got.update((one.key, answer) for one, answer in answers)
        self.error = llm.unfinished()
        self.state = llm.state
        llm.close()
        return {key: answer for key, answer in got.items() if answer != Failure("waits in a request file")}

    def requests(self) -> list[str]:
        """The custom_ids in the request files, in order."""
        lines = [line for path in self.files() for line in path.read_bytes().splitlines()]
        return [orjson.loads(line)["custom_id"] for line in lines]

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("requests-*"))


@pytest.fixture
def exchange(tmp_path: Path) -> Exchange:
    return Exchange(tmp_path / "exchange")


def ids(calls: Sequence[Call]) -> list[str]:
    return [one.key.hex() for one in calls]


# --- requests -------------------------------------------------------------------------------------


def test_the_first_run_writes_every_request_and_says_how_to_run_them(exchange: Exchange) -> None:
    calls = [call(n) for n in range(3)]
    assert exchange.run(calls) == {}
    folder = exchange.folder
    assert exchange.error is not None
    assert exchange.error.exit_code == 3
    assert str(exchange.error) == (
        f"3 requests are in {folder}/requests-00001.jsonl: run it, e.g. python -m vllm.entrypoints.openai.run_batch "
        f"-i {folder}/requests-00001.jsonl -o {folder}/results-00001.jsonl --model tiny "
        '--structured-outputs-config \'{"backend":"xgrammar","disable_any_whitespace":true}\', '
        "and run this command again"
    )
    assert exchange.requests() == ids(calls)


def test_a_request_is_a_line_of_the_batch_api(exchange: Exchange) -> None:
    schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    one = call(1, schema=schema)
    exchange.run([one])
    row = orjson.loads(exchange.files()[0].read_bytes())
    assert (row["custom_id"], row["method"], row["url"]) == (one.key.hex(), "POST", "/v1/chat/completions")
    assert row["body"]["messages"] == [{"role": "user", "content": "question 1 ü"}]
    assert row["body"]["response_format"]["json_schema"]["schema"] == schema
    assert row["body"]["seed"] == one.seed


def test_running_again_without_results_leaves_the_same_files(exchange: Exchange) -> None:
    calls = [call(n) for n in range(7)]
    exchange.run(calls, most_requests=3)
    before = {path.name: path.read_bytes() for path in exchange.folder.iterdir()}
    exchange.run(calls, most_requests=3)
    assert {path.name: path.read_bytes() for path in exchange.folder.iterdir()} == before
    assert sorted(before) == ["requests-00001.jsonl", "requests-00002.jsonl", "requests-00003.jsonl"]
    assert "and 2 more up to requests-00003.jsonl: run each file" in str(exchange.error)


def test_request_files_stay_below_their_bytes(exchange: Exchange) -> None:
    calls = [call(n) for n in range(20)]
    exchange.run(calls, most_bytes=1000)
    assert len(exchange.files()) > 4
    assert max(path.stat().st_size for path in exchange.files()) <= 1000
    assert exchange.requests() == ids(calls)


def test_a_later_round_asks_for_exactly_what_is_missing_and_removes_spent_files(exchange: Exchange) -> None:
    calls = [call(n) for n in range(9)]
    exchange.run(calls, most_requests=3)
    put(exchange.folder / "results-00001.jsonl", [result(one) for one in calls[:7]])
    assert exchange.run(calls, most_requests=3).keys() == {one.key for one in calls[:7]}
    assert exchange.requests() == ids(calls[7:])
    assert [path.name for path in exchange.files()] == ["requests-00001.jsonl"]
    assert "-o " + str(exchange.folder / "results-00002.jsonl") in str(exchange.error)


def test_a_killed_run_leaves_the_old_requests_whole(exchange: Exchange) -> None:
    exchange.run([call(1)])
    llm = exchange.open()
    llm.submit(call(2))
    llm.close()
    assert exchange.requests() == ids([call(1)])
    assert [path.name for path in exchange.folder.iterdir()] == ["requests-00001.jsonl"]


def test_a_file_of_the_users_own_is_never_removed(exchange: Exchange) -> None:
    put(exchange.folder / "requests-mine.jsonl", [b'{"custom_id": "x", "method": "POST", "body": {}}'])
    exchange.run([call(1)])
    assert (exchange.folder / "requests-mine.jsonl").exists()


def test_a_folder_name_with_spaces_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    exchange = Exchange(tmp_path / "my batches")
    exchange.run([call(1)])
    assert f"-i '{exchange.folder}/requests-00001.jsonl'" in str(exchange.error)


# --- results --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["results-00001.jsonl", "batch_abc_output.jsonl", "out.jsonl.gz"])
def test_results_are_taken_from_any_jsonl_in_any_order(exchange: Exchange, name: str) -> None:
    calls = [call(n) for n in range(50)]
    put(exchange.folder / name, [result(one, f"to {one.key.hex()}") for one in reversed(calls)])
    got = exchange.run(calls)
    assert exchange.error is None
    assert got == {one.key: Reply(f"to {one.key.hex()}", "stop", 7, 3, 0, "tiny") for one in calls}


def test_several_thousand_results_come_back_in_pieces(exchange: Exchange) -> None:
    calls = [call(n) for n in range(9000)]
    put(exchange.folder / "a.jsonl", [result(one) for one in calls[:5000]])
    put(exchange.folder / "b.jsonl.gz", [result(one) for one in calls[5000:]])
    assert exchange.run(calls).keys() == {one.key for one in calls}
    assert exchange.state["answered"] == 9000


def test_nothing_to_ask_is_no_error(exchange: Exchange) -> None:
    assert exchange.run([]) == {}
    assert exchange.error is None
    assert exchange.files() == []


def test_a_damaged_line_is_told_with_its_place_and_asked_again(exchange: Exchange) -> None:
    calls = [call(n) for n in range(4)]
    torn = orjson.dumps(result(calls[2]))[:-9]
    put(
        exchange.folder / "out.jsonl", [result(calls[0]), result(calls[1]), torn, b"\xff\xfe garbage", result(calls[3])]
    )
    assert exchange.run(calls).keys() == {calls[n].key for n in (0, 1, 3)}
    assert exchange.requests() == ids([calls[2]])
    assert len(exchange.said) == 1
    assert exchange.said[0].startswith(f"{exchange.folder}/out.jsonl:3: damaged result (not JSON: ")
    assert exchange.said[0].endswith("its call stays to be answered; 2 such lines in this file")
    assert exchange.state["damaged"] == 2


def test_a_file_cut_off_in_its_last_line_loses_only_that(exchange: Exchange) -> None:
    calls = [call(n) for n in range(3)]
    path = exchange.folder / "out.jsonl"
    put(path, [result(one) for one in calls])
    path.write_bytes(path.read_bytes()[:-30])
    assert exchange.run(calls).keys() == {calls[0].key, calls[1].key}
    assert exchange.requests() == ids(calls[2:])


def test_a_cut_off_gzip_gives_what_it_holds(exchange: Exchange) -> None:
    calls = [call(n) for n in range(3000)]
    path = exchange.folder / "out.jsonl.gz"
    put(path, [result(one, one.key.hex()) for one in calls])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    got = exchange.run(calls)
    assert 500 < len(got) < 2500
    assert len(exchange.requests()) == 3000 - len(got)
    assert f"{path}: is cut off or damaged; reading what there is of it" in exchange.said


def test_several_gzips_in_one_file_are_read_to_the_end(exchange: Exchange) -> None:
    calls = [call(n) for n in range(6)]
    exchange.folder.mkdir()
    pieces = [gzip.compress(orjson.dumps(result(one)) + b"\n") for one in calls]
    (exchange.folder / "out.jsonl.gz").write_bytes(b"".join(pieces))
    assert exchange.run(calls).keys() == {one.key for one in calls}
    assert exchange.said == []


def test_the_first_complete_result_of_a_call_wins(exchange: Exchange) -> None:
    one = call(1)
    put(exchange.folder / "a.jsonl", [orjson.dumps(result(one, "torn"))[:-20], refusal(one, 400, "too long")])
    put(exchange.folder / "b.jsonl", [result(one, "first"), result(one, "second")])
    put(exchange.folder / "c.jsonl", [result(one, "third")])
    assert exchange.run([one]) == {one.key: Reply("first", "stop", 7, 3, 0, "tiny")}


def test_results_of_other_calls_are_counted_and_left_alone(exchange: Exchange) -> None:
    put(exchange.folder / "out.jsonl", [result(call(1)), result(call(2)), {**result(call(3)), "custom_id": "row-17"}])
    assert exchange.run([call(1)]).keys() == {call(1).key}
    assert exchange.error is None
    assert exchange.state["others"] == 2


def test_files_that_hold_no_results_are_passed_over(exchange: Exchange) -> None:
    put(exchange.folder / "corpus.jsonl", [{"id": "d1", "text": "hello"}])
    put(exchange.folder / "empty.jsonl", [])
    put(exchange.folder / "list.jsonl", [b"[1, 2]"])
    exchange.run([call(1)])
    exchange.run([call(1)])
    assert exchange.said == []
    assert exchange.state["damaged"] == 0


def test_a_call_that_the_server_refused_fails_with_its_words(exchange: Exchange) -> None:
    put(exchange.folder / "out.jsonl", [refusal(call(1), 400, "maximum context length is 512 tokens")])
    assert exchange.run([call(1)]) == {call(1).key: Failure("400: maximum context length is 512 tokens")}


@pytest.mark.parametrize(
    "row",
    [
        refusal(call(1), 503, "engine is dead"),
        refusal(call(1), 429, "slow down"),
        refusal(call(1), 404, "The model `tiny` does not exist"),
        result(call(1), response=None, error={"code": "batch_expired", "message": "late"}),
        result(call(1), response=None, error="the batch was stopped"),
    ],
)
def test_a_call_that_met_a_passing_trouble_is_asked_again(exchange: Exchange, row: dict[str, Any]) -> None:
    put(exchange.folder / "out.jsonl", [row])
    assert exchange.run([call(1)]) == {}
    assert exchange.requests() == ids([call(1)])
    assert len(exchange.said) == 1
    assert exchange.said[0].startswith(f"{exchange.folder}/out.jsonl: 1 call was not answered for a reason that may")


def test_a_result_that_changes_while_it_is_read_is_asked_again(exchange: Exchange) -> None:
    path = exchange.folder / "out.jsonl"
    put(path, [result(call(1)), result(call(2))])
    llm = exchange.open()
    llm.submit(call(1))
    llm.submit(call(2))
    path.write_bytes(b"x" * path.stat().st_size)
    llm.wait()
    assert str(llm.unfinished()).startswith("2 requests are in")
    llm.close()


# --- the folder -----------------------------------------------------------------------------------


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "here").write_text("")
    with pytest.raises(PairmineError, match=r"here: is a file; --batch-files takes a folder"):
        open_batch_files("tiny", tmp_path / "here", say=print)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "here").write_text("")
    with pytest.raises(PairmineError, match=r"here/there: .*name a folder that can be made"):
        open_batch_files("tiny", tmp_path / "here" / "there", say=print)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="wants a file whose reading fails")
def test_a_file_of_results_that_cannot_be_read_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").symlink_to("/proc/self/mem")
    with pytest.raises(PairmineError, match=r"results\.jsonl: input/output error; mend that, or take the file away"):
        open_batch_files("tiny", tmp_path, say=print)


# --- pieces ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", [b"", b"nonsense", b"[]", b'{"custom_id": 3}', b'{"custom_id": "a", "response": null}']
)
def test_a_line_that_says_nothing_is_malformed(line: bytes) -> None:
    with pytest.raises(Malformed):
        read_row(line)


def test_an_error_without_a_response_keeps_its_code() -> None:
    row = read_row(orjson.dumps(result(call(1), response=None, error={"code": "batch_expired", "message": "late"})))
    assert row.key == call(1).key
    assert isinstance(row.answer, Complaint)
    assert (row.answer.code, row.answer.message, row.answer.is_transient) == ("batch_expired", "late", True)


def test_keys_that_differ_in_zero_bytes_alone_are_told_apart() -> None:
    keys = [b"\0" * 20, b"\0" * 19 + b"\1", b"a" + b"\0" * 19, b"a" * 20, b"\xff" * 20]
    index = KeyIndex()
    for number, key in enumerate(keys):
        index.add(key, number)
    index.add(keys[2], 99)
    index.settle()
    assert [index.find(key) for key in keys] == [0, 1, 2, 3, 4]
    assert index.find(b"b" * 20) is None
    assert index.find(b"\xff" * 19 + b"\xfe") is None


def test_an_empty_index_finds_nothing() -> None:
    index = KeyIndex()
    index.settle()
    assert index.find(b"a" * 20) is None


def test_an_index_agrees_with_a_dict_on_random_keys() -> None:
    import random

    draw = random.Random(3)
    keys = [draw.randbytes(20) for _ in range(2000)]
    index = KeyIndex()
    for number, key in enumerate(keys):
        index.add(key, number)
    index.settle()
    assert Counter(index.find(key) for key in keys) == Counter(range(2000))
