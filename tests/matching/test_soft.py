"""Matchings in which a student layer meets several teacher layers, against references written another way."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from kdbench.error import ImpossibleError, KdbenchError
from kdbench.knowledge.attention import Attention
from kdbench.knowledge.hidden import Hidden
from kdbench.matching.attention_weighted import AttentionWeighted
from kdbench.matching.base import Matching, refuse_unmixable
from kdbench.matching.block import Block
from kdbench.matching.emd import Emd, flow
from kdbench.matching.learned import Learned, LearnedPairing
from kdbench.matching.uniform import Uniform
from kdbench.objective.mse import mse
from kdbench.outputs import ModelOutputs
from kdbench.projection.identity import Identity
from kdbench.term import Term

LENGTHS = (5, 3, 1)
SOFT = [Block(), Emd(), Learned(), AttentionWeighted(), AttentionWeighted(scaled=True, detach=True)]


def outputs(layers: int, seed: int, width: int = 6, padding: int = 0) -> ModelOutputs:
    """Drawn hidden states; what stands at padded places differs from padding to padding."""
    generator = torch.Generator().manual_seed(seed)
    hidden = {
        layer: torch.randn(3, max(LENGTHS), width, generator=generator, dtype=torch.float64)
        for layer in range(layers + 1)
    }
    if padding:
        hidden = {layer: nn.functional.pad(values, (0, 0, 0, padding), value=9.0) for layer, values in hidden.items()}
    mask = torch.arange(max(LENGTHS) + padding)[None] < torch.tensor(LENGTHS)[:, None]
    for values in hidden.values():
        values.requires_grad_()
    lengths = torch.tensor(LENGTHS)[:, None]
    return ModelOutputs(
        mask=mask,
        hidden=hidden,
        cls={layer: values[:, 0] for layer, values in hidden.items()},
        mean={layer: (values * mask[:, :, None]).sum(dim=1) / lengths for layer, values in hidden.items()},
    )


def term(
    matching: Matching, view: str = "tokens", embeddings: bool = False, reduction: str = "sum", layers: tuple = (3, 6)
) -> Term:
    knowledge = Hidden(embeddings, view=view)  # type: ignore[arg-type]
    pairing = matching.pairing(knowledge.pairs(matching.pairs(*layers)), reduction, seed=1)  # type: ignore[arg-type]
    return Term("hidden", knowledge, mse, pairing, Identity(6, 6, [], []))


def distance(student: ModelOutputs, teacher: ModelOutputs, ours: int, theirs: int) -> Tensor:
    return mse(student.hidden[ours], teacher.hidden[theirs], student.mask[:, :, None])


@pytest.mark.parametrize("matching", SOFT, ids=lambda matching: type(matching).__name__)
@pytest.mark.parametrize("view", ["tokens", "cls", "mean", "spans"])
def test_padding_changes_nothing(matching: Matching, view: str) -> None:
    made = term(matching, view, embeddings=True)
    short = made(outputs(3, 0), outputs(6, 1))
    torch.testing.assert_close(made(outputs(3, 0, padding=4), outputs(6, 1, padding=4)), short, atol=1e-12, rtol=0)


@pytest.mark.parametrize("matching", SOFT, ids=lambda matching: type(matching).__name__)
@pytest.mark.parametrize(("reduction", "divisor"), [("sum", 1), ("mean", 4)])
def test_the_embeddings_stay_apart_and_count_once(matching: Matching, reduction: str, divisor: int) -> None:
    student, teacher = outputs(3, 0), outputs(6, 1)
    mixed = term(matching)(student, teacher)
    both = term(matching, embeddings=True, reduction=reduction)(student, teacher)
    torch.testing.assert_close(both, (mixed + distance(student, teacher, 0, 0)) / divisor)


def test_a_block_is_the_mean_of_its_distances() -> None:
    student, teacher = outputs(2, 0), outputs(5, 1)
    blocks = {1: (1, 2), 2: (3, 4, 5)}
    means = [
        torch.stack([distance(student, teacher, ours, theirs) for theirs in block]).mean(dim=0)
        for ours, block in blocks.items()
    ]
    torch.testing.assert_close(term(Block(), layers=(2, 5))(student, teacher), means[0] + means[1])
    averaged = term(Block(), layers=(2, 5), reduction="mean")(student, teacher)
    torch.testing.assert_close(averaged, (means[0] + means[1]) / 2)


# ---- attention-weighted


def alp(student: ModelOutputs, teacher: ModelOutputs, scaled: bool = False) -> Tensor:
    """ALP-KD in plain loops, on [CLS]."""
    losses = []
    for sample in range(3):
        total = 0.0
        for ours in (1, 2, 3):
            vector = student.hidden[ours][sample, 0].tolist()
            theirs = [teacher.hidden[layer][sample, 0].tolist() for layer in range(1, 7)]
            products = [math.fsum(a * b for a, b in zip(vector, other, strict=True)) for other in theirs]
            powers = [math.exp(product / (6**0.5 if scaled else 1.0)) for product in products]
            weights = [power / sum(powers) for power in powers]
            mixed = [math.fsum(w * other[d] for w, other in zip(weights, theirs, strict=True)) for d in range(6)]
            total += sum((a - b) ** 2 for a, b in zip(vector, mixed, strict=True)) / 6
        losses.append(total)
    return torch.tensor(losses, dtype=torch.float64)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("detach", [False, True])
def test_the_mix_is_that_of_the_paper(scaled: bool, detach: bool) -> None:
    student, teacher = outputs(3, 0), outputs(6, 1)
    found = term(AttentionWeighted(scaled, detach), "cls")(student, teacher)
    torch.testing.assert_close(found, alp(student, teacher, scaled), atol=1e-12, rtol=1e-12)


def test_all_tokens_are_mixed_by_the_weights_of_the_first() -> None:
    student, teacher = outputs(1, 0), outputs(2, 1)
    products = torch.stack([(student.hidden[1][:, 0] * teacher.hidden[i][:, 0]).sum(dim=1) for i in (1, 2)])
    share = torch.sigmoid(products[0] - products[1])[:, None, None]
    mixed = share * teacher.hidden[1] + (1 - share) * teacher.hidden[2]
    expected = mse(student.hidden[1], mixed, student.mask[:, :, None])
    torch.testing.assert_close(term(AttentionWeighted(), layers=(1, 2))(student, teacher), expected)


def test_detached_weights_give_the_gradient_of_a_given_target() -> None:
    student, teacher = outputs(1, 0), outputs(4, 1)
    gradients = {}
    for detach in (True, False):
        loss = term(AttentionWeighted(detach=detach), "cls", layers=(1, 4))(student, teacher).sum()
        gradients[detach] = torch.autograd.grad(loss, student.hidden[1])[0][:, 0]
    vector = student.hidden[1].detach()[:, 0]
    layers = torch.stack([teacher.hidden[layer].detach()[:, 0] for layer in range(1, 5)], dim=1)
    mixed = ((vector[:, None] * layers).sum(-1).softmax(1)[..., None] * layers).sum(1)
    torch.testing.assert_close(gradients[True], 2 * (vector - mixed) / 6)
    assert not torch.allclose(gradients[False], gradients[True])


def test_a_teacher_of_one_layer_is_its_own_mix() -> None:
    student, teacher = outputs(2, 0), outputs(1, 1)
    plain = distance(student, teacher, 1, 1) + distance(student, teacher, 2, 1)
    torch.testing.assert_close(term(AttentionWeighted(), layers=(2, 1))(student, teacher), plain)


def test_a_mix_of_what_has_no_width_is_refused() -> None:
    maps = {layer: torch.zeros(3, 2, 5, 5) for layer in (1, 2)}
    captured = ModelOutputs(mask=torch.ones(3, 5, dtype=torch.bool), scores=maps)
    matching = AttentionWeighted()
    made = Term("attention", Attention(), mse, matching.pairing(matching.pairs(2, 2), "sum", 1), Identity(0, 0, [], []))
    with pytest.raises(ImpossibleError, match="matching=uniform for a knowledge without a width"):
        made(captured, captured)


@pytest.mark.parametrize(
    ("widths", "projected", "complaint"),
    [
        ((None, None), False, "reads what has no width, such as attention maps: choose matching=uniform"),
        ((None, None), True, "no width"),
        ((8, 16), False, "the student's is 8 and the teacher's 16: choose projection=to_teacher"),
    ],
)
def test_what_cannot_be_mixed_is_refused_with_the_way_out(
    widths: tuple[int | None, int | None], projected: bool, complaint: str
) -> None:
    with pytest.raises(ImpossibleError, match=complaint):
        refuse_unmixable("stages.task.terms.transfer", *widths, projected)


def test_vectors_of_one_width_can_be_mixed() -> None:
    refuse_unmixable("stages.task.terms.transfer", 8, 8, projected=False)
    refuse_unmixable("stages.task.terms.transfer", 8, 16, projected=True)


# ---- optimal transport


def cheapest(costs: np.ndarray) -> float:
    """The least cost of a transport between uniform masses, as a linear programme."""
    rows, columns = costs.shape
    marginals = [np.kron(np.eye(rows), np.ones(columns)), np.kron(np.ones(rows), np.eye(columns))]
    masses = [*[1 / rows] * rows, *[1 / columns] * columns]
    return float(linprog(costs.ravel(), A_eq=np.vstack(marginals), b_eq=masses, bounds=(0, None)).fun)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 4), (3, 6), (4, 12), (5, 12), (6, 6), (7, 3)])
def test_the_flow_is_the_cheapest_and_keeps_its_marginals(rows: int, columns: int) -> None:
    for seed in range(5):
        costs = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed))
        plan = flow(costs)
        assert plan.dtype == torch.float64 and bool((plan >= 0).all())
        torch.testing.assert_close(plan.sum(dim=1), torch.full((rows,), 1 / rows, dtype=torch.float64))
        torch.testing.assert_close(plan.sum(dim=0), torch.full((columns,), 1 / columns, dtype=torch.float64))
        assert float((plan * costs).sum()) == pytest.approx(cheapest(costs.double().numpy()), abs=1e-9)


def test_a_flow_by_hand() -> None:
    """Two student and three teacher layers: each end goes to its own, the middle one is shared between them."""
    costs = torch.tensor([[0.0, 1.0, 3.0], [3.0, 1.0, 0.0]])
    expected = torch.tensor([[1 / 3, 1 / 6, 0.0], [0.0, 1 / 6, 1 / 3]], dtype=torch.float64)
    torch.testing.assert_close(flow(costs), expected)


@pytest.mark.parametrize(("reduction", "masses"), [("mean", 1), ("sum", 3)])
def test_the_loss_is_the_transported_distance(reduction: str, masses: int) -> None:
    student, teacher = outputs(3, 0), outputs(6, 1)
    table = torch.stack(
        [torch.stack([distance(student, teacher, i, j) for j in range(1, 7)]) for i in range(1, 4)]
    )  # (3, 6, B)
    found = term(Emd(), reduction=reduction)(student, teacher)
    assert float(found.detach().mean()) == pytest.approx(masses * cheapest(table.detach().mean(-1).numpy()), rel=1e-9)
    plan = flow(table.detach().mean(-1))
    torch.testing.assert_close(found, masses * (plan[..., None] * table).sum(dim=(0, 1)))
    ours = torch.autograd.grad(found.sum(), student.hidden[2], retain_graph=True)[0]
    given = torch.autograd.grad(masses * (plan[..., None] * table).sum(), student.hidden[2])[0]
    torch.testing.assert_close(ours, given)


def test_layers_in_another_order_are_transported_for_nothing() -> None:
    teacher = outputs(4, 1)
    student = ModelOutputs(
        mask=teacher.mask, hidden={i: teacher.hidden[place] for i, place in enumerate((0, 3, 1, 4, 2))}
    )
    torch.testing.assert_close(
        term(Emd(), layers=(4, 4))(student, teacher), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0
    )
    assert float(term(Uniform(), layers=(4, 4))(student, teacher).detach().sum()) > 1.0


def test_a_distance_that_is_not_finite_reaches_the_loss() -> None:
    student, teacher = outputs(3, 0), outputs(6, 1)
    broken = ModelOutputs(mask=student.mask, hidden={**student.hidden, 2: student.hidden[2] * torch.nan})
    assert not bool(term(Emd())(broken, teacher).isfinite().any())


# ---- learned


def test_learned_weights_begin_equal() -> None:
    student, teacher = outputs(3, 0), outputs(6, 1)
    pairs = itertools.product((1, 2, 3), range(1, 7))
    expected = sum(distance(student, teacher, ours, theirs) for ours, theirs in pairs)
    torch.testing.assert_close(term(Learned())(student, teacher), expected / 6)


def test_learned_weights_descend_towards_the_closest_layer() -> None:
    """The collapse of which the docstring warns; each student layer's weights sum to 1 all the while."""
    made = term(Learned(), layers=(2, 3))
    pairing = made.pairing
    assert isinstance(pairing, LearnedPairing) and [name for name, _ in made.named_parameters()] == ["pairing.scores"]
    assert pairing.scores.dim() == 1, "what has one axis is not decayed"
    student, teacher = outputs(2, 0), outputs(3, 1)
    costs = torch.stack(
        [torch.stack([distance(student, teacher, i, j).mean() for j in (1, 2, 3)]) for i in (1, 2)]
    ).detach()
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-3)
    for _ in range(200):
        optimizer.zero_grad()
        made(student, teacher).mean().backward()
        optimizer.step()
    weights = pairing.weights(costs).detach().reshape(2, 3)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))
    assert torch.equal(weights.argmax(dim=1), costs.argmin(dim=1)) and bool((weights.amax(dim=1) > 0.9).all())


def test_the_gradient_of_a_learned_weight() -> None:
    """d loss / d score_i = scale * weight_i * (distance_i - mean of the distances by weight)."""
    made = term(Learned(scale=3.0), layers=(1, 4))
    student, teacher = outputs(1, 0), outputs(4, 1)
    made(student, teacher).mean().backward()
    costs = torch.stack([distance(student, teacher, 1, theirs).mean() for theirs in range(1, 5)]).detach()
    assert isinstance(made.pairing, LearnedPairing) and made.pairing.scores.grad is not None
    expected = (3.0 * 0.25 * (costs - costs.mean())).float()
    torch.testing.assert_close(made.pairing.scores.grad, expected)


@pytest.mark.parametrize("scale", [0, -1.0, "fast", None])
def test_a_scale_is_positive(scale: float) -> None:
    with pytest.raises(KdbenchError, match=r"matching\.scale="):
        Learned(scale)


@pytest.mark.parametrize("option", ["scaled", "detach"])
def test_switches_are_switches(option: str) -> None:
    with pytest.raises(KdbenchError, match=f"matching.{option}=1 must be true or false"):
        AttentionWeighted(**{option: 1})
