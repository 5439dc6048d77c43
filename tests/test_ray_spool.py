"""A shuffle whose parcels lie in files: what comes together, what is not done again, what is told of damaged ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pairmine.engines.shards import InProcess
from pairmine.engines.spool import _Putting, _Taking, shuffle
from pairmine.errors import GAVE_UP, PairmineError
from pairmine.files.sharded import PLAN, WorkFolder

ITEMS, GROUPS = 40, 13


@dataclass(frozen=True)
class Parting:
    """Gives each group that divides an item a parcel, and writes down that it was asked."""

    log: str

    def __call__(self) -> Callable[[int], Iterator[tuple[int, dict[str, int]]]]:
        def part(item: int) -> Iterator[tuple[int, dict[str, int]]]:
            with open(self.log, "a") as log:
                log.write(f"{item}\n")
            return ((group, {"item": item}) for group in range(GROUPS) if item % (group + 1) == 0)

        return part


@dataclass(frozen=True)
class Meeting:
    """Gives back what it gets; a group may be one that fails."""

    failing: int = -1

    def __call__(self) -> Callable[[tuple[int, Iterator[dict[str, int]]]], list[int]]:
        def meet(group: tuple[int, Iterator[dict[str, int]]]) -> list[int]:
            if group[0] == self.failing:
                raise PairmineError("a fault in join", exit_code=GAVE_UP)
            return [parcel["item"] for parcel in group[1]]

        return meet


def met(pool: Any, folder: WorkFolder, items: list[int], log: Path, failing: int = -1) -> dict[int, list[int]]:
    found = shuffle(pool, Parting(str(log)), items, Meeting(failing), groups=GROUPS, folder=folder, name="x")
    return dict(found)


def expected(items: list[int]) -> dict[int, list[int]]:
    found = {group: [item for item in items if item % (group + 1) == 0] for group in range(GROUPS)}
    return {group: parcels for group, parcels in found.items() if parcels}


@pytest.fixture
def folder(tmp_path: Path) -> WorkFolder:
    return WorkFolder(str(tmp_path / "out"), {})


def asked(log: Path) -> list[int]:
    found = sorted(map(int, log.read_text().split())) if log.exists() else []
    log.unlink(missing_ok=True)
    return found


def test_parcels_meet_in_the_order_of_their_items_and_their_files_go(folder: WorkFolder, tmp_path: Path) -> None:
    items = list(range(7, 7 + ITEMS))
    for seed in range(3):
        assert met(InProcess(3, seed=seed), folder, items, tmp_path / "log") == expected(items)
        assert asked(tmp_path / "log") == items
        assert not list((tmp_path / ".out.ray").glob("shuffled/*"))
    assert met(InProcess(), folder, [], tmp_path / "log") == {}


@pytest.mark.slow
@pytest.mark.ray
def test_a_cluster_brings_more_items_together_than_it_has_blocks(
    folder: WorkFolder, tmp_path: Path, ray_cluster: str
) -> None:
    from pairmine.engines.ray.cluster import Cluster

    items = list(range(7, 7 + ITEMS))
    with Cluster(ray_cluster) as cluster:
        assert met(cluster, folder, items, tmp_path / "log") == expected(items)
    assert asked(tmp_path / "log") == items


def test_what_was_put_into_files_is_not_put_there_again(folder: WorkFolder, tmp_path: Path) -> None:
    items, log = list(range(ITEMS)), tmp_path / "log"
    with pytest.raises(PairmineError, match="a fault in join"):
        met(InProcess(), folder, items, log, failing=3)
    assert asked(log) == items
    assert met(InProcess(seed=5), folder, items, log) == expected(items)
    assert asked(log) == []


def test_another_item_at_the_same_place_is_put_there_anew(folder: WorkFolder, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(PairmineError):
        met(InProcess(), folder, list(range(ITEMS)), log, failing=3)
    asked(log)
    items = [100, *range(1, ITEMS)]
    assert met(InProcess(), folder, items, log) == expected(items)
    assert asked(log) == [100]


def test_a_file_that_was_cut_short_is_told_in_a_line(folder: WorkFolder, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(PairmineError):
        met(InProcess(), folder, list(range(ITEMS)), log, failing=3)
    path = tmp_path / ".out.ray" / "shuffled" / "x" / "file-000012"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(PairmineError, match=r"file-000012: was cut short .*; run the same command again") as caught:
        met(InProcess(), folder, list(range(ITEMS)), log)
    assert caught.value.exit_code == GAVE_UP
    path.unlink()
    with pytest.raises(PairmineError, match=r"file-000012: cannot be read \(no such file"):
        met(InProcess(), folder, list(range(ITEMS)), log)


@pytest.mark.parametrize("half", ["split", "join"])
def test_a_machine_that_does_not_see_the_folder_is_named_in_either_half(
    half: str, folder: WorkFolder, tmp_path: Path
) -> None:
    """One that joins the cluster late gets the second half alone."""
    seen = _Putting(Parting("log"), folder, "x") if half == "split" else _Taking(Meeting(), folder, "x")
    assert seen()
    (tmp_path / ".out.ray" / PLAN).unlink()
    with pytest.raises(PairmineError, match="does not see its folder; name one that all machines of the cluster share"):
        seen()
