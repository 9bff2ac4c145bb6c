"""Tokens for a CLIP text tower without torch: what an exported model carries beside its graphs.

The whole of the tokeniser (splitting, merges, start and end tokens, truncation, padding) is one `tokenizers`
JSON document; only the cleaning of the text before it is code here. `openclip_export` refuses to write a
document that disagrees with open_clip's own tokeniser on its probe texts.

Dimension key   N texts, L context length
"""

import html
import string
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as Steps
from tokenizers.processors import TemplateProcessing

from indexer.errors import CorruptStoreError, UnavailableError

WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
_NO_PUNCTUATION = str.maketrans({"_": " "} | dict.fromkeys(string.punctuation.replace("_", ""), ""))


class ClipTokenizer:
    """Maps texts to rows of token ids; one row per text, all of the model's context length.

    `document` is a `tokenizers` JSON that adds the special tokens, truncates and pads by itself. `cleaning`
    is open_clip's name for what happens before: "lower", "whitespace" or "canonicalize". May be called from
    several threads: nothing in it changes after construction.

    Raises CorruptStoreError for a document or a cleaning that cannot be used, UnavailableError without ftfy.
    """

    def __init__(self, document: str, cleaning: str) -> None:
        if cleaning not in CLEANINGS:
            raise CorruptStoreError(f"text cleaning is {cleaning!r}, expected one of {sorted(CLEANINGS)}")
        try:
            self._tokenizer = Tokenizer.from_str(document)
        except Exception as error:  # the Rust side raises plain Exception
            raise CorruptStoreError(f"the tokeniser cannot be read: {error}") from error
        padding = self._tokenizer.padding
        if padding is None or not padding["length"]:
            raise CorruptStoreError("the tokeniser does not pad to a fixed length, as a text tower needs")
        self.context_length = int(padding["length"])
        self._clean = CLEANINGS[cleaning]
        self._fix = _text_fixer()

    def tokens(self, texts: Sequence[str]) -> Int64[ndarray, "n l"]:
        cleaned = [self._clean(html.unescape(html.unescape(self._fix(text)))) for text in texts]
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(cleaned)]
        return np.array(rows, dtype=np.int64).reshape(len(rows), self.context_length)

    def fits(self, text: str) -> bool:
        """Whether one more word would still be read."""
        row_L, longer_L = self.tokens([text, f"{text} more"])
        return not np.array_equal(row_L, longer_L)


def bpe_document(
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    *,
    start: str,
    end: str,
    context_length: int,
) -> str:
    """The `tokenizers` JSON of a CLIP byte-pair vocabulary.

    Args:
        vocabulary: Token to id, `start` and `end` among them; word-final tokens end in "</w>".
        merges: Pairs, the first to be applied first.
        start: The token before every text.
        end: The token after every text; a longer text is cut before it.
        context_length: Row length; id 0 fills the rest.
    """
    tokenizer = Tokenizer(BPE(vocab=dict(vocabulary), merges=list(merges), end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = Steps(
        [
            Split(Regex(WORDS), behavior="removed", invert=True),
            ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, vocabulary[start]), (end, vocabulary[end])],
    )
    tokenizer.enable_truncation(context_length)
    tokenizer.enable_padding(length=context_length, pad_id=0, pad_token="!")
    # open_clip, too, takes these two words literally where they stand in a text.
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in (start, end)]
    )
    return tokenizer.to_str()


def _whitespace(text: str) -> str:
    return " ".join(text.split())


def _lower(text: str) -> str:
    return _whitespace(text).lower()


def _canonicalize(text: str) -> str:
    return _whitespace(text.translate(_NO_PUNCTUATION).lower())


CLEANINGS: Mapping[str, Callable[[str], str]] = {
    "lower": _lower,
    "whitespace": _whitespace,
    "canonicalize": _canonicalize,
}


def _text_fixer() -> Callable[[str], str]:
    """Return `ftfy.fix_text`: CLIP's training texts went through it, so queries must too."""
    try:
        from ftfy import fix_text
    except ModuleNotFoundError as error:
        raise UnavailableError("CLIP's text cleaning needs ftfy: pip install ftfy") from error
    return fix_text
