"""How an answer is printed: a table for people, one JSON document for programs."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from indexer.disk.files import writing
from indexer.imaging.contact_sheet import contact_sheet
from indexer.imaging.decode import thumbnail_of
from rerank.match.model import DEFAULT_THRESHOLD, Match
from rerank.types import Answer, Hit
from service.answer_schemas import SearchAnswer
from service.cli.console import ERR, OUT, plain, print_json
from service.pictures import PictureFiles

NOTE = Text("note:", "yellow")
PIPE_WIDTH = 10_000  # columns of what is no terminal: no path is broken there


def print_answer(answer: Answer, *, as_json: bool) -> None:
    """Hits as a table with the share of each term, or the REST answer as JSON."""
    if as_json:
        print_json(SearchAnswer.of(answer).model_dump(mode="json"))
        return
    if answer.rewrite is not None:
        found = answer.rewrite
        ERR.print(plain(f"{found.outcome}:", "cyan"), plain(found.text or found.reason), soft_wrap=True)
    if isinstance(answer.match, Match) and answer.match.probability < DEFAULT_THRESHOLD:
        ERR.print(NOTE, plain(f"perhaps nothing fits ({answer.match.probability:.0%})"), soft_wrap=True)
    for warning in answer.warnings:
        ERR.print(NOTE, plain(warning), soft_wrap=True)
    for sought in answer.words:
        if sought.how == "spelling":
            forms = ", ".join(sought.forms)
            ERR.print(NOTE, plain(f"no picture has the word {sought.word!r}: searched for {forms} too"))
    terms = list(dict.fromkeys(term for hit in answer.hits for term in hit.contributions))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("id", "score", *(terms if len(terms) > 1 else ())):
        table.add_column(plain(heading), justify="right", no_wrap=True)
    table.add_column("picture", overflow="fold")
    for hit in answer.hits:
        shares = [f"{hit.contributions.get(term, 0.0):+.3f}" for term in terms] if len(terms) > 1 else []
        score = "—" if hit.score is None else f"{hit.score:.3f}"
        table.add_row(str(hit.image.id), score, *shares, _describe(hit))
    (OUT if OUT.is_terminal else Console(width=PIPE_WIDTH, highlight=False)).print(table)
    total_ms = answer.timings_ms["total"]
    summary = f"{answer.images} pictures · {answer.mode} · {total_ms:.0f} ms · {answer.model_id}"
    OUT.print(plain(summary, "dim"))


def write_sheet(answer: Answer, pictures: PictureFiles, path: Path) -> None:
    """The hits as one picture, best first, row by row."""
    tiles = []
    for hit in answer.hits:
        data = pictures.thumbnails.get(hit.image.sha256)
        if data is None:
            original = pictures.original(hit.image)
            data = thumbnail_of(original, pictures.limits)
        score = "" if hit.score is None else f"  {hit.score:.3f}"
        tiles.append((data, f"{hit.image.id}{score}"))
    with writing(path):
        path.write_bytes(contact_sheet(tiles))
    ERR.print(plain(f"contact sheet: {path}"), soft_wrap=True)


def _describe(hit: Hit) -> Text:
    caption = hit.image.metadata.get("caption")
    uri = plain(hit.image.uri)
    return Text.assemble(uri, "\n  ", plain(caption, "dim")) if isinstance(caption, str) else uri
