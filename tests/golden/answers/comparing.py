"""Two answers to one request: equal to the last bit, up to rounding, up to ties, or different."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby
from typing import Any

from tests.golden.answers.replay import Step

# What tells the time, or speaks to people.
LEFT_OUT = frozenset(
    {"timings_ms", "created_at", "added_at", "ms", "card", "reason", "sign", "how", "detail", "title"}
    | {"type", "instance", "errors", "message"}
)
PRESENCE = frozenset({"cursor", "warnings"})  # whether there is one is compared, not what it says
RENAMED: Mapping[str, str] = {"generation": "version"}  # fields that got another name, old → new

Row = dict[str, Any]
Numbered = Sequence[float | None]


class Verdict(IntEnum):
    """From the best to the worst."""

    IDENTICAL = 0
    ROUNDED = 1
    TIED = 2
    DIFFERENT = 3


@dataclass(frozen=True, slots=True)
class Difference:
    verdict: Verdict
    where: str
    old: Any
    new: Any


def compare(old: Step, new: Step, tolerance: float) -> list[Difference]:
    """All that differs; nothing means equal to the last bit.

    Numbers may differ by `tolerance`, or by that share of them where they are larger than 1.
    """
    if old.status != new.status:
        return [Difference(Verdict.DIFFERENT, "status", old.status, new.status)]
    is_object = isinstance(old.answer, dict)
    comparison = _Comparison(
        tolerance,
        cut_before=old.cursor_of is not None,
        cut_behind=is_object and bool(old.answer.get("cursor")),
    )
    return list(comparison.values(old.answer, new.answer, ""))


def verdict_of(found: Sequence[Difference]) -> Verdict:
    return max((one.verdict for one in found), default=Verdict.IDENTICAL)


@dataclass(frozen=True, slots=True)
class _Comparison:
    """`cut_before`, `cut_behind`: another page comes there, and may hold some of those that tie."""

    tolerance: float
    cut_before: bool
    cut_behind: bool

    def values(self, old: Any, new: Any, where: str) -> Iterator[Difference]:  # noqa: ANN401 - JSON
        if isinstance(old, dict) and isinstance(new, dict):
            yield from self._objects(old, new, where)
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            for at, (one, other) in enumerate(zip(old, new, strict=True)):
                yield from self.values(one, other, f"{where}[{at}]")
        elif old != new:
            rounded = isinstance(old, float) and isinstance(new, float) and self._near(old, new)
            yield Difference(Verdict.ROUNDED if rounded else Verdict.DIFFERENT, where, old, new)

    def _objects(self, old: Row, new: Row, where: str) -> Iterator[Difference]:
        for name, value in old.items():
            inside = f"{where}.{name}"
            now = name if name in new else RENAMED.get(name, name)
            if name in LEFT_OUT:
                continue
            if now not in new:
                yield Difference(Verdict.DIFFERENT, inside, value, "missing")
            elif name in PRESENCE:
                if bool(value) != bool(new[now]):
                    yield Difference(Verdict.DIFFERENT, inside, value, new[now])
            elif name == "hits":
                yield from self._hits(value, new[now], inside)
            elif name == "milestones":
                yield from self._milestones(value, new[now], inside)
            else:
                yield from self.values(value, new[now], inside)

    def _hits(self, old: list[Row], new: list[Row], where: str) -> Iterator[Difference]:
        """Those with the same score may change places."""
        scores = [hit["score"] for hit in old]
        if _ids(old) == _ids(new):
            yield from self.values(old, new, where)
            return
        if not self._all_near(scores, [hit["score"] for hit in new]):
            yield Difference(Verdict.DIFFERENT, where, _brief(old), _brief(new))
            return
        for first, end in self._runs(scores):
            ids, now = _ids(old[first:end]), _ids(new[first:end])
            is_cut = (first == 0 and self.cut_before) or (end == len(old) and self.cut_behind)
            if ids != now:
                tied = is_cut or set(ids) == set(now)
                yield Difference(
                    Verdict.TIED if tied else Verdict.DIFFERENT, f"{where}[{first}:{end}]", ids, now
                )
        by_id = {hit["id"]: hit for hit in new}
        for hit in old:
            if hit["id"] in by_id:
                yield from self.values(hit, by_id[hit["id"]], f"{where}.{hit['id']}")

    def _milestones(self, old: list[Row], new: list[Row], where: str) -> Iterator[Difference]:
        """Any picture of the same value will do."""
        values, now = ([row["value"] for row in rows] for rows in (old, new))
        yield from self.values(values, now, where)
        if _ids(old) != _ids(new):
            tied = self._all_near(values, now)
            yield Difference(Verdict.TIED if tied else Verdict.DIFFERENT, where, _ids(old), _ids(new))

    def _runs(self, numbers: Numbered) -> Iterator[tuple[int, int]]:
        """Neighbours with equal numbers, as [first, end)."""
        run, of_place = 0, []
        for at, number in enumerate(numbers):
            run += at > 0 and not self._near(numbers[at - 1], number)
            of_place.append(run)
        for _, run_of in groupby(range(len(numbers)), key=of_place.__getitem__):
            places = list(run_of)
            yield places[0], places[-1] + 1

    def _all_near(self, old: Numbered, new: Numbered) -> bool:
        return len(old) == len(new) and all(map(self._near, old, new))

    def _near(self, old: float | None, new: float | None) -> bool:
        if old is None or new is None:
            return old is new
        return abs(old - new) <= self.tolerance * max(1.0, abs(old))


def _ids(rows: list[Row]) -> list[int]:
    return [row["id"] for row in rows]


def _brief(hits: list[Row]) -> list[tuple[int, float | None]]:
    return [(hit["id"], hit["score"]) for hit in hits]
