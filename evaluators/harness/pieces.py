"""SentencePiece models: what each of their tokens spells, and one learnt from text that is to be spelt exactly."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

from evaluators.harness.text import DataError

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
#: Longest line that is learnt from, in characters.
LINE = 4000


@dataclass(frozen=True)
class Spelling:
    """What the tokens of a SentencePiece model spell; boundary: its <s>. See shelf.Shelf."""

    vocabulary: tuple[bytes, ...]
    boundary: int
    strip: bool


def spelling_of(model: Path) -> Spelling:
    """What each token spells. Raises DataError for a file that is no SentencePiece model."""
    return _spelling(model, model.stat().st_mtime_ns)


def opened(model: Path) -> sentencepiece.SentencePieceProcessor:
    """The model. Raises DataError."""
    pieces = sentencepiece.SentencePieceProcessor()
    try:
        pieces.Load(str(model))
    except (OSError, RuntimeError) as error:
        raise DataError(f"{model} cannot be read, expected a SentencePiece model") from error
    return pieces


def learn(texts: Iterator[str], vocabulary: int) -> bytes:
    """A byte-pair model of ``vocabulary`` tokens whose tokens spell every text as it is, for its file.

    Neither normalised nor trimmed: nothing stands in front of a text, and bytes spell what has no token. Raises
    DataError when the texts do not yield so many tokens.
    """
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(texts),
            model_writer=written,
            vocab_size=vocabulary,
            model_type="bpe",
            byte_fallback=True,
            character_coverage=0.9995,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            max_sentence_length=4 * LINE,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise DataError(f"no tokenizer of {vocabulary} tokens comes of these texts: {error}") from error
    return written.getvalue()


def _lines(texts: Iterator[str]) -> Iterator[str]:
    for text in texts:
        for line in text.splitlines():
            yield from (line[at : at + LINE] for at in range(0, len(line), LINE))


@functools.lru_cache(maxsize=4)
def _spelling(model: Path, _changed: int) -> Spelling:
    pieces = opened(model)
    if pieces.bos_id() < 0:
        raise DataError(f"{model} has no <s>, expected a model whose <s> stands in front of each document")
    first = pieces.encode("a")
    return Spelling(
        vocabulary=tuple(_spelt(pieces, number) for number in range(pieces.get_piece_size())),
        boundary=pieces.bos_id(),
        strip=bool(first) and pieces.id_to_piece(first[0]).startswith(SPACE),
    )


def _spelt(pieces: sentencepiece.SentencePieceProcessor, number: int) -> bytes:
    piece: str = pieces.id_to_piece(number)
    if pieces.is_control(number) or pieces.is_unknown(number) or pieces.is_unused(number):
        return b""
    if pieces.is_byte(number):  # <0x41>
        return bytes([int(piece[3:-1], 16)])
    return piece.replace(SPACE, " ").encode()
