"""What the configured language model makes of ten everyday queries, each variant: for docs/rephrasing.md.

KALLOS_LLM_MODEL=local:smollm2 KALLOS_LLM_TIMEOUT_S=120 python -m tests.support.ten_queries
"""

import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import get_args

from indexer.encoders.registry import load_encoder
from rerank.rephrase.types import WrittenVariant
from service.settings import Settings
from service.wiring import open_rephraser
from tests.support.additions import ADDITIONS
from tests.support.torchvision_operators import declare_missing_operators

QUERIES = list(ADDITIONS)[:10]


def main() -> None:
    declare_missing_operators()
    with tempfile.TemporaryDirectory() as folder:  # nothing comes from the cache
        settings = Settings(data_dir=Path(folder))
        with closing(open_rephraser(settings, load_encoder("builtin", threads=1))) as rephraser:
            rephraser.rephrase("warm up", "detail")
            for variant in get_args(WrittenVariant):
                outcomes: Counter[str] = Counter()
                seconds = 0.0
                for query in QUERIES:
                    started = time.process_time()
                    rewrite = rephraser.rephrase(query, variant)
                    seconds += time.process_time() - started
                    outcomes[rewrite.outcome] += 1
                    said = rewrite.text or rewrite.reason
                    print(f"{variant} | {query} | {rewrite.outcome} | {rewrite.similarity} | {said}")  # noqa: T201
                mean_s = seconds / len(QUERIES)
                print(f"{variant}: {dict(outcomes)}, {mean_s:.1f} s of CPU a query", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
