"""Recorded answers of the whole service, and whether a later version still gives them.

    python -m tests.golden.answers record DIR     make stores, ask them about 530 things, keep the answers
    python -m tests.golden.answers compare DIR    ask a copy of the same stores the same, and compare

A comparison speaks REST only, and reads the stores as an older version wrote them. So it outlives any change
of what lies behind REST, and it shows as well that old data directories open.

    plain   2,500 pictures without an index: every feature, edits and additions between pages
    ivf     45,000 pictures with an inverted file, segments and a tail behind it, words of the builtin model
    hnsw    36,000 pictures with a graph and a tail behind it
    v1      tests/golden/store-v1, which the first schema wrote

Answers to `plain` and `v1` are kept in answers.jsonl.gz; a test asks for them anew.
"""
