"""Losses of vocabulary logits in chunks, and without logits, against the logits themselves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kdbench.config import instantiate
from kdbench.decoder import Decoder, Words
from kdbench.error import KdbenchError
from kdbench.fused import word_chunks
from kdbench.fused.word_chunks import by_chunks
from kdbench.fused.word_distance import fused_distance
from kdbench.fused.word_losses import Divergence, Gold
from kdbench.fused.word_mse import pays, word_squared_error
from kdbench.objective.cross_entropy import cross_entropy
from kdbench.objective.kl import kl
from kdbench.objective.mse import mse
from kdbench.objective.soft_cross_entropy import soft_cross_entropy
from kdbench.term_config import compares

PLACES, WORDS, WIDTHS = 11, 23, (4, 6)
Option = Callable[[str, str], Any]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 3 places, whose passes take 2: the last ones of either are not full."""
    monkeypatch.setattr(word_chunks, "CHUNK", 3)
    monkeypatch.setattr(word_chunks, "BLOCK", 2 * WORDS)


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def sides(dtype: torch.dtype = torch.float64, bias: bool = True, places: int = PLACES) -> tuple[Words, Words]:
    """A student whose tensors ask for a gradient and a teacher of another width, at places of 4 samples."""
    samples = torch.arange(places) % 3
    shares = 1.0 / torch.bincount(samples, minlength=4)[samples]
    found = []
    for number, width in enumerate(WIDTHS):
        tensors = [
            drawn(places, width, seed=number),
            drawn(WORDS, width, seed=2 + number),
            drawn(WORDS, seed=4 + number),
        ]
        inputs, weight, offset = (tensor.to(dtype).requires_grad_(number == 0) for tensor in tensors)
        found.append(Words(inputs, Decoder(weight, offset if bias else None), samples, shares.to(dtype), 4))
    return found[0], found[1]


def tensors(words: Words) -> list[Tensor]:
    parts = [words.inputs, words.decoder.weight, words.decoder.bias]
    return [part for part in parts if part is not None]


def as_written(objective: Callable[..., Tensor], student: Words, teacher: Words) -> Tensor:
    return student.per_sample(student.shares * objective(student.logits, teacher.logits, None))


OBJECTIVES = {
    "kl": partial(kl, temperature=15.0),
    "kl without T^2": partial(kl, temperature=2.0, t_squared=False),
    "kl by the word": partial(kl, per_class=True),
    "soft cross-entropy": partial(soft_cross_entropy, temperature=3.0),
    "mse": mse,
    "mse at a temperature, summed": partial(mse, temperature=2.0, reduction="sum"),
    "mse of directions": partial(mse, l2_norm=True),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=list(OBJECTIVES))
@pytest.mark.parametrize("upstream", [torch.ones(4), torch.tensor([0.3, -1.0, 0.0, 2.0])], ids=["even", "uneven"])
def test_value_and_gradients_are_those_of_the_logits(
    objective: Callable[..., Tensor], bias: bool, upstream: Tensor
) -> None:
    """Also where a backward pass weighs the samples differently, as a combiner of teachers may."""
    found = []
    for distance in (as_written, partial(fused_distance, tokens=torch.ones(0))):
        student, teacher = sides(bias=bias)
        losses = distance(objective, student, teacher)
        found.append((losses.detach(), *torch.autograd.grad(losses, tensors(student), upstream.double())))
    torch.testing.assert_close(found[1], found[0], atol=1e-12, rtol=1e-9)


def test_every_objective_of_logits_has_its_value_and_gradient_in_chunks(objective_node: dict[str, Any]) -> None:
    objective = instantiate(objective_node)
    found = []
    for distance in (as_written, partial(fused_distance, tokens=torch.ones(0))):
        student, teacher = sides()
        losses = distance(objective, student, teacher)
        found.append((losses.detach(), *torch.autograd.grad(losses.sum(), tensors(student))))
    torch.testing.assert_close(found[1], found[0], atol=1e-11, rtol=1e-8)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "objective_node" not in metafunc.fixturenames:
        return
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from kdbench.config import CONF_DIR
    from kdbench.term_config import module_of

    nodes = {}
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        for path in sorted((CONF_DIR / "objective").glob("*.yaml")):
            composed = compose("train", overrides=[f"objective={path.stem}"]).objective
            node = OmegaConf.to_container(composed, resolve=False)
            assert isinstance(node, dict)
            node = {str(key): 0.1 if value == "???" else value for key, value in node.items()}
            if "logits" in compares(node) and not getattr(module_of(node), "IN_BATCH", False):
                nodes[path.stem] = node
    metafunc.parametrize("objective_node", nodes.values(), ids=list(nodes))


@pytest.mark.parametrize("bias", [True, False])
def test_gold_words_teach_as_a_cross_entropy(bias: bool) -> None:
    words = torch.arange(PLACES) * 5 % WORDS
    found = []
    for fused in (False, True):
        student, _ = sides(bias=bias)
        if fused:
            losses = by_chunks(student.inputs, student.decoder, Gold(words), student.shares)
        else:
            losses = student.shares * cross_entropy(student.logits, words)
        found.append((losses.detach(), *torch.autograd.grad(losses.sum(), tensors(student))))
    torch.testing.assert_close(found[1], found[0], atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("objective", [kl, soft_cross_entropy, mse, partial(mse, l2_norm=True)])
def test_gradients_are_those_of_the_value(objective: Callable[..., Tensor]) -> None:
    student, teacher = sides()

    def losses(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        moved = Words(inputs, Decoder(weight, bias), student.samples, student.shares, student.batch)
        return fused_distance(objective, moved, teacher, torch.ones(0))

    assert torch.autograd.gradcheck(losses, tensors(student))


@pytest.mark.parametrize("objective", [partial(kl, temperature=15.0), mse])
def test_nothing_to_compare_is_no_loss_and_no_gradient(objective: Callable[..., Tensor]) -> None:
    student, teacher = sides(places=0)
    losses = fused_distance(objective, student, teacher, torch.ones(0))
    assert losses.shape == (4,) and not losses.any()
    assert not any(gradient.any() for gradient in torch.autograd.grad(losses.sum(), tensors(student)))


def test_a_student_that_is_its_teacher_has_no_loss_and_no_gradient() -> None:
    """Exactly: the same arithmetic on both sides."""
    student, _ = sides(torch.float32)
    copy = Decoder(*(part.detach() for part in (student.decoder.weight, student.decoder.bias) if part is not None))
    teacher = Words(student.inputs.detach(), copy, student.samples, student.shares, student.batch)
    losses = fused_distance(partial(kl, temperature=15.0), student, teacher, torch.ones(0))
    assert not losses.any()
    assert not any(gradient.any() for gradient in torch.autograd.grad(losses.sum(), tensors(student)))


class Largest(TorchDispatchMode):
    """How many numbers the largest tensor has that an operation gives."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for each in found if isinstance(found, tuple | list) else [found]:
            if isinstance(each, Tensor):
                self.numbers = max(self.numbers, each.numel())
        return found


@pytest.mark.parametrize("objective", [partial(kl, temperature=15.0), partial(mse, l2_norm=True), mse])
def test_the_logits_of_all_places_are_never_there_together(objective: Callable[..., Tensor]) -> None:
    places, words = 400, WORDS
    student, teacher = sides(torch.float32, places=places)
    with Largest() as largest:
        fused_distance(objective, student, teacher, torch.ones(0)).sum().backward()
    assert largest.numbers <= max(places * max(WIDTHS), 4 * words * max(WIDTHS)) < places * words


def test_without_logits_where_that_saves_products() -> None:
    assert pays(2048, 192, 384) and pays(608, 192, 384) and not pays(64, 192, 384)
    student, teacher = sides(torch.float32, places=400)
    with Largest() as largest:
        word_squared_error(student.inputs, student.decoder, teacher.inputs, teacher.decoder).sum().backward()
    assert largest.numbers < 3 * WORDS * 400 / 4, "not even a chunk of them"


@pytest.mark.parametrize("near", [1.0, 1e-1, 1e-2, 1e-3])
def test_single_precision_is_as_exact_as_with_logits(near: float) -> None:
    """The gradients' errors stay within three times those of the logits in float32, near the teacher too."""
    places, words, width = 300, 2000, 64
    weight, inputs = 0.05 * drawn(words, width, seed=1), drawn(places, width, seed=2)
    own = weight + 0.05 * near * drawn(words, width, seed=3), inputs + near * drawn(places, width, seed=4)
    bias = 0.02 * drawn(words, seed=5)
    own_bias = bias + 0.02 * near * drawn(words, seed=6)
    for objective in (partial(kl, temperature=15.0), mse):
        gradients = {}
        for name, dtype in (("exact", torch.float64), ("naive", torch.float32), ("fused", torch.float32)):
            leaves = [side.to(dtype).requires_grad_() for side in (own[1], own[0], own_bias)]
            shares, samples = torch.ones(places, dtype=dtype), torch.arange(places)
            student = Words(leaves[0], Decoder(leaves[1], leaves[2]), samples, shares, places)
            theirs = Decoder(weight.to(dtype), bias.to(dtype))
            teacher = Words(inputs.to(dtype), theirs, samples, shares, places)
            fused = partial(fused_distance, tokens=torch.ones(0))
            losses = (fused if name == "fused" else as_written)(objective, student, teacher)
            gradients[name] = torch.autograd.grad(losses.mean(), leaves)
        for exact, naive, ours in zip(*gradients.values(), strict=True):
            errors = [float((found.double() - exact).norm() / exact.norm()) for found in (naive, ours)]
            assert errors[1] <= 3 * max(errors[0], 1e-7)


def test_a_gradient_of_the_gradient_is_refused() -> None:
    student, teacher = sides()
    for losses in (
        fused_distance(kl, student, teacher, torch.ones(0)),
        word_squared_error(student.inputs, student.decoder, teacher.inputs, teacher.decoder),
    ):
        with pytest.raises(KdbenchError, match="set fused=false"):
            torch.autograd.grad(losses.sum(), student.inputs, create_graph=True)


def test_half_precision_is_compared_in_single() -> None:
    student, teacher = sides(torch.float32)
    expected = fused_distance(kl, student, teacher, torch.ones(0))
    with torch.autocast("cpu", torch.bfloat16):
        found = fused_distance(kl, student, teacher, torch.ones(0))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_a_chunk_of_a_divergence_leaves_its_gradient() -> None:
    """(softmax(student) - softmax(teacher)) in the place of the logits (Hinton et al. 2015, eq. 2)."""
    student, teacher = sides()
    logits = student.logits.detach().clone()
    expected = logits.softmax(-1) - teacher.logits.softmax(-1)
    Divergence(teacher.inputs[:3], teacher.decoder)(chunk := logits[:3].clone(), slice(0, 3))
    torch.testing.assert_close(chunk, expected[:3])
