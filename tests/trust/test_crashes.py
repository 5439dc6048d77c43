"""Every stage stopped at random moments, and run again: the same bytes, nothing left over, nothing paid for twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from random import Random

import pytest
from llm_server import LLMServer
from trust.conftest import Campaign
from trust.crash_stages import ASKED, CISI, CONCURRENCY, NAMES, STAGES, Bench, Stage, one_line, write_inputs
from trust.warm_runs import Done, Moment, WarmRuns

pytestmark = pytest.mark.skipif(not CISI.is_dir(), reason=f"no data in {CISI}")
SEED = 11
BENCHES = 3
AGAIN = "crashes: killed at a random moment and run again"
STOPPED = "crashes: interrupted"
TWO = "crashes: two at once"
SHORT = ("derive", "dedup, bounded", "generate", "mine", "mix", "export of a folder", "embed as a matrix")
"""Stages of the short campaign: one of each way to write, keep and ask."""
SHORT_TOGETHER = ("dedup, bounded", "mine", "export of a folder")
LEDGERS = [stage for stage in STAGES if stage.asks]
KEY = {"OPENAI_API_KEY": "sk-none"}


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory, campaign: Campaign) -> Iterator[list[Bench]]:
    """Benches to work on side by side, which wait for a disk or a server most of the time."""
    folder = tmp_path_factory.mktemp("crashes")
    with ExitStack() as stack:
        benches = []
        for number in range(campaign.times(BENCHES, 1)):
            runs = stack.enter_context(WarmRuns(folder / f"{number}" / "out", KEY))
            server = stack.enter_context(LLMServer(delay_s=0.01))
            benches.append(Bench(folder / "inputs", runs, server))
        write_inputs(folder / "inputs", benches[0].runs)
        yield benches


@pytest.fixture(scope="module")
def bench(benches: list[Bench]) -> Bench:
    return benches[0]


def try_often(benches: list[Bench], count: int, attempt: Callable[[Bench, int], None]) -> None:
    """`attempt` by each number below `count`, on whichever bench is free; all that fail are told."""
    free: SimpleQueue[Bench] = SimpleQueue()
    for bench in benches:
        free.put(bench)

    def fault(number: int) -> str:
        bench = free.get()
        try:
            attempt(bench, number)
        except AssertionError as error:
            return str(error)
        finally:
            free.put(bench)
        return ""

    with ThreadPoolExecutor(len(benches)) as pool:
        faults = [each for each in pool.map(fault, range(count)) if each]
    assert not faults, f"{len(faults)} of {count}:\n" + "\n".join(faults)


@pytest.fixture
def stage(request: pytest.FixtureRequest, campaign: Campaign) -> Stage:
    found: Stage = request.param
    if not campaign.is_whole and found.name not in SHORT:
        pytest.skip("in the whole campaign alone: make trust")
    return found


each_stage = pytest.mark.parametrize("stage", STAGES, ids=str, indirect=True)


def has_earlier(number: int) -> bool:
    """Whether a try finds outputs of an earlier run in the place of its own."""
    return number % 4 > 1


def disturbed(
    bench: Bench, stage: Stage, draw: Random, signals: list[int], number: int, gap: float = 0.0
) -> tuple[Moment, Done, int]:
    """A run that signals reached, and what had been paid before."""
    bench.whole(stage)
    for _ in range(40):
        bench.clean()
        if has_earlier(number):
            bench.put_earlier(stage)
        paid = sum(bench.server.paid.values())
        moment = bench.moments(stage, draw, signals, by_touch=number % 2 == 0, gap=gap)
        done = bench.run(stage, moment)
        if stage.asks:
            bench.settle()
        if done.code != stage.code:
            return moment, done, paid
    raise AssertionError(f"{stage}: is always done before the signal comes")


def check_again(bench: Bench, stage: Stage, about: str) -> None:
    """Run it undisturbed: all is as if it had never been stopped."""
    whole = bench.whole(stage)
    done = bench.run(stage)
    assert done.code == stage.code, f"{about}: {done}"
    files, tree = bench.files(), bench.tree()
    other = sorted(name for name in files.keys() & whole.files.keys() if files[name] != whole.files[name])
    assert not other, f"{about}: other bytes in {other}"
    assert tree == whole.tree, f"{about}: there, or not there: {sorted(tree ^ whole.tree)}"
    assert files.keys() == whole.files.keys(), about


@each_stage
def test_a_stage_that_is_killed_and_run_again_gives_the_same_bytes(
    benches: list[Bench], stage: Stage, campaign: Campaign
) -> None:
    def attempt(bench: Bench, number: int) -> None:
        draw = Random(f"{SEED}/{stage}/{number}")
        moment, done, paid = disturbed(bench, stage, draw, [signal.SIGKILL], number)
        about = f"{stage}, seed {SEED}, try {number}: {moment}"
        assert done.code == -signal.SIGKILL, f"{about}: {done}"
        torn = bench.torn(stage, has_earlier=has_earlier(number), may_lack_folder=True)
        assert not torn, f"{about}: {torn}"
        kept, asked = len(bench.kept()), bench.server.requests
        check_again(bench, stage, about)
        campaign.count(AGAIN, f"{stage}: the same bytes, nothing left over")
        if stage.asks:
            check_money(bench, stage, about, paid, kept, asked, campaign)

    try_often(benches, campaign.times(50, 2), attempt)


def check_money(bench: Bench, stage: Stage, about: str, paid: int, kept: int, asked: int, campaign: Campaign) -> None:
    """What the ledger had is not asked for again, and no more is lost than was under way."""
    whole = bench.whole(stage).asked
    again = bench.server.requests - asked
    assert again == whole - kept, f"{about}: {again} asked for again, {kept} of {whole} were kept"
    lost = sum(bench.server.paid.values()) - paid - whole
    assert 0 <= lost <= 2 * CONCURRENCY, f"{about}: {lost} replies were paid for and not kept"
    campaign.count(AGAIN, f"{stage}: replies that were kept, none of them asked for again", kept)
    campaign.count(AGAIN, f"{stage}: replies on their way at the moment, asked for again", lost)


KINDS = [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT], [signal.SIGINT, signal.SIGTERM]]


@each_stage
def test_a_stage_that_is_interrupted_says_how_to_go_on_and_leaves_nothing(
    benches: list[Bench], stage: Stage, campaign: Campaign
) -> None:
    def attempt(bench: Bench, number: int) -> None:
        draw = Random(f"{SEED}/{stage}/interrupted/{number}")
        signals = KINDS[(number // 2 + STAGES.index(stage)) % len(KINDS)]
        moment, done, paid = disturbed(bench, stage, draw, list(map(int, signals)), number, gap=0.03)
        about = f"{stage}, seed {SEED}, try {number}: {moment}: {done}"
        assert done.code == 130, about
        assert one_line(done.said), about
        torn = bench.torn(stage, has_earlier=has_earlier(number), may_lack_folder=False)
        assert not torn, f"{about}: {torn}"
        assert not bench.left_over(stage), f"{about}: {bench.left_over(stage)}"
        what = " and ".join(NAMES[each] for each in signals)
        campaign.count(STOPPED, f"by {what}: exit 130, a line that says how to continue, nothing left over")
        texts, asked = bench.kept(), bench.server.requests
        assert done.stopped_at is not None
        forgotten = bench.sent_before(done.stopped_at) - texts
        kept, lost = len(texts), sum(bench.server.paid.values()) - paid - len(texts)
        check_again(bench, stage, about)
        campaign.count(STOPPED, "run again: the same bytes")
        if stage.asks:
            assert not forgotten, f"{about}: {len(forgotten)} replies that had come are lost"
            assert lost <= CONCURRENCY, about
            assert bench.server.requests - asked == bench.whole(stage).asked - kept, about
            campaign.count(STOPPED, "replies that had come, in the ledger", kept)
            campaign.count(STOPPED, "replies that came in the very last moment, asked for again", max(lost, 0))

    try_often(benches, campaign.times(16, 1), attempt)


# --- the real start of a process ----------------------------------------------------------------------


def hears(process: subprocess.Popen[str]) -> bool:
    """Whether it answers SIGTERM itself: Python alone, as it starts, does not."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return False
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def test_a_command_is_interrupted_in_order_from_its_first_moments_on(benches: list[Bench], campaign: Campaign) -> None:
    stage = STAGES[0]

    def attempt(bench: Bench, number: int) -> None:
        bench.whole(stage)
        draw = Random(f"{SEED}/cold/{number}")
        bench.clean()
        after_s = draw.uniform(0.0, 0.6)
        command = [sys.executable, "-m", "pairmine", *bench.words(stage)]
        with subprocess.Popen(command, cwd=bench.folder, stderr=subprocess.PIPE, text=True) as process:
            while not hears(process) and process.poll() is None:
                time.sleep(0.002)
            time.sleep(after_s)
            process.send_signal(signal.SIGINT if number % 2 else signal.SIGTERM)
            said = process.communicate(timeout=60)[1]
        about = f"seed {SEED}, try {number}, {after_s:.3f} s after its start: {process.returncode} {said}"
        if process.returncode == 0:
            assert bench.files() == bench.whole(stage).files, about
            return
        assert process.returncode == 130, about
        assert one_line(said), about
        assert not bench.left_over(stage), about
        campaign.count(STOPPED, "from the start of the process on, while libraries are loaded: the same")

    try_often(benches, campaign.times(24, 2), attempt)


# --- several processes --------------------------------------------------------------------------------


def alive(group: int) -> list[str]:
    """The processes that still run of those that a command started, which share its session."""
    found = []
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = each.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == group and fields[0] not in "ZX":
            found.append(each.parent.name)
    return found


PARALLEL = Stage(
    "derive with workers",
    "derive crops {corpus} --workers 2 -o out.parquet",
    settings={"pairmine.files.raw:BATCH_ROWS": 20, "pairmine.files.source:CHUNK_ROWS": 20},
)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=NAMES.get)
def test_workers_end_with_their_command_and_say_nothing(bench: Bench, sent: signal.Signals, campaign: Campaign) -> None:
    if not campaign.is_whole and sent != signal.SIGKILL:
        pytest.skip("in the whole campaign alone: make trust")
    bench.whole(PARALLEL)
    for number in range(campaign.times(10, 1)):
        draw = Random(f"{SEED}/workers/{sent}/{number}")
        bench.clean()
        moment = Moment(
            times=[(draw.uniform(0.2, 0.9) * bench.seconds(PARALLEL), sent)], to_group=sent != signal.SIGKILL
        )
        done = bench.run(PARALLEL, moment)
        about = f"seed {SEED}, try {number}: {moment}: {done}"
        end = time.monotonic() + 10
        while (left := alive(done.group)) and time.monotonic() < end:
            time.sleep(0.02)
        assert not left, about
        if done.code != 0:
            assert done.code == (-sent if sent == signal.SIGKILL else 130), about
            assert done.code < 0 or one_line(done.said), about
            campaign.count(STOPPED, f"with workers, by {NAMES[sent]}: they end with it, and say nothing")
        check_again(bench, PARALLEL, about)


@pytest.fixture(scope="module")
def second(bench: Bench) -> Iterator[WarmRuns]:
    """Another process that runs commands in the folder."""
    with WarmRuns(bench.folder, KEY) as runs:
        yield runs


def at_once(bench: Bench, second: WarmRuns, stage: Stage, draw: Random, other: list[str]) -> list[Done]:
    """The stage, and a little later the command `other` beside it."""
    wait_s = draw.uniform(0.0, 0.3 * bench.seconds(stage))

    def later() -> Done:
        time.sleep(wait_s)
        return second.run(other, settings=stage.settings)

    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(later)
        return [bench.run(stage), beside.result()]


@each_stage
def test_two_runs_with_one_output_both_finish_or_one_says_that_the_other_is_at_work(
    bench: Bench, second: WarmRuns, stage: Stage, campaign: Campaign
) -> None:
    if not campaign.is_whole and stage.name not in SHORT_TOGETHER:
        pytest.skip("in the whole campaign alone: make trust")
    whole = bench.whole(stage)
    for number in range(campaign.times(5, 1)):
        draw = Random(f"{SEED}/{stage}/one output/{number}")
        bench.clean()
        asked = bench.server.requests
        both = at_once(bench, second, stage, draw, bench.words(stage))
        about = f"{stage}, seed {SEED}, try {number}: {both}"
        assert stage.code in {done.code for done in both}, about
        for done in both:
            assert done.code in (stage.code, 3), about
            assert done.code == stage.code or done.said.count("\n") == 1, about
        assert bench.files() == whole.files, about
        assert bench.tree() == whole.tree, about
        assert bench.server.requests - asked == whole.asked, f"{about}: a reply was paid for twice"
        refused = sum(done.code == 3 for done in both)
        what = "the second is refused with a line" if refused else "both finish"
        campaign.count(TWO, f"with one output: {what}")


def elsewhere(words: list[str]) -> list[str]:
    """The same with other outputs."""
    return [word.replace("out.parquet", "second.parquet").replace("rejects.", "others.") for word in words]


@pytest.mark.parametrize("stage", LEDGERS, ids=str, indirect=True)
def test_two_runs_on_one_ledger_write_the_same_and_pay_once(
    bench: Bench, second: WarmRuns, stage: Stage, campaign: Campaign
) -> None:
    whole = bench.whole(stage)
    for number in range(campaign.times(10, 1)):
        draw = Random(f"{SEED}/{stage}/one ledger/{number}")
        bench.clean()
        asked = bench.server.requests
        words = elsewhere(bench.words(stage))
        both = at_once(bench, second, stage, draw, words)
        about = f"{stage}, seed {SEED}, try {number}: {both}"
        assert [done.code for done in both] == [0, 0], about
        assert bench.files()["out.parquet"] == bench.files()["second.parquet"] == whole.files["out.parquet"], about
        assert len(bench.kept()) == whole.asked, about
        assert bench.server.requests - asked == whole.asked, f"{about}: a reply was paid for twice"
        campaign.count(TWO, "on one ledger: both finish, and every reply is paid for once")


def test_the_second_of_two_runs_on_one_ledger_goes_on_when_the_first_is_killed(
    bench: Bench, second: WarmRuns, campaign: Campaign
) -> None:
    stage = LEDGERS[0]
    whole = bench.whole(stage)
    for number in range(campaign.times(6, 1)):
        draw = Random(f"{SEED}/one is killed/{number}")
        bench.clean()
        moment = Moment(times=[(draw.uniform(0.3, 0.8) * bench.seconds(stage), signal.SIGKILL)])
        words = elsewhere(bench.words(stage))
        with ThreadPoolExecutor(1) as pool:
            beside = pool.submit(second.run, words)
            bench.run(stage, moment)
        done = beside.result()
        assert done.code == 0, f"seed {SEED}, try {number}: {moment}: {done}"
        assert bench.files()["second.parquet"] == whole.files["out.parquet"]
        check_again_beside(bench, stage)
        campaign.count(TWO, "on one ledger, one of them killed: the other one finishes")


def check_again_beside(bench: Bench, stage: Stage) -> None:
    """The killed one, run again, finds all replies there."""
    bench.settle()
    asked = bench.server.requests
    assert bench.run(stage).code == 0
    assert bench.server.requests == asked
    assert bench.files()["out.parquet"] == bench.whole(stage).files["out.parquet"]
    assert len(bench.kept()) == ASKED


def test_two_runs_on_one_store_both_finish_and_nothing_is_lost(
    bench: Bench, second: WarmRuns, campaign: Campaign
) -> None:
    stage = next(each for each in STAGES if each.name == "embed")
    whole = bench.whole(stage)
    for number in range(campaign.times(10, 2)):
        draw = Random(f"{SEED}/one store/{number}")
        bench.clean()
        words = elsewhere(bench.words(stage))
        both = at_once(bench, second, stage, draw, words)
        about = f"seed {SEED}, try {number}: {both}"
        assert [done.code for done in both] == [0, 0], about
        assert bench.files()["out.parquet"] == bench.files()["second.parquet"] == whole.files["out.parquet"], about
        third = bench.runs.run([*words, "--summary", "third.json"])
        assert third.code == 0, about
        assert b'"embedded": 0' in (bench.folder / "third.json").read_bytes(), about
        assert not any(name.endswith(".partial") for name in bench.tree()), about
        campaign.count(TWO, "on one store: both finish, and a third embeds nothing")
