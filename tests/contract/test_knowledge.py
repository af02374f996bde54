"""Every knowledge on real outputs: what it hands out, what it reads, and that padding and teachers stay out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch

from kdbench.config import instantiate
from kdbench.error import ImpossibleError
from kdbench.knowledge.base import Knowledge
from kdbench.model import Model
from kdbench.outputs import ModelOutputs, Taps
from kdbench.term import WITHOUT_LAYERS
from kdbench.terms import build_terms

Option = Callable[[str, str], Any]
Outputs = Callable[..., ModelOutputs]
SLOTS = ("matching", "projection", "objective", "objective_regression")


def built(option: Option, knowledge: str) -> Knowledge:
    node = option("knowledge", knowledge)
    made: Knowledge = instantiate({key: value for key, value in node.items() if key not in SLOTS})
    return made


def layers(knowledge: Knowledge, depth: int) -> list[int]:
    """The student layers that a pairing of all layers would compare."""
    pairs = [(layer, layer) for layer in range(1, depth + 1)]
    return [pair[0] for pair in (knowledge.pairs(pairs) if knowledge.layered else WITHOUT_LAYERS)]


def only(outputs: ModelOutputs, taps: Taps) -> ModelOutputs:
    """The outputs of a model that was asked for these taps and no others."""
    return ModelOutputs(
        mask=outputs.mask,
        labels=outputs.labels,
        logits=outputs.logits if taps.logits else None,
        hidden={layer: outputs.hidden[layer] for layer in taps.hidden},
        query={layer: outputs.query[layer] for layer in taps.query},
        key={layer: outputs.key[layer] for layer in taps.key},
        value={layer: outputs.value[layer] for layer in taps.value},
        scaling={layer: outputs.scaling[layer] for layer in taps.attention},
    )


def without(taps: Taps) -> list[Taps]:
    """The taps with one field left out, for each field that they name."""
    named = [field.name for field in fields(Taps) if getattr(taps, field.name)]
    everything = {field.name: getattr(taps, field.name) for field in fields(Taps)}
    return [Taps(**{**everything, name: False if name == "logits" else frozenset()}) for name in named]


def test_a_tensor_is_batch_first_and_its_mask_broadcasts(knowledge: str, option: Option, outputs: Outputs) -> None:
    made, student = built(option, knowledge), outputs("student")
    for layer in layers(made, 2):
        tensor, mask = made.extract(student, layer), made.mask(student)
        assert tensor.shape[0] == len(student.mask) and tensor.requires_grad
        if mask is not None:
            assert mask.dtype == torch.bool and mask.dim() == tensor.dim()
            assert torch.broadcast_shapes(mask.shape, tensor.shape) == tensor.shape


def test_taps_name_exactly_what_is_read(knowledge: str, option: Option, outputs: Outputs) -> None:
    made, student = built(option, knowledge), outputs("student")
    for layer in layers(made, 2):
        taps = made.taps({layer})
        whole = made.extract(student, layer)
        torch.testing.assert_close(made.extract(only(student, taps), layer), whole, atol=0, rtol=0)
        for fewer in without(taps):
            with pytest.raises((KeyError, AssertionError)):
                made.extract(only(student, fewer), layer)


def test_a_width_is_that_of_the_last_axis(
    knowledge: str, option: Option, outputs: Outputs, models: dict[str, Model]
) -> None:
    made = built(option, knowledge)
    width = made.width(models["student"].shape)
    for layer in layers(made, 2):
        assert width is None or made.extract(outputs("student"), layer).shape[-1] == width


def test_padding_is_ignored_and_the_student_alone_is_taught(
    knowledge: str, objective: str, cell: Callable[..., Any], outputs: Outputs, models: dict[str, Model]
) -> None:
    shapes = models["student"].shape, models["teacher"].shape
    try:
        terms = cell(knowledge=knowledge, objective=objective).stages.task.terms
        term = build_terms("task", {"transfer": terms.transfer}, *shapes, seed=1)[0]
    except ImpossibleError:
        return
    losses = []
    for padding in (0, 3):
        student = outputs("student", padding)
        models["student"].zero_grad()
        with torch.no_grad():
            target = outputs("teacher", padding)
        loss = term(only(student, term.student_taps), only(target, term.teacher_taps))
        assert loss.shape == (3,) and bool(loss.isfinite().all())
        loss.sum().backward()
        learned = [parameter.grad for parameter in models["student"].parameters() if parameter.grad is not None]
        assert learned and all(bool(gradient.isfinite().all()) for gradient in learned)
        assert any(bool(gradient.any()) for gradient in learned)
        losses.append((loss.detach(), sum(gradient.abs().sum() for gradient in learned)))
    torch.testing.assert_close(losses[0], losses[1], atol=1e-9, rtol=1e-9)
