"""Word prediction as GLMD has it (Tan et al. 2023): closed forms, padding, and where words are compared."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from kdbench.data.batch import NO_PLACE
from kdbench.decoder import Decoder
from kdbench.error import KdbenchError
from kdbench.knowledge.vocabulary_logits import VocabularyLogits
from kdbench.objective.kl import kl
from kdbench.objective.soft_cross_entropy import soft_cross_entropy
from kdbench.outputs import ModelOutputs

WORDS, LENGTHS = 17, (5, 3)
MASK = torch.arange(5)[None] < torch.tensor(LENGTHS)[:, None]
both_forms = pytest.mark.parametrize("fused", [True, False], ids=["fused", "written"])


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def side(width: int, seed: int) -> ModelOutputs:
    decoder = Decoder(drawn(WORDS, width, seed=seed + 1), drawn(WORDS, seed=seed + 2))
    words = torch.full(MASK.shape, NO_PLACE)
    words[0, 1] = words[0, 4] = words[1, 2] = 3
    return ModelOutputs(MASK, decoder_inputs=drawn(2, 5, width, seed=seed), decoder=decoder, words=words)


STUDENT, TEACHER = side(4, 1), side(6, 11)


def loss(
    student: ModelOutputs = STUDENT,
    teacher: ModelOutputs = TEACHER,
    knowledge: VocabularyLogits | None = None,
    fused: bool = True,
    temperature: float = 15.0,
) -> Tensor:
    knowledge = knowledge or VocabularyLogits()
    objective = partial(kl, temperature=temperature)
    distance = knowledge.fused(objective) if fused else partial(knowledge.distance, objective)
    return distance(knowledge.extract(student, 0), knowledge.target(teacher, 0), student.mask)


def logits(outputs: ModelOutputs) -> Tensor:
    assert outputs.decoder is not None and outputs.decoder_inputs is not None
    return outputs.decoder(outputs.decoder_inputs)


@both_forms
def test_the_loss_is_the_mean_over_real_tokens_of_the_divergence_times_t_squared(fused: bool) -> None:
    teacher, student = ((logits(outputs) / 15).log_softmax(-1) for outputs in (TEACHER, STUDENT))
    rows = 225 * (teacher.exp() * (teacher - student)).sum(-1)
    expected = torch.stack([rows[row, :length].mean() for row, length in enumerate(LENGTHS)])
    torch.testing.assert_close(loss(fused=fused), expected)


def padded(outputs: ModelOutputs, more: int) -> ModelOutputs:
    assert outputs.decoder_inputs is not None
    return replace(
        outputs,
        mask=torch.nn.functional.pad(outputs.mask, (0, more)),
        decoder_inputs=torch.nn.functional.pad(outputs.decoder_inputs, (0, 0, 0, more), value=9.0),
    )


@both_forms
def test_more_padding_changes_nothing_or_counts_as_in_the_release(fused: bool) -> None:
    """`reduction=all` is the mean over all B S places, in which a loss shrinks by S / (S + k)."""
    longer = padded(STUDENT, 3), padded(TEACHER, 3)
    torch.testing.assert_close(loss(*longer, fused=fused), loss(fused=fused))
    everything = VocabularyLogits(reduction="all")
    torch.testing.assert_close(loss(*longer, everything, fused), loss(knowledge=everything, fused=fused) * 5 / 8)
    torch.testing.assert_close(loss(knowledge=everything, fused=fused), loss(fused=fused) * torch.tensor(LENGTHS) / 5)


@both_forms
def test_at_a_high_temperature_it_is_the_squared_error_of_centred_logits(fused: bool) -> None:
    """T^2 KL -> |(s - mean s) - (t - mean t)|^2 / 2V."""
    apart = logits(STUDENT) - logits(TEACHER)
    centred = (apart - apart.mean(-1, keepdim=True)).square().sum(-1) / (2 * WORDS)
    expected = torch.stack([centred[row, :length].mean() for row, length in enumerate(LENGTHS)])
    torch.testing.assert_close(loss(fused=fused, temperature=1e4), expected, rtol=1e-3, atol=0)


@both_forms
@pytest.mark.parametrize("whose", ["student", "teacher"])
def test_a_constant_of_a_place_changes_nothing(whose: str, fused: bool) -> None:
    """Another one at each place: one more input, whose column in the decoder is the same for all words."""
    outputs = {"student": STUDENT, "teacher": TEACHER}
    inputs, decoder = outputs[whose].decoder_inputs, outputs[whose].decoder
    assert inputs is not None and decoder is not None
    wider = torch.cat([inputs, drawn(*inputs.shape[:2], 1, seed=5)], dim=2)
    weight = torch.nn.functional.pad(decoder.weight, (0, 1), value=3.0)
    outputs[whose] = replace(outputs[whose], decoder_inputs=wider, decoder=Decoder(weight, decoder.bias))
    torch.testing.assert_close(loss(**outputs, fused=fused), loss(fused=fused))  # type: ignore[arg-type]


@both_forms
def test_words_are_compared_where_they_are_to_be(fused: bool) -> None:
    teacher, student = ((logits(outputs) / 15).log_softmax(-1) for outputs in (TEACHER, STUDENT))
    rows = 225 * (teacher.exp() * (teacher - student)).sum(-1)
    masked = torch.stack([(rows[0, 1] + rows[0, 4]) / 2, rows[1, 2]])
    torch.testing.assert_close(loss(knowledge=VocabularyLogits("masked"), fused=fused), masked)
    # The second row has no fourth token, and no row a hundredth.
    listed = torch.stack([(rows[0, 0] + rows[0, 3]) / 2, rows[1, 0]])
    torch.testing.assert_close(loss(knowledge=VocabularyLogits([0, 3, 99]), fused=fused), listed)


@both_forms
def test_where_every_word_is_hidden_masked_places_are_all_real_ones(fused: bool) -> None:
    everywhere = torch.where(MASK, 3, NO_PLACE)
    student, teacher = (replace(outputs, words=everywhere) for outputs in (STUDENT, TEACHER))
    masked = loss(student, teacher, VocabularyLogits("masked"), fused)
    torch.testing.assert_close(masked, loss(student, teacher, VocabularyLogits("real"), fused))


@pytest.mark.parametrize("positions", ["everywhere", [], [-1], [1.5], [True]])
def test_places_that_are_none_are_refused(positions: object) -> None:
    with pytest.raises(KdbenchError, match="must be real, masked or a list of places"):
        VocabularyLogits(positions)  # type: ignore[arg-type]


def test_soft_labels_are_the_divergence_and_the_teacher_s_entropy() -> None:
    """At temperature 1; the gradient of the mean over B rows is (q - p) / B."""
    student, teacher = drawn(4, 3, seed=1).requires_grad_(), drawn(4, 3, seed=2)
    crossed = soft_cross_entropy(student, teacher)
    entropy = -(teacher.softmax(-1) * teacher.log_softmax(-1)).sum(-1)
    torch.testing.assert_close(crossed, kl(student, teacher) + entropy)
    (gradient,) = torch.autograd.grad(crossed.mean(), student)
    torch.testing.assert_close(gradient, (student.softmax(-1) - teacher.softmax(-1)).detach() / 4)
