"""Every knowledge on real outputs: what it hands out, what it reads, and that padding and teachers stay out of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

import pytest
import torch

from kdbench.config import CONF_DIR, instantiate
from kdbench.data.batch import Batch
from kdbench.decoder import Words
from kdbench.error import ImpossibleError
from kdbench.knowledge.base import Knowledge
from kdbench.lr_schedule import constant
from kdbench.model import Model
from kdbench.module.student import StudentModule, teacher_taps
from kdbench.module.training import Training
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape
from kdbench.teacher_outputs.source import TeacherOutputs
from kdbench.term import WITHOUT_LAYERS, Term
from kdbench.term_config import complete_term
from kdbench.terms import build_terms

Option = Callable[[str, str], Any]
Outputs = Callable[..., ModelOutputs]
Reading = tuple[str, dict[str, Any]]
SLOTS = ("matching", "projection", "objective", "objective_regression")
POINTS = ("pairwise_cosine", "pairwise_dot", "triplet_angle")

# Options that change what is read, beside every option as its YAML has it.
CHANGED: list[Reading] = [
    ("logits", {"probability_shift": True}),
    ("hidden", {"view": "spans", "span_length": 2}),
    ("hidden", {"layers": "concatenated"}),
    ("hidden_mean", {"layers": "concatenated", "embeddings": True}),
    ("attention_sum", {"space": "probabilities"}),
    ("attention", {"floor": -1e-3}),
    ("query_relation", {"heads": 4}),
    ("value_relation", {"heads": "flatten", "scale": "head"}),
    ("gram_features", {"view": "spans", "span_length": 2}),
    ("logit_lens", {"target": "final"}),
    ("vocabulary_logits", {"positions": "masked"}),
    ("vocabulary_logits", {"positions": [0, 3]}),
    ("triplet_angle", {"window": None}),
    ("triplet_angle", {"window": 3}),
    *((name, {"over": "spans", "span_length": 2}) for name in POINTS),
    *((name, {"over": over, "heads": 2}) for name in POINTS for over in ("tokens", "layers", "samples")),
    *((name, {"over": "samples", "view": "cls"}) for name in POINTS),
]
SETTINGS = Training(1, 1, 3, 1, None, "exact", True, 1, None, "last", 1, 1)
READINGS: list[Reading] = [
    *((path.stem, {}) for path in sorted((CONF_DIR / "knowledge").glob("*.yaml"))),
    *CHANGED,
]
OBJECTIVES = [path.stem for path in sorted((CONF_DIR / "objective").glob("*.yaml"))]


def named(reading: object) -> str | None:
    """A reading as the command line would give it."""
    if not isinstance(reading, tuple):
        return None
    return ",".join([reading[0], *(f"{key}={value}" for key, value in reading[1].items())])


# Every option with every objective, and what is changed of it with one of each sort: by element and by distribution.
COMPARISONS = [
    *((reading, how) for reading in READINGS if not reading[1] for how in OBJECTIVES),
    *((reading, how) for reading in CHANGED for how in ("mse", "kl")),
]

every_reading = pytest.mark.parametrize("reading", READINGS, ids=named)


def built(option: Option, reading: Reading) -> Knowledge:
    name, options = reading
    node = {**option("knowledge", name), **options}
    made: Knowledge = instantiate({key: value for key, value in node.items() if key not in SLOTS})
    return made


def term_of(option: Option, reading: Reading, student: Shape, teacher: Shape, how: str | None = None) -> Term:
    """The term that a run would build for that reading, with its customary objective or another."""
    name, options = reading
    chosen = {"knowledge": {**option("knowledge", name), **options}}
    if how is not None:
        chosen["objective"] = option("objective", how)
    completed = {**complete_term("stages.task.terms.transfer", chosen, False), "weight": 1.0}
    return build_terms("task", {"transfer": completed}, student, [teacher], seed=1)[0]


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
        cls={layer: outputs.cls[layer] for layer in taps.cls},
        mean={layer: outputs.mean[layer] for layer in taps.mean},
        scores={layer: outputs.scores[layer] for layer in taps.scores},
        lens={layer: outputs.lens[layer] for layer in taps.lens},
        feed_forward={layer: outputs.feed_forward[layer] for layer in taps.feed_forward},
        words=outputs.words,
        decoder_inputs=outputs.decoder_inputs if taps.decoder_inputs else None,
        decoder=outputs.decoder if taps.decoder_inputs else None,
    )


def without(taps: Taps) -> list[Taps]:
    """The taps with one field left out, for each field that they name."""
    named = [field.name for field in fields(Taps) if getattr(taps, field.name)]
    everything = {field.name: getattr(taps, field.name) for field in fields(Taps)}
    return [Taps(**{**everything, name: type(everything[name])()}) for name in named]


def values_of(read: Any) -> Any:
    """What a knowledge has read, as tensors."""
    return {"inputs": read.inputs, "logits": read.logits} if isinstance(read, Words) else read


@every_reading
def test_a_tensor_is_batch_first_and_its_mask_broadcasts(reading: Reading, option: Option, outputs: Outputs) -> None:
    made, student = built(option, reading), outputs("student")
    for layer in layers(made, 2):
        values = made.extract(student, layer)
        if isinstance(values, Words):
            assert values.logits.requires_grad and len(values.logits) == len(values.samples) == len(values.shares)
            continue
        tensor, mask = made.relate(made.join([values, values]) if made.joint else values, student.mask)
        assert tensor.shape[0] == len(student.mask) and tensor.requires_grad
        if mask is not None:
            assert mask.dtype == torch.bool and mask.dim() == tensor.dim()
            assert mask.expand_as(tensor).shape == tensor.shape


@every_reading
def test_taps_name_exactly_what_is_read(reading: Reading, option: Option, outputs: Outputs) -> None:
    made, student = built(option, reading), outputs("student")
    for layer in layers(made, 2):
        for read, taps in ((made.extract, made.taps({layer})), (made.target, made.target_taps({layer}))):
            found, expected = (values_of(read(outputs, layer)) for outputs in (only(student, taps), student))
            torch.testing.assert_close(found, expected, atol=0, rtol=0)
            for fewer in without(taps):
                if read == made.target and made.from_labels:
                    continue  # the labels are of the batch: nothing is captured for them
                with pytest.raises((KeyError, AssertionError)):
                    read(only(student, fewer), layer)


@every_reading
def test_a_width_is_that_of_the_last_axis(
    reading: Reading, option: Option, outputs: Outputs, models: dict[str, Model]
) -> None:
    made = built(option, reading)
    width = made.width(models["student"].shape, 2)
    for layer in layers(made, 2):
        values = made.extract(outputs("student"), layer)
        assert width is None or (made.join([values, values]) if made.joint else values).shape[-1] == width


def has_rows_of_one(term: Term, student: ModelOutputs) -> bool:
    """Whether no row that an objective would make a distribution or a direction of has more than one valid element."""
    knowledge = term.knowledge
    layers = [ours for ours, _ in term.pairing.pairs]
    values = [knowledge.extract(student, layer) for layer in layers]
    _, mask = knowledge.relate(knowledge.join(values) if knowledge.joint else values[0], student.mask)
    return mask is not None and mask.shape[-1] > 1 and int(mask.sum(dim=-1).max()) == 1


@pytest.mark.parametrize(("reading", "how"), COMPARISONS, ids=named)
def test_padding_is_ignored_and_the_student_is_taught(
    reading: Reading, how: str, option: Option, outputs: Outputs, models: dict[str, Model]
) -> None:
    try:
        term = term_of(option, reading, models["student"].shape, models["teacher"].shape, how)
    except ImpossibleError:
        return
    losses = []
    for padding, packed in ((0, False), (3, False), (3, True)):
        student = outputs("student", padding, packed=packed)
        models["student"].zero_grad()
        with torch.no_grad():
            target = outputs("teacher", padding, packed=packed)
        loss = term(only(student, term.student_taps), only(target, term.teacher_taps))
        assert loss.shape == (3,) and bool(loss.isfinite().all())
        loss.sum().backward()
        learned = [parameter.grad for parameter in models["student"].parameters() if parameter.grad is not None]
        assert learned and all(bool(gradient.isfinite().all()) for gradient in learned)
        assert any(bool(gradient.any()) for gradient in learned) or has_rows_of_one(term, student)
        losses.append((loss.detach(), sum(gradient.abs().sum() for gradient in learned)))
    torch.testing.assert_close(losses[0], losses[1], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(losses[0], losses[2], atol=1e-9, rtol=1e-9)


@every_reading
def test_no_gradient_reaches_the_teacher(
    reading: Reading, option: Option, models: dict[str, Model], batch: Callable[..., Batch]
) -> None:
    term = term_of(option, reading, models["student"].shape, models["teacher"].shape)
    student, teacher = (copy.deepcopy(models[role]) for role in ("student", "teacher"))
    weights = list(teacher.parameters())  # all of them: a source cuts its teacher after the deepest layer needed
    before = [weight.detach().clone() for weight in weights]
    module = StudentModule(
        student,
        [TeacherOutputs(teacher_taps([term]), teacher)],
        [term],
        partial(torch.optim.SGD, lr=0.1),
        constant,
        SETTINGS,
        1,
    )
    optimizer = module.configure_optimizers()
    assert not any(tensor.requires_grad for tensor in tensors(module.sources[0](batch())))
    module.losses(batch()).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert all(weight.grad is None for weight in weights)
    assert all(torch.equal(*sides) for sides in zip(before, weights, strict=True))


@every_reading
def test_a_row_of_one_token_breaks_nothing(
    reading: Reading, option: Option, models: dict[str, Model], batch: Callable[..., Batch]
) -> None:
    """It has no pair of tokens and no triplet, whatever the other rows have."""
    whole = batch()
    mask = whole.attention_mask & (torch.arange(6) < torch.tensor([6, 4, 1])[:, None])
    data = replace(whole, input_ids=whole.input_ids * mask, attention_mask=mask)
    term = term_of(option, reading, models["student"].shape, models["teacher"].shape)
    models["student"].zero_grad()
    with torch.no_grad():
        target = models["teacher"](data, term.teacher_taps)
    loss = term(models["student"](data, term.student_taps), target)
    assert bool(loss.isfinite().all())
    loss.sum().backward()
    learned = [parameter.grad for parameter in models["student"].parameters() if parameter.grad is not None]
    assert learned and all(bool(gradient.isfinite().all()) for gradient in learned)


def tensors(outputs: ModelOutputs) -> list[torch.Tensor]:
    """Everything that a model handed out."""
    found: list[torch.Tensor] = []
    changed(outputs, lambda values: found.append(values) or values)  # type: ignore[func-returns-value]
    return found


def changed(outputs: ModelOutputs, change: Callable[[torch.Tensor], torch.Tensor]) -> ModelOutputs:
    """The outputs with every tensor changed."""

    def of(values: Any) -> Any:
        if isinstance(values, Mapping):
            return {layer: of(value) for layer, value in values.items()}
        return change(values) if isinstance(values, torch.Tensor) else values

    return ModelOutputs(**{field.name: of(getattr(outputs, field.name)) for field in fields(ModelOutputs)})


def row_of(outputs: ModelOutputs, row: int) -> ModelOutputs:
    """The outputs of one sample of the batch alone."""
    return changed(outputs, lambda values: values[row : row + 1])


def disturbed(outputs: ModelOutputs) -> ModelOutputs:
    """Noise on everything that a model computes."""
    generator = torch.Generator().manual_seed(3)
    return changed(
        outputs,
        lambda values: (
            values + 0.5 * torch.randn(values.shape, generator=generator, dtype=values.dtype)
            if values.is_floating_point()
            else values
        ),
    )


@every_reading
def test_samples_mix_where_the_knowledge_says_so_and_nowhere_else(
    reading: Reading, option: Option, outputs: Outputs, models: dict[str, Model]
) -> None:
    term = term_of(option, reading, models["student"].shape, models["teacher"].shape)
    student, teacher = outputs("student"), outputs("teacher")
    with torch.no_grad():
        together = term(student, teacher)
        alone = torch.cat([term(row_of(student, row), row_of(teacher, row)) for row in range(3)])
    apart = torch.allclose(together, alone, atol=1e-9, rtol=1e-9)
    assert apart != term.knowledge.in_batch


WITHOUT_LAYERS_AT_ALL = {"label", "logits", "masked_words", "vocabulary_logits"}
EMBEDDED = {"hidden", "embeddings", "gram_tokens", "gram_features", *POINTS}


@pytest.mark.parametrize("name", [reading[0] for reading in READINGS if not reading[1]])
def test_the_embeddings_are_compared_where_it_is_customary(name: str, option: Option) -> None:
    """Hidden states by token and their Gram matrices, as the unified framework has it; and relations of points."""
    assert (0 in layers(built(option, (name, {})), 2)) == (name in EMBEDDED | WITHOUT_LAYERS_AT_ALL)


def reads_alike(reading: Reading) -> bool:
    """Whether the two sides of a model compared with itself are one tensor."""
    name, options = reading
    return (
        name not in ("label", "masked_words")
        and not options.get("probability_shift")
        and options.get("target") != "final"
    )


@pytest.mark.parametrize("reading", [reading for reading in READINGS if reads_alike(reading)], ids=named)
def test_a_student_that_is_its_teacher_loses_nothing(
    reading: Reading, option: Option, models: dict[str, Model], outputs: Outputs
) -> None:
    """With the customary objective; and one that is not does."""
    shape = models["teacher"].shape
    teacher = outputs("teacher")
    term = term_of(option, reading, shape, shape)
    with torch.no_grad():
        torch.testing.assert_close(term(teacher, teacher), torch.zeros(3).double(), atol=1e-9, rtol=0)
        assert float(term(disturbed(teacher), teacher).sum()) > 1e-6


@pytest.mark.parametrize("reading", [reading for reading in READINGS if reads_alike(reading)], ids=named)
def test_what_cross_entropy_adds_to_the_divergence_is_the_teachers_entropy(
    reading: Reading, option: Option, models: dict[str, Model], outputs: Outputs
) -> None:
    shape = models["teacher"].shape
    teacher = changed(outputs("teacher"), torch.detach)
    student = disturbed(teacher)
    try:
        crossed = term_of(option, reading, shape, shape, how="soft_cross_entropy")
        diverged = term_of(option, reading, shape, shape, how="kl")
    except ImpossibleError:
        assert "probabilities" in str(reading)
        return
    with torch.no_grad():
        entropy, both = crossed(teacher, teacher), (crossed(student, teacher), diverged(student, teacher))
    torch.testing.assert_close(both[0] - both[1], entropy, atol=1e-9, rtol=1e-9)
    assert float(entropy.min()) >= -1e-9 and float(both[1].min()) >= -1e-9
