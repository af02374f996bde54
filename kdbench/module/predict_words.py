"""The words that a model tells at the places of a split."""

from __future__ import annotations

import numpy as np
import torch

from kdbench.data.batch import NO_PLACE, in_order, length_order
from kdbench.data.split import Split
from kdbench.decoder import Decoder
from kdbench.fused.word_chunks import size_of_chunk
from kdbench.model import Model
from kdbench.outputs import ModelOutputs, Taps


def gold_words(split: Split) -> np.ndarray:
    """The words that stood at the places of a split, (M,), in the order of its tokens."""
    assert split.words is not None
    return np.asarray(split.words[split.words != NO_PLACE])


def predict_words(
    model: Model, split: Split, batch_size: int, padding_id: int, device: torch.device | str
) -> np.ndarray:
    """The likeliest word at each place, and the surprise in nats at the one that stood there: (M, 2) in float32.

    The places are in the order of the split's tokens. Runs in evaluation mode without a graph and leaves the model's
    mode and every random state as they were.
    """
    assert split.words is not None
    was_training = model.training
    model.eval()
    parts = []
    with torch.inference_mode():
        for batch in in_order(split, batch_size, padding_id):
            outputs = model(batch.to(device), Taps(decoder_inputs=True))
            parts.append(_told(outputs, model.decoder).cpu().numpy())
    model.train(was_training)
    order = np.concatenate(length_order(split.row_lengths, batch_size))
    counts = np.add.reduceat(np.append(split.words != NO_PLACE, False), split.offsets[:-1])
    starts = np.concatenate([[0], np.cumsum(counts)])[:-1]
    # Each told place's own: where its row's places start in the split, plus how far it stands among them.
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts[order]) - counts[order], counts[order])
    found = np.empty((int(counts.sum()), 2), dtype=np.float32)
    found[np.repeat(starts[order], counts[order]) + within] = np.concatenate(parts)
    return found


def _told(outputs: ModelOutputs, decoder: Decoder | None) -> torch.Tensor:
    assert outputs.decoder_inputs is not None and decoder is not None and outputs.words is not None
    places = outputs.words != NO_PLACE
    inputs, words = outputs.decoder_inputs[places], outputs.words[places]
    found = [inputs.new_empty(0, 2)]
    for first in range(0, len(inputs), size_of_chunk(inputs)):
        here = slice(first, first + size_of_chunk(inputs))
        some, gold = inputs[here], words[here]
        likely = decoder(some).float().log_softmax(dim=-1)
        surprise = likely.gather(1, decoder.row_of(gold)[:, None]).neg()
        told = decoder.word_of(likely.argmax(dim=1))
        found.append(torch.cat([told[:, None].float(), surprise], dim=1))
    return torch.cat(found)
