"""Prints the table of docs/rephrasing.md: does likeness tell own additions from those of other queries?"""

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.encoders.registry import load_encoder
from rerank.rephrase.drift import DriftGuard
from tests.support.additions import ADDITIONS


def report(name: str, likeness_QQ: Float32[ndarray, "q q"], bound: float) -> str:
    """Own additions are on the diagonal."""
    is_own = np.eye(len(likeness_QQ), dtype=bool)
    own, other = likeness_QQ[is_own], likeness_QQ[~is_own]
    auroc = float((own[:, None] > other[None]).mean())
    passed = f"own {(own >= bound).mean():.1%}, strangers {(other >= bound).mean():.1%} pass"
    return f"{name}: AUROC {auroc:.3f}; {passed}"


def main() -> None:
    encoder = load_encoder("builtin", threads=1)
    bound = DriftGuard(encoder).bound
    print(f"bound {bound:.3f}")  # noqa: T201
    queries = list(ADDITIONS)
    query_QD = encoder.encode_texts(queries)
    for kind, lead in (("detail", ". "), ("k_list", ", ")):
        additions = [ADDITIONS[query][kind] for query in queries]
        alone_QQ = query_QD @ encoder.encode_texts(additions).T
        together_QQ = np.stack(
            [
                encoder.encode_texts([query + lead + addition for addition in additions]) @ query_D
                for query, query_D in zip(queries, query_QD, strict=True)
            ]
        )
        print(report(f"{kind}, by itself", alone_QQ, bound))  # noqa: T201
        print(report(f"{kind}, together", together_QQ, bound))  # noqa: T201


if __name__ == "__main__":
    main()
