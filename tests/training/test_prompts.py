"""Prompt sets: two sides that share nothing, files that are understood or named."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.collection.collection import DATABASE
from indexer.errors import InvalidInputError, NotFoundError
from indexer.tables.database import Database
from indexer.tables.interactions import Interaction, InteractionLog
from indexer.types import ImageId
from training.cli import COMMANDS, make_app
from training.prompts.prompt_set import (
    Prompt,
    PromptsConfig,
    builtin_prompts,
    is_held_out,
    load_prompts,
    normalised,
    read_prompts,
)

kallos_train = make_app(COMMANDS)


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


def test_the_command_writes_what_training_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = Database(tmp_path / DATABASE)
    log = InteractionLog(database, "default")
    for number in range(20):
        log.add(Interaction("click", f"fox {number}", ImageId(1)))
    log.add(Interaction("miss", "FOX 3"))
    log.add(Interaction("miss", "a saucer"))
    database.close()
    (tmp_path / "list.txt").write_text("saucer\n")
    out = tmp_path / "prompts.jsonl"
    command = ["prompts", "from-log", str(tmp_path), "--out", str(out)]
    kallos_train([*command, "--blocklist", str(tmp_path / "list.txt")], standalone_mode=False)
    assert json.loads(out.read_text().splitlines()[0]) == {
        "prompt": "fox 3",
        "weight": 2,
        "kinds": {"click": 1, "miss": 1},
    }
    read = load_prompts(PromptsConfig(source=str(out)))
    assert {prompt.text: prompt.weight for prompt in (*read.train, *read.held_out)} == {
        f"fox {number}": 2.0 if number == 3 else 1.0 for number in range(20)
    }
    said = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert said == {"click": "20", "miss": "1", "prompts": "20", "held out": str(len(read.held_out))}
    with pytest.raises(InvalidInputError, match="no prompts"):
        kallos_train([*command, "--least", "3"], standalone_mode=False)
    with pytest.raises(NotFoundError, match="there is no"):
        kallos_train(
            ["prompts", "from-log", str(tmp_path / "none"), "--out", str(out)], standalone_mode=False
        )
