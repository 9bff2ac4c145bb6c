"""Prompt sets: two sides that share nothing, files that are understood or named."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import InvalidInputError
from training.prompts.prompt_set import (
    Prompt,
    PromptsConfig,
    builtin_prompts,
    is_held_out,
    load_prompts,
    normalised,
    read_prompts,
)


def test_the_builtin_set_holds_whole_concepts_out() -> None:
    found = load_prompts(PromptsConfig(held_out=0.25))
    side = {prompt.text: concept for concept, prompt in builtin_prompts()}
    trained, judged = ({side[prompt.text] for prompt in part} for part in (found.train, found.held_out))
    assert not trained & judged
    assert 0.15 < len(judged) / len(trained | judged) < 0.35
    assert len(found.train) + len(found.held_out) == len(side)


@given(st.text(min_size=1, max_size=30), st.floats(0.05, 0.95))
def test_spelling_does_not_change_the_side(text: str, share: float) -> None:
    assert is_held_out(text, share) == is_held_out(f"  {normalised(text)} ", share)


@given(st.text(max_size=30))
def test_a_larger_share_only_adds(text: str) -> None:
    assert not is_held_out(text, 0.2) or is_held_out(text, 0.6)


def test_the_share_is_kept() -> None:
    held = sum(is_held_out(f"prompt {number}", 0.3) for number in range(4000))
    assert held / 4000 == pytest.approx(0.3, abs=0.03)


def test_files_of_lines_and_of_json(tmp_path: Path) -> None:
    lines = tmp_path / "prompts.txt"
    lines.write_text("a fox\n\n  A  FOX \nthe moon\n")
    assert read_prompts(lines) == [Prompt("a fox"), Prompt("the moon")]
    rows = tmp_path / "prompts.jsonl"
    rows.write_text(
        '{"prompt": "a fox", "weight": 2.5, "kinds": {"miss": 2}}\n' + json.dumps({"prompt": "the moon"})
    )
    assert read_prompts(rows) == [Prompt("a fox", 2.5), Prompt("the moon")]


@pytest.mark.parametrize(
    "text",
    ['{"weight": 1}', '{"prompt": "a", "weight": 0}', '{"prompt": "a", "weight": "x"}', "no JSON", "[1]"],
)
def test_a_line_that_is_not_understood_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a fox"}\n' + text + "\n")
    with pytest.raises(InvalidInputError, match="line 2"):
        read_prompts(path)


def test_a_set_needs_both_sides(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("only one\n")
    with pytest.raises(InvalidInputError, match="expected both"):
        load_prompts(PromptsConfig(str(path)))
    path.write_text("\n")
    with pytest.raises(InvalidInputError, match="no prompts"):
        read_prompts(path)


def test_the_digest_says_which_prompts_they_are(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    digests = []
    for words in ("a\nb\nc\nd\ne\nf\n", "a\nb\nc\nd\ne\nf\n", "a\nb\nc\nd\ne\ng\n"):
        path.write_text(words)
        digests.append(load_prompts(PromptsConfig(str(path), held_out=0.5)).sha256)
    assert digests[0] == digests[1] != digests[2]
