"""Answers on disk: there or not there, never wrong."""

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rerank.rephrase.cache import AnswerCache, cache_key

KEYS = [cache_key("model", "detail", 1, f"query {n}") for n in range(40)]


def write_all(folder: Path) -> list[str | None]:
    cache = AnswerCache(folder)
    for key in KEYS:
        cache.put(key, f"answer of {key} " * 50)
    return [cache.get(key) for key in KEYS]


def test_an_answer_comes_back_as_it_was_also_in_another_process(tmp_path: Path) -> None:
    AnswerCache(tmp_path / "new").put(KEYS[0], "Crème brûlée\n\n夕暮れ")
    assert AnswerCache(tmp_path / "new").get(KEYS[0]) == "Crème brûlée\n\n夕暮れ"
    assert AnswerCache(tmp_path / "new").get(KEYS[1]) is None


@given(st.lists(st.text(), min_size=2, max_size=2), st.lists(st.text(), min_size=2, max_size=2))
def test_keys_are_equal_only_for_equal_questions(first: list[str], second: list[str]) -> None:
    keys = [cache_key(model, "detail", 1, query) for model, query in (first, second)]
    assert (keys[0] == keys[1]) == (first == second)
    assert cache_key(*("m", "detail"), 1, "q") != cache_key(*("m", "detail"), 2, "q")


def test_each_damage_reads_as_missing_and_a_new_answer_mends_it(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path)
    cache.put(KEYS[0], "an answer")
    whole = (tmp_path / KEYS[0]).read_bytes()
    for position in range(len(whole)):
        (tmp_path / KEYS[0]).write_bytes(whole[:position])
        assert cache.get(KEYS[0]) is None
        flipped = bytearray(whole)
        flipped[position] ^= 1
        (tmp_path / KEYS[0]).write_bytes(flipped)
        assert cache.get(KEYS[0]) is None
    cache.put(KEYS[0], "an answer")
    assert cache.get(KEYS[0]) == "an answer"


def test_the_ones_asked_for_longest_ago_go_first(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path, most_entries=3)
    for age, key in enumerate(KEYS[:3]):
        cache.put(key, "x")
        os.utime(tmp_path / key, (1000 + age, 1000 + age))
    assert cache.get(KEYS[0]) == "x"  # asked for again: no longer the oldest
    cache.put(KEYS[3], "x")
    assert [cache.get(key) for key in KEYS[:4]] == ["x", None, "x", "x"]


def test_a_folder_that_cannot_be_written_to_is_an_empty_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    cache = AnswerCache(tmp_path / "file")
    cache.put(KEYS[0], "x")
    assert cache.get(KEYS[0]) is None


def test_threads_and_processes_write_the_same_entries_side_by_side(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    others = [spawn.Process(target=write_all, args=(tmp_path,)) for _ in range(2)]
    for other in others:
        other.start()
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(write_all, [tmp_path] * 8))
    for other in others:
        other.join()
        assert other.exitcode == 0
    assert seen == [[f"answer of {key} " * 50 for key in KEYS]] * 8
    assert {path.name for path in tmp_path.iterdir()} == set(KEYS)
