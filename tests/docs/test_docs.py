"""What the documents say exists, and what exists is in the documents."""

import json
import re
from pathlib import Path
from types import ModuleType

import click
import pytest
import typer
from typer.main import get_command

from indexer.imaging.decode import REASONS
from service.app import create_app
from service.axis_schemas import AxisRequest, EvaluateRequest
from service.cli import main as kallos
from service.settings import Settings
from training import cli as kallos_train

ROOT = Path(__file__).parents[2]
DOCS = {path: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
EVERYTHING = "\n".join(DOCS.values())


def commands(command: click.Command, name: str) -> list[str]:
    children = getattr(command, "commands", {})
    return [line for child in children for line in commands(children[child], f"{name} {child}")] or [name]


CLIS = [(kallos, "kallos"), (kallos_train, "kallos-train")]


@pytest.mark.parametrize(("cli", "name"), CLIS)
def test_every_command_is_in_the_command_line_page(cli: ModuleType, name: str) -> None:
    page = (ROOT / "docs/cli.md").read_text()
    found = commands(get_command(cli.make_app(cli.COMMANDS)), name)  # type: ignore[arg-type]
    assert len(found) >= 3
    for command in found:
        assert command in page or command.removeprefix(f"{name} ") in page, command


@pytest.mark.parametrize(("cli", "name"), CLIS)
def test_the_list_of_commands_says_what_they_say_themselves(cli: ModuleType, name: str) -> None:
    listed, loaded = get_command(cli.make_app([])), get_command(cli.make_app(cli.COMMANDS))
    assert listed.get_help(typer.Context(listed, info_name=name)) == loaded.get_help(
        typer.Context(loaded, info_name=name)
    )


def test_every_route_is_documented() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    for path, methods in create_app(Settings()).openapi()["paths"].items():
        for method in methods:
            assert re.search(rf"{method.upper()} {re.escape(path)}[`?]", page), f"{method} {path}"


def test_every_setting_is_documented_with_its_default() -> None:
    rows = dict(
        re.findall(r"^\| `(KALLOS_\w+)` \| (.*?) \|", (ROOT / "docs/configuration.md").read_text(), re.M)
    )
    assert set(rows) == {f"KALLOS_{name.upper()}" for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, str | int) and not isinstance(default, bool):
            assert str(default) in rows[f"KALLOS_{name.upper()}"]


@pytest.mark.parametrize("package", ["indexer", "rerank", "training"])
def test_only_the_service_speaks_of_settings(package: str) -> None:
    """But for one that makes a process kill itself, in tests."""
    for path in (ROOT / package).rglob("*.py"):
        assert path.name == "faults.py" or "KALLOS_" not in path.read_text(), path


def test_every_reason_is_documented() -> None:
    page = (ROOT / "docs/cli.md").read_text()
    for reason, meaning in REASONS.items():
        assert f"| `{reason}` | {meaning} |" in page


def test_links_lead_somewhere() -> None:
    for path, text in DOCS.items():
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_readme_quotes_the_benchmarks() -> None:
    """Each figure of the table is the recorded one."""
    readme = (ROOT / "README.md").read_text()
    retrieval = json.loads((ROOT / "docs/benchmarks/retrieval.json").read_text())["recall"]
    english = [row for row in retrieval if (row["model"], row["language"]) == ("builtin-2", "en")]
    assert [row["split"] for row in english] == [None, "dev"]  # the samples, and photographs
    for row in english:
        shares = "/".join(f"{row[key]:.1f}" for key in ("at_1", "at_5", "at_10"))
        assert f"Recall@1/5/10: {shares}, median rank {row['median_rank']:g}" in readme
    rows = json.loads((ROOT / "docs/benchmarks/ingest.json").read_text())["throughput"]
    for row in rows:
        if row["data"] == "without SVG":
            assert f"{row['end_to_end']:.0f} end to end, {row['encoder_alone']:.0f} encoder alone" in readme


def test_the_axis_examples_are_valid_requests() -> None:
    bodies = re.findall(r"(/axes\S*) --json '(\{.*?\})'", EVERYTHING)
    assert bodies
    for path, body in bodies:
        model = EvaluateRequest if path.endswith("/evaluate") else AxisRequest
        model.model_validate_json(body)


def test_the_curl_examples_are_valid_requests() -> None:
    bodies = re.findall(r"-d '(\{.*?\})'", EVERYTHING)
    assert bodies
    schema = create_app(Settings()).openapi()["components"]["schemas"]["SearchRequest"]["properties"]
    for body in bodies:
        assert set(json.loads(body)) <= set(schema)
