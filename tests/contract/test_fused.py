"""Every knowledge and objective that have a fused form, found by asking: it equals what is written, or is not used."""

from __future__ import annotations

import copy
import pydoc
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from kdbench.config import CONF_DIR, instantiate, plain
from kdbench.data.batch import NO_PLACE, Batch
from kdbench.error import ImpossibleError
from kdbench.knowledge.base import Knowledge
from kdbench.model import Model
from kdbench.progress import START, Progress
from kdbench.schedule.linear import linear
from kdbench.shape import CLASSIFIER_TAPS, Shape
from kdbench.term import Term
from kdbench.term_config import complete_term
from kdbench.terms import build_terms, parts_of

Option = Callable[[str, str], Any]
SLOTS = ("matching", "projection", "objective", "objective_regression")
KNOWLEDGE, OBJECTIVES = (
    [path.stem for path in sorted((CONF_DIR / group).glob("*.yaml"))] for group in ("knowledge", "objective")
)
TEMPERATURES = sorted((CONF_DIR / "temperature").glob("*.yaml"))
RELATIONS = [{"heads": "flatten"}, {"heads": 4}, {"heads": 1, "scale": "head"}]
VARIED: dict[str, list[dict[str, Any]]] = {
    **{name: RELATIONS for name in ("query_relation", "key_relation", "value_relation")},
    **{name: [{"view": "spans", "span_length": 2}] for name in ("gram_tokens", "gram_features")},
}
"""Options that change what a fused form is given, beside every knowledge as its YAML has it."""

LENGTHS = [(16, 9, 1), (4, 4, 4), (4, 2, 1)]
"""Rows of a batch: twice the models' width of 8 and half of it, so that either side of a Gram matrix is the smaller."""

Form = tuple[str, str, Knowledge, Callable[..., Tensor]]


def with_fused_forms() -> list[str]:
    """The knowledge whose class has a word on it, by listing."""
    targets = {name: str(OmegaConf.load(CONF_DIR / "knowledge" / f"{name}.yaml")._target_) for name in KNOWLEDGE}
    classes = {name: pydoc.locate(target) for name, target in targets.items()}
    return [name for name, found in classes.items() if found.fused is not Knowledge.fused]  # type: ignore[union-attr]


OF_WORDS = ("masked_words", "vocabulary_logits")
"""What is compared are the scores of one token, by any objective: in chunks, if there is no function of its own."""

READINGS = [(name, options) for name in with_fused_forms() for options in ({}, *VARIED.get(name, []))]


@pytest.fixture(scope="module")
def forms(option: Option) -> list[Form]:
    """Every knowledge and objective, as their YAML have them, that have a fused form together."""
    objectives = {
        how: instantiate(node) for how in OBJECTIVES if "???" not in (node := option("objective", how)).values()
    }
    found = []
    for name in KNOWLEDGE:
        knowledge = instantiate({key: value for key, value in option("knowledge", name).items() if key not in SLOTS})
        ways = {how: way for how, way in objectives.items() if can_compare(option, name, how)}
        found += [(name, how, knowledge, way) for how, way in ways.items() if knowledge.fused(way) is not None]
    return found


def can_compare(option: Option, name: str, how: str) -> bool:
    """Whether a knowledge of words lets itself be compared so; of the others a fused form is asked for directly."""
    if name not in OF_WORDS:
        return True
    term = {"knowledge": option("knowledge", name), "objective": option("objective", how)}
    shape = Shape(2, 8, 2, 3, CLASSIFIER_TAPS | {"decoder_inputs"}, 8)
    try:
        parts_of("a term", {**complete_term("a term", term, False), "weight": 1.0}, shape, shape)
    except ImpossibleError:
        return False
    return True


@pytest.fixture(scope="module")
def loud(models: dict[str, Model]) -> dict[str, Model]:
    """The two models with larger weights: the states of fresh ones are so small that their relations are all alike."""
    made = copy.deepcopy(models)
    with torch.no_grad():
        for model in made.values():
            for weight in model.parameters():
                weight *= 20.0 if weight.dim() > 1 else 1.0
    return made


def test_fused_forms_are_found(forms: list[Form]) -> None:
    found = {(name, how) for name, how, _, _ in forms}
    assert {name for name, _ in found} == set(with_fused_forms()) >= set(VARIED)
    assert {("query_relation", "kl"), ("value_relation", "soft_cross_entropy"), ("gram_features", "mse")} <= found


def batch_of(lengths: tuple[int, ...]) -> Batch:
    generator = torch.Generator().manual_seed(sum(lengths))
    ids = torch.randint(5, 30, (len(lengths), max(lengths)), generator=generator)
    mask = torch.arange(ids.shape[1])[None] < torch.tensor(lengths)[:, None]
    words = torch.where(torch.arange(ids.shape[1])[None] % 3 == 0, ids, NO_PLACE)
    labels = torch.tensor([0, 2, 1])
    return Batch(ids * mask, mask, torch.zeros_like(ids), labels, torch.arange(len(lengths)), words)


def terms_of(option: Option, models: dict[str, Model], name: str, options: dict[str, Any], how: str) -> list[Term]:
    """The term that a run would build, fused and as it is written."""
    shapes = models["student"].shape, models["teacher"].shape
    chosen = {"knowledge": {**option("knowledge", name), **options}, "objective": option("objective", how)}
    completed = {**complete_term("stages.task.terms.transfer", chosen, False), "weight": 1.0}
    return [
        build_terms("task", {"transfer": completed}, shapes[0], shapes[1:], seed=1, fused=fused)[0]
        for fused in (True, False)
    ]


def taught(term: Term, models: dict[str, Model], lengths: tuple[int, ...], progress: Progress = START) -> list[Tensor]:
    """The losses of a term, and the gradient of a weighted sum of them for every weight of the student."""
    data = batch_of(lengths)
    student = models["student"](data, term.student_taps)
    with torch.no_grad():
        teacher = models["teacher"](data, term.teacher_taps)
    losses = term(student, teacher, progress)
    weights = torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64)
    gradients = torch.autograd.grad(losses, list(models["student"].parameters()), weights, allow_unused=True)
    return [losses.detach(), *(gradient for gradient in gradients if gradient is not None)]


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize(("name", "options"), READINGS, ids=str)
def test_a_fused_term_equals_the_written_one(
    name: str,
    options: dict[str, Any],
    lengths: tuple[int, ...],
    forms: list[Form],
    option: Option,
    loud: dict[str, Model],
) -> None:
    for how in [how for found, how, _, _ in forms if found == name]:
        fused, written = (taught(term, loud, lengths) for term in terms_of(option, loud, name, options, how))
        torch.testing.assert_close(fused, written, atol=1e-10, rtol=1e-10)
        assert float(fused[0].abs().max()) > 1e-3 and max(float(side.abs().max()) for side in fused[1:]) > 1e-3


def changes(option: Option, how: str) -> list[dict[str, Any]]:
    """Every option of an objective set to something else, one at a time; a switch at a temperature where it matters."""
    found: list[dict[str, Any]] = []
    node = option("objective", how)
    for key, value in node.items():
        if key.startswith("_") or isinstance(value, dict):  # what an objective is put around has options of its own
            continue
        if isinstance(value, bool):
            found.append({key: not value, **({"temperature": 2.5} if "temperature" in node else {})})
        elif isinstance(value, int | float):
            found += [{key: 2.5}, {key: torch.full((3,), 2.5, dtype=torch.float64)}]
        else:
            found.append({key: {"mean": "sum", "below": "teacher_min"}[value]})
        if key == "temperature" and how != "mse":
            found += [{key: instantiate(plain(OmegaConf.load(file)))} for file in TEMPERATURES]
    return found


@pytest.mark.parametrize("name", with_fused_forms())
def test_an_option_is_honoured_or_the_fused_form_is_not_used(
    name: str, forms: list[Form], option: Option, loud: dict[str, Model]
) -> None:
    """Whichever option of an objective is changed; and each objective has one that is not known."""
    for _, how, knowledge, objective in [form for form in forms if form[0] == name]:
        student, teacher, tokens = sides_of(knowledge, loud)
        refused = []
        for changed in changes(option, how):
            if name in OF_WORDS and any(isinstance(value, torch.Tensor) for value in changed.values()):
                continue  # one for each sample: a row of words is a token
            other = partial(objective, **changed)
            if (fused := knowledge.fused(other)) is None:
                refused.append(changed)
                continue
            expected = knowledge.distance(other, student, teacher, tokens)
            torch.testing.assert_close(fused(student, teacher, tokens), expected, atol=1e-10, rtol=1e-10)
        assert refused or name in OF_WORDS, how


def sides_of(knowledge: Knowledge, models: dict[str, Model]) -> tuple[Tensor, Tensor, Tensor]:
    """What is read of a layer of either model."""
    data = batch_of(LENGTHS[0])
    with torch.no_grad():
        student, teacher = (models[role](data, knowledge.taps({1})) for role in ("student", "teacher"))
    return knowledge.extract(student, 1), knowledge.extract(teacher, 1), data.attention_mask


@pytest.mark.parametrize("name", sorted(set(with_fused_forms()) - {"masked_words"}))
def test_a_schedule_changes_the_option_of_a_fused_term(
    name: str, forms: list[Form], option: Option, loud: dict[str, Model]
) -> None:
    """From a temperature that the fused form knows or not to the customary one, which it knows."""
    how = next(how for found, how, _, _ in forms if found == name and "temperature" in option("objective", how))
    losses = []
    for term in terms_of(option, loud, name, {}, how):
        term.schedules = {"temperature": partial(linear, start=3.0, end=1.0)}
        losses.append([taught(term, loud, LENGTHS[0], Progress(step, 3, 3))[0] for step in range(3)])
    torch.testing.assert_close(*losses, atol=1e-10, rtol=1e-10)
    assert not torch.allclose(losses[0][0], losses[0][2], atol=0.0, rtol=1e-3)
