"""A query → the same query with more of what makes its pictures beautiful (HPIR, arXiv 2406.09397, step 1).

`rephraser` puts the parts together: `auto` decides whether, `prompts` asks, a `chat` model answers
(`endpoint`, `local`), `answers` reads strictly, `drift` drops what strayed, `compose` respects the encoder's
limit.
"""
