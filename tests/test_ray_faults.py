"""Nodes lost, workers and drivers killed: the outputs of a run that nothing happened to, and little done twice."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from both_engines import read
from ray_nodes import QUIET, STORE_BYTES, add_node, nodes
from ray_watched import Watch, finished

from pairmine.cli.main import main
from pairmine.errors import GAVE_UP

DOCUMENTS, ROWS = 600, 30
SHARDS = DOCUMENTS // ROWS
SECONDS = 0.4
"""That each shard takes more, so that something can happen in the middle."""

of_a_cluster = [pytest.mark.slow, pytest.mark.ray]


def text(number: int) -> str:
    return " ".join(f"Word{number * at % 997} stands before the word {at}." for at in range(1, 30))


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    rows = "".join(f'{{"id": "d{number}", "text": "{text(number)}"}}\n' for number in range(DOCUMENTS))
    (tmp_path / "corpus.jsonl").write_text(rows)
    return Watch(tmp_path)


@pytest.fixture
def cluster(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes with a processor each, whose workers are watched."""
    pytest.importorskip("ray", reason="ray is not installed: pip install 'pairmine[ray]'")
    for name, value in watch.environment(SECONDS).items():
        monkeypatch.setenv(name, value)
    with nodes(1, 1) as started:
        yield started


def derive(watch: Watch, cluster: Any) -> subprocess.Popen[str]:
    words = ["derive", "crops", "corpus.jsonl", "-o", "pairs", "--rejects", "rejects"]
    return watch.start(*words, *["--engine", "ray", "--ray-address"], cluster.address, "--shard-rows", str(ROWS))


def assert_done(run: subprocess.Popen[str]) -> None:
    """A run ends well, and prints nothing where data would go."""
    said, error = run.communicate(timeout=120)
    assert (run.returncode, said) == (0, ""), error


def assert_as_local(watch: Watch) -> None:
    """The parts hold what the local engine writes, and nothing is left beside them."""
    words = "derive crops corpus.jsonl -q -o local.parquet --rejects local.rejects.parquet"
    subprocess.run([sys.executable, "-m", "pairmine", *words.split()], cwd=watch.folder, check=True)
    for name in ("pairs", "rejects"):
        local = "local.parquet" if name == "pairs" else "local.rejects.parquet"
        assert read(watch.folder / name).equals(read(watch.folder / local))
    assert not (watch.folder / ".pairs.ray").exists()


class TestInTheMiddle:
    pytestmark = of_a_cluster

    def test_a_lost_node_changes_nothing_and_a_new_one_is_taken(self, watch: Watch, cluster: Any) -> None:
        run = derive(watch, cluster)
        watch.until(lambda: len(watch.shards()) >= 6 and len({pid for pid, _ in watch.lines()}) == 2, run)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        before = {pid for pid, _ in watch.lines()}
        add_node(cluster)
        assert_done(run)
        assert_as_local(watch)
        assert len(watch.shards()) == SHARDS
        assert sum(watch.shards().values()) <= SHARDS + 2
        assert {pid for pid, _ in watch.lines()} - before, "the new node's worker did nothing"

    def test_a_killed_worker_changes_nothing(self, watch: Watch, cluster: Any) -> None:
        run = derive(watch, cluster)
        watch.until(lambda: len(watch.shards()) >= 6, run)
        killed = watch.lines()[-1][0]
        os.kill(killed, signal.SIGKILL)
        assert_done(run)
        assert_as_local(watch)
        assert len(watch.shards()) == SHARDS
        assert sum(watch.shards().values()) <= SHARDS + 2
        assert watch.lines()[-1][0] != killed

    def test_a_killed_driver_leaves_what_is_finished_to_the_next_run(self, watch: Watch, cluster: Any) -> None:
        run = derive(watch, cluster)
        watch.until(lambda: len(finished(watch.folder / ".pairs.ray")) >= 6, run)
        run.kill()
        run.communicate()
        assert not (watch.folder / "pairs").exists()
        self._goes_on(watch, cluster)

    @pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
    def test_an_interrupted_run_says_so_and_goes_on_later(self, watch: Watch, cluster: Any, sent: int) -> None:
        run = derive(watch, cluster)
        watch.until(lambda: len(finished(watch.folder / ".pairs.ray")) >= 6, run)
        run.send_signal(sent)
        said, error = run.communicate(timeout=60)
        assert (run.returncode, said) == (130, ""), error
        assert error.strip().splitlines()[-1] == (
            "pairmine: interrupted; nothing was half-written, run the same command again to continue"
        )
        self._goes_on(watch, cluster)

    @pytest.mark.parametrize("lost", ["the cluster", "its process on this machine"])
    def test_a_lost_cluster_is_said_in_a_line_and_another_one_goes_on(
        self, watch: Watch, cluster: Any, lost: str
    ) -> None:
        """Ray ends the process with 1, half a minute or a minute later, and says nothing."""
        run = derive(watch, cluster)
        watch.until(lambda: len(finished(watch.folder / ".pairs.ray")) >= 6, run)
        for node in cluster.list_all_nodes() if lost == "the cluster" else []:
            node.kill_all_processes(check_alive=False, allow_graceful=False)
        if lost != "the cluster":
            cluster.head_node.kill_raylet()
        said, error = run.communicate(timeout=28)
        assert (run.returncode, said) == (GAVE_UP, ""), error
        (line,) = error.strip().splitlines()
        assert line.startswith("pairmine: --engine ray: the cluster is gone (")
        assert "finished shards are kept, run the same command again to continue" in line
        assert not (watch.folder / "pairs").exists()
        cluster.shutdown()
        with nodes(1, 1) as another:
            self._goes_on(watch, another)

    def _goes_on(self, watch: Watch, cluster: Any) -> None:
        """The next run does what was not finished, once, and nothing else."""
        before: set[str] = set()
        while before != (before := finished(watch.folder / ".pairs.ray")):
            watch.until(lambda: True, derived := subprocess.Popen(["sleep", str(2 * SECONDS)]))
            derived.wait()
        watch.forget()
        run = derive(watch, cluster)
        assert_done(run)
        assert_as_local(watch)
        assert not before & set(watch.shards())
        assert len(watch.shards()) == SHARDS - len(before)


PIPELINE = {
    "dedup": ("dedup corpus.jsonl --rejects {engine}.rejects.parquet --ngram 2 --threshold 0.5", 25, 90),
    "mine": ("mine pairs.parquet --corpus corpus.jsonl --retriever bm25 --depth 9", 25, 41),
    "mix": ("mix one=pairs.parquet two=more.parquet --batches mixed --batch-size 8", 100, 345),
}
"""Commands with passes of several kinds, and after how many things done a worker is killed and a node is lost."""


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("name", ["dedup", "mine", pytest.param("mix", marks=pytest.mark.long)])
def test_a_killed_worker_and_then_a_lost_node_change_no_row_of_what_is_shuffled_and_merged(
    name: str, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, killed_after, lost_after = PIPELINE[name]
    rows = [f'{{"id": "c{number}", "text": "{text(number)} And so on."}}\n' for number in range(0, DOCUMENTS, 3)]
    with (watch.folder / "corpus.jsonl").open("a") as corpus:
        corpus.writelines(rows)

    def local(words: str) -> None:
        subprocess.run([sys.executable, "-m", "pairmine", *words.split(), "-q"], cwd=watch.folder, check=True)

    local("derive ict corpus.jsonl -o pairs.parquet")
    local("derive ict corpus.jsonl --seed 1 -o more.parquet")
    local(f"{words.format(engine='local')} -o local.parquet")
    for variable, value in watch.environment(0.15, puts=True).items():
        monkeypatch.setenv(variable, value)
    with nodes(1, 1) as cluster:
        on_ray = ["--engine", "ray", "--ray-address", cluster.address, "--shard-rows", "80"]
        run = watch.start(*words.format(engine="ray").split(), "-o", "ray.parquet", *on_ray)
        watch.until(lambda: len(watch.lines()) >= killed_after, run)
        os.kill(watch.lines()[-1][0], signal.SIGKILL)
        watch.until(lambda: len(watch.lines()) >= lost_after, run)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        add_node(cluster)
        assert_done(run)
    for one in watch.folder.glob("local*.parquet"):
        other = one.with_name(one.name.replace("local", "ray"))
        assert read(other).equals(read(one)), one.name
    assert not (watch.folder / ".ray.parquet.ray").exists()


@pytest.mark.slow
@pytest.mark.ray
def test_a_machine_that_does_not_see_the_output_is_named(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in watch.environment(0).items():
        monkeypatch.setenv(name, value)
    with nodes(1) as cluster:
        monkeypatch.setenv("UNSEEN", str(watch.folder))
        add_node(cluster)
        run = derive(watch, cluster)
        _, error = run.communicate(timeout=120)
    assert run.returncode == 2
    assert error.startswith("pairmine: pairs: ")
    assert "does not see its folder" in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.ray
def test_an_address_without_a_cluster_is_said_in_one_line(watch: Watch) -> None:
    words = "derive crops corpus.jsonl -o pairs --engine ray --ray-address 127.0.0.1:1"
    run = watch.start(*words.split())
    _, error = run.communicate(timeout=120)
    assert run.returncode == 3
    assert error.startswith("pairmine: --ray-address 127.0.0.1:1: ")
    assert "ray start --head" in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.ray
def test_a_cluster_that_asks_for_a_token_gets_the_one_that_is_kept_here(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray keeps a token once a cluster of its own has run on a machine, and what starts there then asks for it."""
    kept, nobody = watch.folder / "home", watch.folder / "nobody"
    (kept / ".ray").mkdir(parents=True)
    (kept / ".ray" / "auth_token").write_text("0" * 64)
    nobody.mkdir()
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv("HOME", str(kept))
    with head(watch.folder) as address:
        words = f"derive crops corpus.jsonl -o pairs --rejects rejects -q --engine ray --ray-address {address}".split()
        run = watch.start(*words)
        assert (run.communicate(timeout=120), run.returncode) == (("", ""), 0)
        assert_as_local(watch)
        monkeypatch.setenv("HOME", str(nobody))
        run = watch.start(*words)
        said = run.communicate(timeout=120)[1]
        assert run.returncode == 2
        assert said.startswith(f"pairmine: --ray-address {address}: the cluster asks for a token; set RAY_AUTH_MODE=")
        assert said.count("\n") == 1


@contextmanager
def head(folder: Path) -> Iterator[str]:
    """A cluster that `ray start` starts with a token of the home folder; its address."""
    temporary = tempfile.mkdtemp(prefix="ray-")
    port = free_port()
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}"]
    command += ["--node-ip-address=127.0.0.1", "--num-cpus=1", "--include-dashboard=false"]
    command += ["--disable-usage-stats", f"--object-store-memory={STORE_BYTES}"]
    environment = {**os.environ, **QUIET, "RAY_TMPDIR": temporary}
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            end = time.monotonic() + 120
            while "--block" not in (folder / "head.log").read_text():
                assert process.poll() is None, (folder / "head.log").read_text()
                assert time.monotonic() < end
                time.sleep(0.2)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)
            shutil.rmtree(temporary, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_without_ray_the_line_says_what_to_install(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.chdir(watch.folder)
    monkeypatch.setattr(sys, "argv", ["pairmine", "derive", "crops", "corpus.jsonl", "-o", "pairs", "--engine", "ray"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert capsys.readouterr().err.strip().endswith("pip install 'pairmine[ray]'")
