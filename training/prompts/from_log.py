"""What people wanted from a service → prompts to train on, read from its data directory."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.collection.collection import DATABASE
from indexer.disk.files import replace_text
from indexer.errors import InvalidInputError, NotFoundError
from indexer.tables.database import Database
from indexer.tables.interactions import Interaction, InteractionLog
from indexer.tables.jobs import JobTable
from rerank.generate.misses import prompts_of_misses
from rerank.generate.request import GenerationRequest
from rerank.generate.safety import Blocklist
from training.prompts.prompt_set import normalised

TYPING_S = 3.0  # a pause in typing is shorter
STARTED = "started"  # by a miss: a job for a picture


@dataclass(frozen=True, slots=True)
class WantedPrompt:
    """`text` as it was spelt first; `kinds` says how often it was wanted in which way."""

    text: str
    kinds: dict[str, int]

    @property
    def weight(self) -> int:
        """Every kind counts one: nothing says yet which tells more."""
        return sum(self.kinds.values())


def prompts_from_log(
    data_dir: Path, *, collection: str = "default", least: int = 1, blocklist: Blocklist | None = None
) -> list[WantedPrompt]:
    """Distinct prompts, the most wanted first, ties in the order in which they were wanted first.

    Left out: those of a weight below `least`, those that `blocklist` refuses, and what no generator takes.
    The data directory is only read.

    Raises:
        NotFoundError: There is no database.
        StoreError: It was written by another version of Kallos.
    """
    path = data_dir / DATABASE
    if not path.is_file():
        raise NotFoundError(f"there is no {path}: expected the data directory of a service")
    database = Database(path, read_only=True)
    try:
        wanted = InteractionLog(database, collection).all()
        started = prompts_of_misses(JobTable(database), collection)
    finally:
        database.close()
    found = [one for one in counted(wanted, started) if one.weight >= least]
    found = [one for one in found if _is_drawable(one.text, blocklist or Blocklist([]))]
    return sorted(found, key=lambda one: -one.weight)


def counted(wanted: Sequence[Interaction], started: Iterable[str]) -> list[WantedPrompt]:
    """By their normalised words. A job that a miss started counts where the log knows no miss of its words:
    otherwise one wish would count twice.
    """
    spelt: dict[str, str] = {}
    kinds: dict[str, Counter[str]] = {}
    for one in finished(wanted):
        _count(one.words, one.kind, spelt, kinds)
    missed = {key for key, counts in kinds.items() if counts["miss"]}
    for prompt in started:
        if normalised(prompt) not in missed:
            _count(prompt, STARTED, spelt, kinds)
    return [WantedPrompt(spelt[key], dict(counts)) for key, counts in kinds.items()]


def finished(wanted: Sequence[Interaction]) -> list[Interaction]:
    """Without misses that were somebody still typing: the gallery searches after each pause, so a miss that
    the next ones continue within seconds was not what was wanted.
    """
    return [
        one
        for place, one in enumerate(wanted)
        if one.kind != "miss" or not _is_continued(one, _soon_after(wanted, place))
    ]


def write_prompts(prompts: Iterable[WantedPrompt], out: Path) -> None:
    """As `read_prompts` reads them; the file is replaced as a whole."""
    lines = [
        json.dumps({"prompt": one.text, "weight": one.weight, "kinds": one.kinds}, ensure_ascii=False) + "\n"
        for one in prompts
    ]
    replace_text(out, "".join(lines))


def _count(words: str, kind: str, spelt: dict[str, str], kinds: dict[str, Counter[str]]) -> None:
    key = normalised(words)
    spelt.setdefault(key, words)
    kinds.setdefault(key, Counter())[kind] += 1


def _soon_after(wanted: Sequence[Interaction], place: int) -> Iterator[Interaction]:
    for later in range(place + 1, len(wanted)):
        if wanted[later].at - wanted[place].at > TYPING_S:
            return
        yield wanted[later]


def _is_continued(one: Interaction, following: Iterable[Interaction]) -> bool:
    start = normalised(one.words)
    misses = (normalised(later.words) for later in following if later.kind == "miss")
    return any(words != start and words.startswith(start) for words in misses)


def _is_drawable(text: str, blocklist: Blocklist) -> bool:
    try:
        GenerationRequest(text, 0)
        blocklist.check(text)
    except InvalidInputError:  # a refused prompt is one
        return False
    return True
