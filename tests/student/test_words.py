"""Students that tell words: their parameters by closed forms, with all words, with half of them, and factorised."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdbench.cost import parameters
from kdbench.error import ImpossibleError
from kdbench.head import WordHead
from kdbench.student import albert as factorised
from kdbench.student.albert import albert
from kdbench.student.bert import bert
from kdbench.student.compressed import Compressed
from kdbench.vocabulary.tables import Vocabulary, rows_kept

WORDS, POSITIONS = 30522, 512
HALF = rows_kept(0.5, WORDS, 128)


def layers(count: int, width: int) -> int:
    """Attention, feed-forward of four times the width, two norms."""
    return count * (4 * (width**2 + width) + 8 * width**2 + 5 * width + 4 * width)


def of_bert(count: int, width: int, words: int) -> int:
    embeddings = (words + POSITIONS + 2) * width + 2 * width
    head = width**2 + width + 2 * width + words  # the decoder is the word embedding, but for its bias
    return embeddings + layers(count, width) + head


def of_albert(count: int, width: int, words: int, narrow: int, groups: int) -> int:
    embeddings = (words + POSITIONS + 2) * narrow + 2 * narrow + narrow * width + width
    head = width * narrow + narrow + 2 * narrow + words
    return embeddings + groups * layers(count, width) // count + head


def compressed(words: int) -> Vocabulary:
    return Vocabulary(np.minimum(np.arange(WORDS), words - 1), np.arange(words))


@pytest.mark.parametrize(("count", "width"), [(12, 768), (6, 768), (3, 384)])
def test_bert_with_all_words_and_with_half_of_them(count: int, width: int) -> None:
    """Half of the words saves a row of the embedding and a bias for each that is left out, and nothing else."""
    with torch.device("meta"):
        whole, half = (bert(count, width, 12, 4 * width, words, WordHead()) for words in (WORDS, HALF))
    assert HALF == 15360
    totals = [parameters(model)["total"] for model in (whole, Compressed(half, compressed(HALF)))]
    assert totals == [of_bert(count, width, words) for words in (WORDS, HALF)]
    assert totals[0] - totals[1] == (WORDS - HALF) * (width + 1)
    if (count, width) == (12, 768):
        assert totals[0] == 109_514_298  # BERT-base as it was pre-trained


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_a_factorised_embedding_and_shared_layers(groups: int) -> None:
    with torch.device("meta"):
        model = albert(6, 768, 12, 3072, HALF, WordHead(), embedding_width=384, groups=groups)
    assert parameters(model)["total"] == of_albert(6, 768, HALF, 384, groups)
    assert model.shape.decoder_width == 384


def test_groups_that_do_not_divide_the_layers_are_refused() -> None:
    options = {"layers": 6, "width": 48, "heads": 4, "groups": 4, "embedding_width": 16}
    with pytest.raises(
        ImpossibleError, match=r"student\.groups=4 does not divide student\.layers=6: choose one of 1, 2, 3, 6"
    ):
        factorised.shape(options, 2)
