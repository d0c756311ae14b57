"""Finds control tokens in texts: they would end a turn, or begin one, in the middle of a text."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

SHORTEST = 4  # characters of a mark


class ControlTokens:
    """The special tokens of a tokenizer, and the marks of turns that its template writes as text.

    A template's `marks`, such as "[/INST]", count as they are without special tokens. A plain
    word among them does not, such as "user", and neither does what is as short as "A:".
    """

    def __init__(self, tokenizer: Any, marks: Iterable[str] = ()) -> None:
        self._tokenizer = tokenizer
        added = getattr(tokenizer, "added_tokens_decoder", {})
        special = {token for token, entry in added.items() if entry.special}
        self._ids = special | set(tokenizer.all_special_ids)
        self._unknown = tokenizer.unk_token_id
        plain = dict.fromkeys(map(self._without_tokens, marks))
        self._marks = [mark for mark in plain if _tells(mark)]

    def count(self, ids: Iterable[int]) -> Counter[int]:
        """Return how often each control token is among these."""
        return Counter(token for token in ids if token in self._ids)

    def names(self, text: str, found: Iterable[int] = ()) -> tuple[str, ...]:
        """Return the names of control tokens in a text, given those `found` among its tokens."""
        tokens = {token: str(self._tokenizer.convert_ids_to_tokens(token)) for token in set(found)}
        # An unknown character becomes a special token too, which does not end a turn.
        names = {name for t, name in tokens.items() if t != self._unknown or name in text}
        return tuple(sorted({*names, *(mark for mark in self._marks if mark in text)}))

    def in_text(self, text: str, ids: Sequence[int]) -> tuple[str, ...]:
        """Return the names of the control tokens in a text, which has these tokens."""
        return self.names(text, self.count(ids))

    def _without_tokens(self, text: str) -> str:
        """Return a text without the control tokens in it; what is left may be a plain word."""
        for token in self._ids:
            text = text.replace(str(self._tokenizer.convert_ids_to_tokens(token)), "")
        return text.strip()


def _tells(mark: str) -> bool:
    """Return whether a mark would hardly be in a text by chance."""
    words = any(c.isalpha() for c in mark)
    return len(mark) >= SHORTEST and words and not mark.isalnum()
