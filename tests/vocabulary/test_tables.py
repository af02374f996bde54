"""Which words a student keeps, what stands for the others, and that it reads and tells no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import BertConfig

from kdbench.data.batch import NO_PLACE, Batch
from kdbench.data.split import Split
from kdbench.decoder import Decoder, Words
from kdbench.encoder.load import from_config
from kdbench.error import KdbenchError
from kdbench.fused.word_distance import fused_distance
from kdbench.head import WordHead
from kdbench.knowledge.masked_words import MaskedWords
from kdbench.knowledge.vocabulary_logits import VocabularyLogits
from kdbench.module.predict_words import predict_words
from kdbench.objective.cross_entropy import cross_entropy
from kdbench.objective.kl import kl
from kdbench.outputs import Taps
from kdbench.student.compressed import Compressed
from kdbench.vocabulary.tables import Vocabulary, compressed, frequent, rows_kept

WORDS, KEPT = 40, 16
Objective = Callable[..., Tensor]


def counts() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 12, size=WORDS)


def embedding(width: int = 6) -> Tensor:
    return torch.randn(WORDS, width, generator=torch.Generator().manual_seed(0))


def vocabulary(substitute: str = "dot") -> Vocabulary:
    return compressed(frequent(counts(), [0, 3, 39], KEPT), embedding(), substitute, unknown=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "keep", "rows"),
    [
        (30524, 0.5, 15360),  # these four are the release's, of 30,524 words
        (30524, 0.25, 7680),
        (30524, 0.1, 3072),
        (30524, 0.75, 22912),
        (30522, 0.5, 15360),
        (30522, 1.0, 30522),  # all of them, and no row of padding
        (30522, 15000, 15104),
        (30522, 40000, 30522),
    ],
)
def test_the_number_of_rows_is_a_share_rounded_up(words: int, keep: float, rows: int) -> None:
    assert rows_kept(keep, words, 128) == rows


def test_reserved_words_come_first_then_the_frequent_ones() -> None:
    found, times = frequent(counts(), [0, 3, 39], KEPT), counts()
    assert set(found[:3]) == {0, 3, 39} and len(set(found)) == KEPT
    assert times[found[:3]].tolist() == sorted(times[found[:3]], reverse=True)
    assert times[found[3:]].tolist() == sorted(times[found[3:]], reverse=True)
    left_out = np.setdiff1d(np.arange(WORDS), found)
    assert times[left_out].max() <= times[found[3:]].min()


def test_more_reserved_words_than_rows_are_refused() -> None:
    with pytest.raises(KdbenchError, match=r"vocabulary\.keep leaves 2 words, fewer than the 3 special and reserved"):
        frequent(counts(), [0, 3, 39], 2)


@pytest.mark.parametrize("substitute", ["dot", "cosine", "euclidean", "unknown"])
def test_the_two_tables_fit_each_other(substitute: str) -> None:
    found = vocabulary(substitute)
    assert np.array_equal(found.rows[found.words], np.arange(KEPT)), "row of word of row"
    assert np.array_equal(np.flatnonzero(found.kept), np.sort(found.words))
    assert set(found.rows) <= set(range(KEPT)) and {0, 3, 39} <= set(found.words)


@pytest.mark.parametrize("substitute", ["dot", "cosine", "euclidean"])
def test_a_removed_word_is_read_as_the_nearest_kept_one(substitute: str) -> None:
    found, vectors = vocabulary(substitute), embedding()
    score = {
        "dot": lambda u, k: float(u @ k),
        "cosine": lambda u, k: float(u @ k / (u.norm() * k.norm())),
        "euclidean": lambda u, k: -float((u - k).square().sum()),
    }[substitute]
    for word in np.flatnonzero(~found.kept):
        best = max(range(KEPT), key=lambda row: score(vectors[word], vectors[found.words[row]]))
        assert found.rows[word] == best


def test_of_vectors_of_length_one_all_scores_choose_the_same() -> None:
    vectors = torch.nn.functional.normalize(embedding(), dim=1)
    words = frequent(counts(), [0], KEPT)
    tables = [compressed(words, vectors, how, 0).rows.tolist() for how in ("dot", "cosine", "euclidean")]  # type: ignore[arg-type]
    assert tables[0] == tables[1] == tables[2]


def test_removed_words_can_all_be_the_unknown_one() -> None:
    found = vocabulary("unknown")
    assert set(found.rows[~found.kept]) == {found.rows[3]}


def test_tables_come_back(tmp_path: Path) -> None:
    found = vocabulary()
    found.save(tmp_path)
    again = Vocabulary.load(tmp_path)
    assert np.array_equal(again.rows, found.rows) and np.array_equal(again.words, found.words)


def student(expanded: bool = False, words: Vocabulary | None = None) -> Compressed:
    torch.manual_seed(1)
    kept = words or vocabulary()
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = Compressed(from_config(BertConfig(vocab_size=len(kept.words), **sizes), WordHead()), kept, expanded)
    return model.eval()


def batch() -> Batch:
    ids = torch.randint(0, WORDS, (3, 6), generator=torch.Generator().manual_seed(2))
    mask = torch.arange(6)[None] < torch.tensor([6, 4, 3])[:, None]
    words = torch.where(torch.rand(3, 6, generator=torch.Generator().manual_seed(3)) < 0.5, ids, NO_PLACE)
    return Batch(ids, mask, torch.zeros_like(ids), torch.zeros(3, dtype=torch.long), torch.arange(3), words)


def test_a_student_reads_the_substitutes() -> None:
    model, data = student(), batch()
    mapped = replace(data, input_ids=model.words[model.rows[data.input_ids]])
    taps = Taps(decoder_inputs=True)
    torch.testing.assert_close(model(data, taps).decoder_inputs, model(mapped, taps).decoder_inputs, atol=0, rtol=0)


def words_of(model: Compressed, data: Batch) -> Words:
    found = VocabularyLogits().extract(model(data, Taps(decoder_inputs=True)), 0)
    assert isinstance(found, Words)
    return found


def teacher_words(places: int, dtype: torch.dtype = torch.float32) -> Words:
    inputs = torch.randn(places, 6, generator=torch.Generator().manual_seed(4)).to(dtype)
    shares, samples = torch.ones(places, dtype=dtype), torch.zeros(places, dtype=torch.long)
    return Words(inputs, Decoder(embedding().to(dtype), torch.linspace(-1, 1, WORDS, dtype=dtype)), samples, shares, 1)


def test_the_teacher_s_distribution_is_that_over_kept_words() -> None:
    """softmax(t[kept] / T) is the whole softmax restricted to kept words and divided by their mass."""
    model, teacher = student(), teacher_words(5)
    cut = (teacher.beside(words_of(model, batch())).logits / 15).softmax(-1)
    whole = (teacher.logits / 15).softmax(-1)[:, model.words]
    torch.testing.assert_close(cut, whole / whole.sum(-1, keepdim=True))


@pytest.mark.parametrize("fused", [True, False])
def test_reduced_and_expanded_agree_on_kept_words(fused: bool) -> None:
    """The same loss up to a permutation of the words: the expanded logits restricted to kept words."""
    reduced, expanded = (words_of(student(way).double(), batch()) for way in (False, True))
    teacher = teacher_words(len(reduced.inputs), torch.float64)
    kept = torch.from_numpy(vocabulary().words)
    objective = partial(kl, temperature=15.0)
    if fused:
        found = fused_distance(objective, reduced, teacher, torch.ones(0))
    else:
        found = VocabularyLogits().distance(objective, reduced, teacher, torch.ones(0))
    order = torch.randperm(KEPT, generator=torch.Generator().manual_seed(5))
    rows = objective(expanded.logits[:, kept][:, order], teacher.logits[:, kept][:, order])
    torch.testing.assert_close(found, expanded.per_sample(rows * expanded.shares))


def test_expanded_a_removed_word_has_the_score_of_its_substitute() -> None:
    model = student(expanded=True)
    logits = words_of(model, batch()).logits
    assert logits.shape[1] == WORDS
    torch.testing.assert_close(logits, logits[:, model.words[model.rows]])


def test_all_words_kept_is_the_student_without_a_vocabulary() -> None:
    everything = compressed(np.arange(WORDS), embedding(), "dot", 3)
    model, data = student(words=everything), batch()
    taps = Taps(decoder_inputs=True)
    assert torch.equal(model(data, taps).decoder_inputs, model.inner(data, taps).decoder_inputs)


def test_masked_words_are_told_by_their_rows() -> None:
    model, data, knowledge = student(), batch(), MaskedWords()
    outputs = model(data, Taps(decoder_inputs=True))
    left, right = knowledge.extract(outputs, 0), knowledge.target(outputs, 0)
    assert data.words is not None
    gold = data.words[data.attention_mask & (data.words != NO_PLACE)]
    assert torch.equal(right, model.rows[gold])
    fused = knowledge.fused(cross_entropy)
    assert fused is not None
    written = knowledge.distance(cross_entropy, left, right, data.attention_mask)
    torch.testing.assert_close(fused(left, right, data.attention_mask), written)


def test_the_tables_are_saved_with_the_weights() -> None:
    assert {"rows", "words"} <= set(student().state_dict())


def test_what_an_expanded_student_tells_is_a_kept_word() -> None:
    """A word and those that it stands for have one score: the same words are told, as surely, as without them."""
    data = batch()
    assert data.words is not None
    lengths = data.attention_mask.sum(1).numpy()
    tokens, words = (values[data.attention_mask].numpy().astype(np.int32) for values in (data.input_ids, data.words))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    split = Split(tokens, np.zeros(len(tokens), np.int8), offsets, np.full(3, -1), np.arange(3), words=words)
    reduced, expanded = (predict_words(student(way), split, 2, 0, "cpu") for way in (False, True))
    assert len(reduced) > 3 and set(reduced[:, 0]) <= set(vocabulary().words)
    np.testing.assert_allclose(expanded, reduced, rtol=1e-5)


def test_a_teacher_with_fewer_words_is_beside_any_student() -> None:
    """Of the same tables nothing is cut; beside all words a removed one has the score of its substitute."""
    model, inputs = student(), torch.randn(4, 8, generator=torch.Generator().manual_seed(6))
    decoder = model.decoder
    assert decoder is not None
    torch.testing.assert_close(decoder.beside(decoder)(inputs), decoder(inputs), atol=0, rtol=0)
    whole = decoder.beside(Decoder(embedding()))
    torch.testing.assert_close(whole(inputs), decoder(inputs)[:, model.rows], atol=0, rtol=0)
