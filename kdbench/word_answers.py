"""How the scores of words answer a task."""

from __future__ import annotations

import torch
from torch import Tensor

from kdbench.data.batch import NO_PLACE, Batch
from kdbench.decoder import Decoder
from kdbench.head import ABSENT, WordHead


def word_answers(
    head: WordHead, answers: Tensor | None, decoder: Decoder, inputs: Tensor, words: Tensor, rows: Tensor, batch: Batch
) -> Tensor:
    """The logits of a task from what is said at the places of its rows.

    They are the scores of the answers at the one place that a row has, or of all words where there are no answers. Of
    a row that is several sequences they are, for each of them, the log-probabilities of the words at its places, all
    of them hidden at once, added up and divided by their number to the power of `length_penalty`.

    Args:
        head: of the model.
        answers: the rows of its vocabulary that are the answers, (C,); None: all.
        decoder: of the model.
        inputs: of the decoder at the N places, (N, D).
        words: that stand there, (N,).
        rows: the sequence of each place, (N,).
        batch: with B rows of K sequences.

    Returns:
        (B, C), (B, V) or (B, K).
    """
    if head.choices is not None:
        return _of_choices(head, decoder, inputs, words, rows, batch)
    scores = (decoder if answers is None else decoder.of_words(answers))(inputs)
    return scores.new_zeros(len(batch), scores.shape[1]).index_copy(0, rows, scores)


def places_of(words: Tensor) -> tuple[Tensor, Tensor]:
    """Which tokens are places, and the row of every token, both (B, S)."""
    rows = torch.arange(len(words), device=words.device)[:, None].expand_as(words)
    return words != NO_PLACE, rows


def _of_choices(head: WordHead, decoder: Decoder, inputs: Tensor, words: Tensor, rows: Tensor, batch: Batch) -> Tensor:
    known = words.clamp(min=0)[:, None]  # all of them, but where a place is only timed
    likely = decoder(inputs).log_softmax(dim=-1).gather(1, known)[:, 0]
    counts = torch.bincount(rows, minlength=len(batch.input_ids))
    found = likely.new_zeros(len(counts)).index_add(0, rows, likely)
    found = found / counts.clamp(min=1).to(found.dtype) ** head.length_penalty
    return found.masked_fill(counts == 0, ABSENT).view(len(batch), batch.choices)
