"""Does a model know when nothing matches? Against a flat threshold on the first score, on the same searches.

Every rule learns from the same captions (`benchmarks.match_trial`) and is asked the same queries:

    flat         the score of the first hit, made a probability by Platt's logistic regression
    z, h, lead   the same with another number of `rerank.match.evidence`
    model        all four numbers
    background   what is used where there are no captions: it learns from no caption at all

Dimension key   Q queries, F numbers of evidence
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray
from numpy.random import Generator

from benchmarks.match_trial import PRESENT, REMOVED, Material, Trial, run_trial
from rerank.match.evidence import FEATURES
from rerank.match.fit import RIDGE, EncodeTexts, Examples
from rerank.match.logistic import Logistic
from rerank.match.reliability import auroc, bins, brier, calibration_error

RESAMPLES = 200
LEVEL = 0.95  # of the intervals
LEAST_RIDGE = 1e-6  # Platt's fit of one number needs none; the minimum must exist
TRIALS = {100: 10, 300: 4, 1000: 2}  # pictures: collections drawn
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.3)
ONE_NUMBER = {"flat": "score", "z": "z", "h": "cross_query_z", "lead": "margin"}
RIDGES = {"model": RIDGE, "model, ridge 1": 1.0, "model, ridge 10": 10.0}
KINDS = ("noise", "absent", "abstract", "negated")


@dataclass(frozen=True, slots=True)
class Said:
    """What one rule said of every test query of all trials."""

    shown_Q: Float64[ndarray, " q"]
    held_Q: Float64[ndarray, " q"]


@dataclass(frozen=True, slots=True)
class Truth:
    shown_Q: Bool[ndarray, " q"]
    held_Q: Bool[ndarray, " q"]
    kind_Q: ndarray
    group_Q: Int64[ndarray, " q"]

    @property
    def captions_Q(self) -> Bool[ndarray, " q"]:
        return np.isin(self.kind_Q, (PRESENT, REMOVED))


def measure(
    material: Material, encode: EncodeTexts, size: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Every rule on collections of `size` pictures."""
    trials = []
    for number in range(TRIALS.get(size, 2)):
        tell(f"{size} pictures, collection {number + 1}")
        trials.append(run_trial(material, encode, size, np.random.default_rng([size, number])))
    truth = _truth(trials)
    said = {name: _said(trials, rule) for name, rule in _rules().items()}
    captions_Q = truth.captions_Q
    found = float(truth.shown_Q[truth.kind_Q == PRESENT].mean())
    return {
        "pictures": size,
        "collections": len(trials),
        "captions": int((truth.kind_Q == PRESENT).sum()),
        "found_on_first_page": found,
        "held_auroc_ceiling": 0.5 + 0.5 * found,
        "rules": {name: _figures(one, said["flat"], truth) for name, one in said.items()},
        "reliability": {
            name: [asdict(b) for b in bins(said[name].shown_Q[captions_Q], truth.shown_Q[captions_Q])]
            for name in ("flat", "model", "background")
        },
        "thresholds": [_decision(said["model"], truth, threshold) for threshold in THRESHOLDS],
    }


Rule = Callable[[Trial], Said]


def _rules() -> dict[str, Rule]:
    rules: dict[str, Rule] = {
        name: _logistic([FEATURES.index(feature)], LEAST_RIDGE) for name, feature in ONE_NUMBER.items()
    }
    rules |= {name: _logistic(list(range(len(FEATURES))), ridge) for name, ridge in RIDGES.items()}
    return rules | {"background": _background}


def _logistic(columns: list[int], ridge: float) -> Rule:
    def rule(trial: Trial) -> Said:
        taught = trial.taught
        fitted = Logistic.fit(taught.evidence_QF[:, columns], taught.shown_Q, ridge)
        shown_Q = fitted.probability(trial.tests.evidence_QF[:, columns])
        missed = _missed(taught)
        return Said(shown_Q, shown_Q + (1.0 - shown_Q) * missed)

    return rule


def _missed(taught: Examples) -> float:
    return float((taught.held_Q & ~taught.shown_Q).sum() / (~taught.shown_Q).sum())


def _background(trial: Trial) -> Said:
    judged = [trial.background.rule.judge(row_F).probability for row_F in trial.tests.evidence_QF]
    # Nothing is known of what the encoder misses: where nothing is shown, even odds that it is held.
    return Said(np.array(judged), 0.5 + 0.5 * np.array(judged))


def _said(trials: Sequence[Trial], rule: Rule) -> Said:
    each = [rule(trial) for trial in trials]
    return Said(np.concatenate([one.shown_Q for one in each]), np.concatenate([one.held_Q for one in each]))


def _truth(trials: Sequence[Trial]) -> Truth:
    return Truth(
        np.concatenate([trial.tests.shown_Q for trial in trials]),
        np.concatenate([trial.tests.held_Q for trial in trials]),
        np.concatenate([np.array(trial.kinds) for trial in trials]),
        np.concatenate([trial.group_Q for trial in trials]),
    )


def _figures(said: Said, flat: Said, truth: Truth) -> dict[str, Any]:
    """Each figure with its interval over resampled groups of captions."""
    only_Q = truth.captions_Q
    columns = (said.shown_Q, said.held_Q, flat.shown_Q, truth.shown_Q, truth.held_Q, truth.group_Q)
    here = [column_Q[only_Q] for column_Q in columns]
    figures = _at(here, np.arange(int(only_Q.sum())))
    draws = _resamples(here[-1], np.random.default_rng(0))
    drawn = [_at(here, rows_N) for rows_N in draws]
    low, high = (1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0
    shown_Q = said.shown_Q
    good_Q = truth.shown_Q
    return {
        name: {
            "value": round(value, 4),
            "interval": [
                round(float(np.quantile([draw[name] for draw in drawn], q)), 4) for q in (low, high)
            ],
        }
        for name, value in figures.items()
    } | {
        "by_kind": {
            kind: {
                "mean": round(float(shown_Q[truth.kind_Q == kind].mean()), 4),
                "auroc_against_found": round(
                    auroc(shown_Q[good_Q | (truth.kind_Q == kind)], good_Q[good_Q | (truth.kind_Q == kind)]),
                    4,
                ),
            }
            for kind in KINDS
        }
    }


def _at(here: Sequence[ndarray], rows_N: Int64[ndarray, " n"]) -> dict[str, float]:
    p_N, held_p_N, flat_N, shown_N, held_N, _ = (column_Q[rows_N] for column_Q in here)
    return {
        "auroc_shown": auroc(p_N, shown_N),
        "auroc_held": auroc(held_p_N, held_N),
        "ece_shown": calibration_error(p_N, shown_N),
        "ece_held": calibration_error(held_p_N, held_N),
        "brier_shown": brier(p_N, shown_N),
        "brier_held": brier(held_p_N, held_N),
        "best_balanced_accuracy": best_balanced_accuracy(p_N, shown_N),
        "auroc_shown_less_flat": auroc(p_N, shown_N) - auroc(flat_N, shown_N),
        "brier_shown_less_flat": brier(p_N, shown_N) - brier(flat_N, shown_N),
    }


def best_balanced_accuracy(p_N: Float64[ndarray, " n"], true_N: Bool[ndarray, " n"]) -> float:
    """Mean of the shares that are right among true and false, at the threshold that is best in hindsight."""
    order_N = np.argsort(-p_N, kind="stable")
    hit_N = np.cumsum(true_N[order_N]) / max(true_N.sum(), 1)
    alarm_N = np.cumsum(~true_N[order_N]) / max((~true_N).sum(), 1)
    ends_N = np.append(np.diff(p_N[order_N]) != 0, True)  # equal ones fall on one side together
    return float(np.max((1.0 + hit_N[ends_N] - alarm_N[ends_N]) / 2.0, initial=0.5))


def _resamples(group_N: Int64[ndarray, " n"], rng: Generator) -> list[Int64[ndarray, " n"]]:
    members = [np.flatnonzero(group_N == group) for group in np.unique(group_N)]
    return [
        np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        for _ in range(RESAMPLES)
    ]


def _decision(said: Said, truth: Truth, threshold: float) -> dict[str, float]:
    """What calling everything below `threshold` a miss does."""
    below_Q = said.shown_Q < threshold

    def share(which_Q: Bool[ndarray, " q"]) -> float:
        return round(float(below_Q[which_Q].mean()), 4)

    present_Q = truth.kind_Q == PRESENT
    return {
        "threshold": threshold,
        "found_called_missing": share(truth.shown_Q),
        "present_called_missing": share(present_Q),
        "not_found_called_missing": share(present_Q & ~truth.shown_Q),
        "removed_called_missing": share(truth.kind_Q == REMOVED),
    } | {f"{kind}_called_missing": share(truth.kind_Q == kind) for kind in KINDS}
