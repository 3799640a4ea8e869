"""The router: which pages a question reads, and exactly none for unrelated input.

Late interaction (ColBERT, Khattab and Zaharia 2020, arXiv 2004.12832): every token of the question finds its best match
among the tokens of a record, and the matches are averaged by how telling the token is,

    score(q, r) = sum_i s_i max_j m(q_i, r_j) / sum_i s_i
    m(q_i, r_j) = 1 where both lie in the same word, else cos(Wq q_i, Wk r_j)
    s_i         = rarity_i ** 4 * c / (c + df_i)                                for a statement,
                  rarity_i ** 2 * ln(1 + (N - df_i + 0.5) / (df_i + 0.5))       for a page of prose

`Wq` and `Wk` are slow weights, trained once per core beside the reader on worlds of their own: they bring "since when"
near "was founded in". Equal words are equal without training, which is what an unheard-of name needs. (A learned
salience was tried: it learned the training world's names, docs/lab/medium.md.)
`df_i` is the number of the N records that hold the word of token i: what is said everywhere tells nothing. It is
counted over the records that are there, so that a record can be taken out without a trace. A statement is known by its
names; prose is seldom about one and uses the words of its field again and again, so there they count as in BM25
(Robertson and Zaragoza 2009).
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fastslow.core import Core
from fastslow.decode import LONG

RARE, RARE_IN_PROSE = 4, 2  # how much more a name tells than a common word
COMMON = 8.0  # c: a word in this many records counts half
CLIP = 8.0  # standard deviations; massive activations would otherwise decide every match
WORD = re.compile(r"[^\W_]+(?:[,.]\d+)*")


@dataclass(frozen=True, eq=False)
class Tokens:
    """A text as the router sees it, token by token: standardised states (T, width), the code of the word each token
    lies in (T,), 0 for none, and the word's rarity (T,), about 0 for small words and 1 to 1.5 for names."""

    states: Tensor
    words: Tensor
    rarity: Tensor

    def onward(self, record: Tokens) -> Tokens:
        """The question that is left once a record has been read: what the question asks and the record does not say,
        and what the record says and the question does not (the entity in the middle of a two-hop question)."""
        open_, new = ~torch.isin(self.words, record.words), ~torch.isin(record.words, self.words)
        return Tokens(
            torch.cat([self.states[open_], record.states[new]]),
            torch.cat([self.words[open_], record.words[new]]),
            torch.cat([self.rarity[open_], record.rarity[new]]),
        )


@dataclass(frozen=True, eq=False)
class Key:
    """What a record answers to: match vectors (T, m) and word codes (T,)."""

    vectors: Tensor
    words: Tensor


@dataclass(frozen=True, eq=False)
class RouterWeights:
    """``query`` and ``key`` (m, width), and the score ``threshold`` below which the gate is shut."""

    query: Tensor
    key: Tensor
    threshold: float

    @classmethod
    def untrained(cls, width: int, threshold: float = 0.6) -> RouterWeights:
        """Matches plain standardised states, rare words first: what a core without a trained reader gets."""
        eye = torch.eye(width)
        return cls(eye, eye, threshold)

    def keys(self, tokens: Tokens) -> Key:
        return Key(normalize(tokens.states.clamp(-CLIP, CLIP) @ self.key.T, dim=-1), tokens.words)

    def scores(self, tokens: Tokens, table: KeyTable) -> Tensor:
        """The score of every record (records,) for one question."""
        if not table.records:
            return torch.zeros(0)
        z = tokens.states.clamp(-CLIP, CLIP)
        match = normalize(z @ self.query.T, dim=-1) @ table.vectors.T
        match = match.masked_fill((tokens.words[:, None] == table.words) & (tokens.words[:, None] != 0), 1.0)
        best = torch.full((len(z), table.records), -1.0).scatter_reduce(
            1, table.owner.expand(len(z), -1), match, "amax"
        )
        df = table.document_frequency(tokens.words)
        named = tokens.rarity**RARE * COMMON / (COMMON + df)
        worded = tokens.rarity**RARE_IN_PROSE * torch.log1p((table.records - df + 0.5) / (df + 0.5))
        return torch.where(table.prose, _mean(best, worded), _mean(best, named))

    def onward(self, question: Tokens, record: Tokens, middle: Collection[str], table: KeyTable) -> Tensor:
        """The score (records,) for what is left of a question once a ``record`` has been read, of those that hold a
        word in the ``middle``, which leads there from the record; minus infinity of the others."""
        left = question.onward(record)
        reached = table.holding(torch.tensor([word_code(word) for word in middle], dtype=torch.int64))
        if not len(left.words) or not reached.any():
            return torch.full((table.records,), -torch.inf)
        return self.scores(left, table).masked_fill(~reached, -torch.inf)


@dataclass(frozen=True, eq=False)
class KeyTable:
    """The keys of many records, one after the other: vectors (N, m), words (N,), and whose each is (N,)."""

    vectors: Tensor
    words: Tensor
    owner: Tensor
    records: int

    @classmethod
    def stack(cls, keys: Sequence[Key]) -> KeyTable:
        if not keys:
            return cls(torch.empty(0, 0), torch.empty(0), torch.empty(0), 0)
        owner = torch.cat([torch.full((len(k.words),), i) for i, k in enumerate(keys)])
        return cls(torch.cat([k.vectors for k in keys]), torch.cat([k.words for k in keys]), owner, len(keys))

    @cached_property
    def _counts(self) -> dict[int, int]:
        pairs = torch.unique(self.words * self.records + self.owner)  # codes have 32 bits, so there is room
        codes, counts = torch.unique(pairs // self.records, return_counts=True)
        return dict(zip(codes.tolist(), counts.tolist(), strict=True))

    @cached_property
    def prose(self) -> Tensor:
        """Which records are prose (records,)."""
        return torch.bincount(self.owner, minlength=self.records) > LONG

    def holding(self, words: Tensor) -> Tensor:
        """Which records hold one of these words (records,)."""
        owners = self.owner[torch.isin(self.words, words)]
        return torch.zeros(self.records, dtype=torch.bool).index_fill(0, owners, True)

    def document_frequency(self, words: Tensor) -> Tensor:
        """In how many records each word (T,) occurs; 0 for no word."""
        return torch.tensor([float(self._counts.get(w, 0)) if w else 0.0 for w in words.tolist()])


def _mean(best: Tensor, salience: Tensor) -> Tensor:
    """The matches (T, records) averaged by the salience (T,) of the tokens."""
    return (salience[:, None] * best).sum(0) / salience.sum().clamp(min=1e-6)


def word_codes(core: Core, text: str) -> tuple[Tensor, Tensor]:
    """For every token of a text the code of its word (T,) and that word's rarity (T,).

    Rarity needs no counting of what was learned: in byte-pair encodings common words have early ids, and rare ones fall
    into several pieces (Sennrich et al. 2016, arXiv 1508.07909).
    """
    encoded = core.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    spans = [(m.start(), m.end(), word_code(m[0])) for m in WORD.finditer(text)]
    at = {i: n for n, (start, end, _) in enumerate(spans) for i in range(start, end)}
    member = [at.get(end - 1, -1) for _, end in encoded["offset_mapping"]]
    pieces: dict[int, list[int]] = {}
    for n, token in zip(member, encoded["input_ids"], strict=True):
        pieces.setdefault(n, []).append(token)
    size = math.log(1 + len(core.tokenizer))
    rare = {n: min(1.5, 0.9 + 0.1 * len(p)) if len(p) > 1 else math.log(1 + p[0]) / size for n, p in pieces.items()}
    rare[-1] = 0.0
    codes = [spans[n][2] if n >= 0 else 0 for n in member]
    return torch.tensor(codes, dtype=torch.int64), torch.tensor([rare[n] for n in member])


def word_code(word: str) -> int:
    """A number for the stem of a word, above 0."""
    return zlib.crc32(stem(word).encode()) or 1


def stem(word: str) -> str:
    """The word without case, thousands separators and the commonest endings."""
    word = word.lower().replace(",", "")
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 4 and word.isalpha():
            return word[: -len(ending)]
    return word
