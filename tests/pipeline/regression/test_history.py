"""The history: nights, baselines and pruning, and what crashes leave of them."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StoreError, StudyError
from pipeline.folder import Folder
from pipeline.place import Place, place_of
from pipeline.regression.findings import Number
from pipeline.regression.history import Draft, History, Record, _digest


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(place_of(tmp_path / "history"))


def record(night: str, value: float = 1.0, outcome: str = "agrees") -> Record:
    number = Number("small", "limit/mass", {"cells": 100.0}, value, float("nan"), float("inf"))
    return Record(
        night=night, study="small", studies=("small",), outcome=outcome,
        provenance={"host": "here"}, calibration={}, numbers=(number,), steps=(),
        verdict={"reason": "as it was"},
    )  # fmt: skip


def fill(draft: Draft) -> None:
    """Write results that look like a store's."""
    draft.history.place.write(f"nights/{draft.night}/small.zarr/zarr.json", b"{}")
    draft.history.place.write(f"nights/{draft.night}/small.zarr/limit/mass/c/0", b"12345678")


def keep(history: History, value: float = 1.0, outcome: str = "agrees") -> str:
    with history.night() as draft:
        fill(draft)
        draft.commit(record(draft.night, value, outcome))
    return draft.night


@pytest.fixture
def nights(history: History, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Five nights, whose names follow each other although they are made in one second."""
    tokens = iter(f"{i:08x}" for i in range(1, 100))
    monkeypatch.setattr("secrets.token_hex", lambda _: next(tokens))
    return [keep(history, float(i)) for i in range(5)]


def test_what_is_kept_is_read_again(history: History, nights: list[str]) -> None:
    found, problems = history.records()
    assert [r.night for r in found] == sorted(nights)
    assert not problems
    assert [r.numbers[0].value for r in found] == [0, 1, 2, 3, 4]
    number = found[0].numbers[0]
    assert (number.at, number.high) == ({"cells": 100.0}, float("inf"))
    assert number.low != number.low
    assert history.running() == []
    assert not history.place.keys(".drivers")


def interrupted(history: History) -> None:
    with history.night() as draft:
        fill(draft)
        raise KeyboardInterrupt


def test_nights_of_one_second_stand_in_their_order(history: History) -> None:
    names = []
    for _ in range(20):
        with history.night() as draft:
            names.append(draft.night)
    assert names == sorted(names)


def test_night_that_fails_leaves_nothing(history: History) -> None:
    keep(history)
    before = history.place.keys("")
    with pytest.raises(KeyboardInterrupt):
        interrupted(history)
    assert history.place.keys("") == before


def test_night_without_a_verdict_keeps_its_record_alone(history: History) -> None:
    night = keep(history, outcome="no-verdict")
    assert [r.judged for r in history.records()[0]] == [False]
    assert not history.has_store(night, "small")
    with pytest.raises(StoreError, match="not there any more"):
        history.set_baseline("main", night)


def test_baselines(history: History, nights: list[str]) -> None:
    history.set_baseline("main", nights[0])
    history.set_baseline("main", nights[2])
    history.set_baseline("1.0", nights[1])
    assert history.baselines() == {"1.0": nights[1], "main": nights[2]}
    assert history.baseline("main").night == nights[2]
    history.remove_baseline("1.0")
    with pytest.raises(StoreError, match=r"no baseline '1\.0'"):
        history.remove_baseline("1.0")
    with pytest.raises(StoreError, match="did you mean 'main'"):
        history.baseline("mian")
    for name in ("../x", "", "a/b", nights[0]):
        with pytest.raises(StudyError, match="not a name"):
            history.set_baseline(name, nights[0])
    with pytest.raises(StoreError, match="there is no night"):
        history.set_baseline("main", "../../etc")


def test_pruning_keeps_the_newest_baselines_and_steps(history: History, nights: list[str]) -> None:
    history.set_baseline("main", nights[0])
    assert history.prune(2, {nights[1]}) == [nights[2]]
    kept = [night for night in nights if history.has_store(night, "small")]
    assert kept == [nights[0], nights[1], nights[3], nights[4]]
    assert len(history.records()[0]) == 5
    assert not history.place.keys(f"nights/{nights[2]}/small.zarr")
    assert history.prune(2, {nights[1]}) == []
    with pytest.raises(StoreError, match="not there any more"):
        history.set_baseline("old", nights[2])
    assert "old" not in history.baselines()


def test_a_baseline_that_is_set_during_pruning_wins_or_is_refused(
    history: History, nights: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Folder.write
    refused = []

    def set_meanwhile(place: Folder, key: str, value: bytes) -> None:
        write(place, key, value)
        if key.endswith("pruned.json"):
            monkeypatch.setattr(Folder, "write", write)
            try:
                history.set_baseline("main", nights[0])
            except StoreError:
                refused.append(key)

    monkeypatch.setattr(Folder, "write", set_meanwhile)
    pruned = history.prune(1)
    assert (nights[0] in pruned) == bool(refused)
    assert (nights[0] not in pruned) == (history.baselines() == {"main": nights[0]})


def test_damaged_record_is_said_and_left_alone(history: History, nights: list[str]) -> None:
    file = Path(str(history.place)) / "nights" / nights[1] / "night.json"
    content = file.read_bytes()
    for damaged in (content[:40], content.replace(b'"value":', b'"valve":'), b"[]", b""):
        file.write_bytes(damaged)
        found, problems = history.records()
        assert [r.night for r in found] == [nights[0], *nights[2:]]
        assert problems == [f"{history.place}: the record of the night {nights[1]} is damaged"]
        with pytest.raises(StoreError, match="is damaged"):
            history.record(nights[1])
    history.remove_dead()
    history.prune(1)
    assert history.place.keys(f"nights/{nights[1]}/small.zarr")


@pytest.mark.parametrize("change", [{"night": "../../mine"}, {"studies": ["../../../mine"]}])
def test_record_that_points_elsewhere_removes_nothing(
    history: History, nights: list[str], tmp_path: Path, change: dict[str, Any]
) -> None:
    """A history may come from anybody, its digests too; names in records become paths."""
    mine = tmp_path / "mine" / "small.zarr" / "zarr.json"
    also = tmp_path / "mine.zarr" / "zarr.json"
    for file in (mine, also):
        file.parent.mkdir(parents=True)
        file.write_text("{}")
    document = json.loads(record(nights[0]).model_dump_json()) | change
    content = {"format": 1, "digest": _digest(document), "record": document}
    history.place.write(f"nights/{nights[0]}/night.json", json.dumps(content).encode())
    history.prune(1)
    assert mine.exists()
    assert also.exists()
    assert history.records()[1] == [
        f"{history.place}: the record of the night {nights[0]} is damaged"
    ]


def test_baseline_whose_night_is_gone(history: History, nights: list[str]) -> None:
    history.set_baseline("main", nights[1])
    history.place.child(f"nights/{nights[1]}").clear()
    with pytest.raises(StoreError, match="'main' is not there; set it anew"):
        history.baseline("main")
    history.place.write("baselines/main.json", b"{")
    with pytest.raises(StoreError, match="'main' is not there; set it anew"):
        history.baseline("main")


def test_newer_formats_are_refused(history: History, nights: list[str]) -> None:
    for key in (f"nights/{nights[0]}/night.json", "history.json"):
        document = json.loads(history.place.read(key) or b"")
        history.place.write(key, json.dumps(document | {"format": 2}).encode())
    with pytest.raises(StoreError, match=r"night.json' has format 2; this version reads 1"):
        history.records()
    with pytest.raises(StoreError, match=r"history.json' has format 2; this version reads 1"):
        history.exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos" / "me.jpg").write_bytes(b"")
    with pytest.raises(StoreError, match="not a history"):
        History(place_of(tmp_path / "photos")).create()
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["me.jpg"]
    assert keep(History(place_of(tmp_path / "empty")))


def test_a_full_disk_leaves_the_history_as_it_was(
    history: History, nights: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = history.place.keys("")
    write = Folder.write

    def full(place: Folder, key: str, value: bytes) -> None:
        if key.endswith("night.json"):
            raise OSError(28, "No space left on device")
        write(place, key, value)

    monkeypatch.setattr(Folder, "write", full)
    with pytest.raises(OSError, match="No space left"):
        keep(history)
    assert history.place.keys("") == before
    assert len(history.records()[0]) == 5


def in_a_process(work: Callable[..., None], *arguments: Any) -> Any:
    context = multiprocessing.get_context("fork")
    process = context.Process(target=work, args=arguments)
    process.start()
    return process


def hold(history: History) -> None:
    """Begin a night, and stay at work on it."""
    with history.night() as draft:
        fill(draft)
        time.sleep(60)


def wait_for(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def test_night_killed_with_9_is_removed_by_the_next(history: History) -> None:
    first = keep(history)
    process = in_a_process(hold, history)
    dead = wait_for(lambda: [n for n in history.names() if n != first and
                             history.store(n, "small").has("limit/mass/c/0")])  # fmt: skip
    assert len(history.running()) == 1
    assert history.remove_dead() == []  # it lives
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert history.running() == []
    second = keep(history)
    assert sorted(history.names()) == sorted([first, second])
    assert not history.place.keys(f"nights/{dead[0]}")
    assert not history.place.keys(".drivers")


def work(history: History, number: int) -> None:
    for i in range(5):
        keep(history, 10.0 * number + i)
        history.prune(3)


def test_nights_at_once(history: History) -> None:
    processes = [in_a_process(work, history, number) for number in range(4)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    found, problems = history.records()
    assert not problems
    values = sorted(r.numbers[0].value for r in found)
    assert values == sorted(10.0 * n + i for n in range(4) for i in range(5))
    whole = [r.night for r in found if history.has_store(r.night, "small")]
    assert whole == [r.night for r in found][-3:]


def test_children_of_places(tmp_path: Path) -> None:
    place: Place = place_of(tmp_path)
    place.write("a/b.zarr/c", b"1")
    assert place.child("a/b.zarr").read("c") == b"1"
    assert place.child("a").keys("") == {"b.zarr/c"}
    place.child("a").clear()
    assert not place.keys("")
    bucket = place_of("s3://bucket/prefix").child("nights/x")
    assert str(bucket) == "s3://bucket/prefix/nights/x"
