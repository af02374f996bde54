"""One optimizer step and what is kept of it: accumulation, clipping, decay, rates, history, modes, precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kdbench.data.batch import Batch
from kdbench.data.split import Split
from kdbench.error import KdbenchError
from kdbench.head import ClassHead
from kdbench.lr_schedule import constant, linear
from kdbench.model import Model
from kdbench.module.fit import Fit, fit
from kdbench.module.fitted import Fitted
from kdbench.module.predict import predict
from kdbench.module.teacher import TeacherModule
from kdbench.module.training import BatchStream, Training
from kdbench.student.bert import bert

Bags = Callable[..., Model]
Settings = Callable[..., Training]
SCORE = "validation/accuracy"


class Recording(torch.optim.SGD):
    """Keeps the gradient (one vector) and the learning rates of each step."""

    def __init__(self, groups: Iterable[Any], lr: float = 0.1) -> None:
        super().__init__(groups, lr=lr)
        self.gradients: list[Tensor] = []
        self.rates: list[list[float]] = []
        RECORDINGS.append(self)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        self.gradients.append(torch.cat([parameter.grad.flatten() for parameter in parameters]))
        self.rates.append([group["lr"] for group in self.param_groups])
        super().step(closure)


RECORDINGS: list[Recording] = []


def train(
    module: Fitted,
    split: Split,
    folder: Path,
    evaluate: Callable[[], dict[str, float]] = lambda: {SCORE: 0.5},
    precision: str = "f32",
) -> Fit:
    return fit(module, BatchStream(split, module.settings, 1, 0), evaluate, SCORE, folder, "cpu", precision)


def teacher(
    model: Model, training: Training, split: Split, optimizer: Any = Recording, schedule: Any = constant
) -> Any:
    return TeacherModule(model, optimizer, schedule, training, training.steps(len(split)))


@pytest.mark.parametrize("accumulate", [2, 3, 7, 50])
def test_micro_batches_give_the_gradient_of_the_whole_batch(
    bag: Bags, rows: Split, training: Settings, tmp_path: Path, accumulate: int
) -> None:
    """Of 7 rows a step, in equal and in ragged parts, in float64."""
    gradients = []
    for parts in (1, accumulate):
        folder = tmp_path / str(parts)
        folder.mkdir()
        train(teacher(bag().double(), training(batch_size=7, accumulate=parts), rows), rows, folder)
        gradients.append(torch.stack(RECORDINGS[-1].gradients))
    assert len(gradients[0]) == 8 and gradients[0].abs().max() > 1e-3
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-12, atol=1e-14)


def test_clipping_scales_a_gradient_that_is_too_long_and_no_other(
    bag: Bags, rows: Split, training: Settings, tmp_path: Path
) -> None:
    first = []
    for clip_norm in (None, 0.01, 1e6):
        train(teacher(bag(), training(max_steps=1, clip_norm=clip_norm), rows), rows, tmp_path)
        first.append(RECORDINGS[-1].gradients[0])
    free, clipped, loose = first
    assert free.norm() > 0.02
    torch.testing.assert_close(clipped, free * (0.01 / free.norm()), rtol=1e-4, atol=0)
    assert torch.equal(loose, free)


def test_biases_and_norms_are_not_decayed(training: Settings, rows: Split) -> None:
    model = bert(1, 8, 2, 16, vocabulary=11, head=ClassHead(("no", "yes")))
    module = teacher(model, training(), rows, partial(torch.optim.AdamW, weight_decay=0.3))
    decay = {
        id(parameter): group["weight_decay"]
        for group in module.configure_optimizers().param_groups
        for parameter in group["params"]
    }
    for name, parameter in model.named_parameters():
        spared = name.endswith("bias") or "LayerNorm" in name
        assert decay.pop(id(parameter)) == (0.0 if spared else 0.3), name
    assert not decay


def test_what_asks_for_no_gradient_is_not_optimized(bag: Bags, training: Settings, rows: Split) -> None:
    model = bag()
    model.get_submodule("embedding").requires_grad_(False)
    optimizer = teacher(model, training(), rows).configure_optimizers()
    optimized = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert optimized == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}


def test_the_learning_rate_follows_its_schedule(bag: Bags, rows: Split, training: Settings, tmp_path: Path) -> None:
    optimizer = partial(Recording, lr=0.25)
    module = teacher(bag(), training(epochs=2), rows, optimizer, partial(linear, warmup_share=0.25))
    train(module, rows, tmp_path)
    assert module.steps == 12
    expected = [0.25 * linear(step, 12, warmup_share=0.25) for step in range(12)]
    assert [rate for rate, _ in RECORDINGS[-1].rates] == pytest.approx(expected)
    assert all(matrices == vectors for matrices, vectors in RECORDINGS[-1].rates)


class Scripted(Fitted):
    """The losses are given numbers, whatever the weights: a constant `flat`, and the step's entry of a script."""

    names = ("flat", "scripted")

    def __init__(self, model: Model, training: Training, steps: int, script: Callable[[int, Batch], float]) -> None:
        super().__init__(model, Recording, constant, training, steps)
        self.script = script

    def losses(self, batch: Batch, micro_batch: int = 0) -> Tensor:
        nothing = torch.stack([parameter.sum() for parameter in self.model.parameters()]).sum() * 0.0
        return torch.stack([nothing + 2.0, nothing + self.script(self.done, batch)])


def test_the_history_holds_mean_losses_since_the_last_reading(
    bag: Bags, rows: Split, training: Settings, tmp_path: Path
) -> None:
    """6 steps an epoch; losses are read every 4 steps, at every evaluation and at the end."""
    chosen = training(epochs=1.5, log_every_steps=4)
    done = train(Scripted(bag(), chosen, 9, lambda step, _: float(step)), rows, tmp_path)
    read = [entry for entry in done.history if "train/loss" in entry]
    assert [entry["step"] for entry in read] == [4, 6, 8, 9]
    assert [entry["train/term/scripted"] for entry in read] == [1.5, 4.5, 6.5, 8.0]
    assert all(entry["train/loss"] == entry["train/term/scripted"] + 2.0 for entry in read)
    assert [entry["step"] for entry in done.history if SCORE in entry] == [6, 9]


def test_a_step_of_micro_batches_reports_the_mean_of_its_rows(
    bag: Bags, rows: Split, training: Settings, tmp_path: Path
) -> None:
    chosen = training(epochs=1, batch_size=22, accumulate=3)
    done = train(Scripted(bag(), chosen, 1, lambda _, part: float(part.index.double().mean())), rows, tmp_path)
    assert done.history[0]["train/term/scripted"] == pytest.approx(sum(range(22)) / 22)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_its_term(
    bag: Bags, rows: Split, training: Settings, tmp_path: Path, value: float
) -> None:
    chosen = training(checkpoint_every_steps=1)
    module = Scripted(bag(), chosen, 12, lambda step, _: value if step == 3 else 1.0)
    with pytest.raises(KdbenchError, match=rf"'scripted' became {value} between step 3 and 4: .* optimizer\.lr"):
        train(module, rows, tmp_path)
    # The checkpoint is of the last step whose losses were finite.
    assert torch.load(tmp_path / "resume.pt", weights_only=True)["module"]["done"] == 3


def test_a_diverged_teacher_names_its_own_learning_rate(
    bag: Bags, rows: Split, training: Settings, tmp_path: Path
) -> None:
    module = teacher(bag(), training(log_every_steps=1), rows, partial(Recording, lr=1e38))
    with pytest.raises(KdbenchError, match=r"'label' became .* lower teacher\.optimizer\.lr or teacher\.training\."):
        train(module, rows, tmp_path)


def test_a_loaded_model_is_trained_in_train_mode_and_evaluated_in_evaluation_mode(
    bag: Bags, rows: Split, training: Settings, tmp_path: Path
) -> None:
    model = bag(dropout=0.5)
    seen: dict[str, list[bool]] = {"losses": [], "evaluation": []}
    dropout = model.get_submodule("dropout")
    doing = "losses"
    dropout.register_forward_hook(lambda part, *_: seen[doing].append(part.training))

    def evaluate() -> dict[str, float]:
        nonlocal doing
        doing = "evaluation"
        predict(model, rows, 4, 0, "cpu")
        doing = "losses"
        return {SCORE: 0.5}

    assert not model.training
    train(teacher(model, training(), rows), rows, tmp_path, evaluate)
    assert seen["losses"] == [True] * 12 and seen["evaluation"] and not any(seen["evaluation"])


@pytest.mark.parametrize("training_mode", [True, False])
def test_predictions_leave_mode_and_random_state_as_they_were(bag: Bags, rows: Split, training_mode: bool) -> None:
    model = bag(dropout=0.5).train(training_mode)
    before = torch.get_rng_state()
    first = predict(model, rows, 4, 0, "cpu")
    assert model.training is training_mode and torch.equal(torch.get_rng_state(), before)
    assert (first == predict(model, rows, 4, 0, "cpu")).all()
    torch.testing.assert_close(torch.from_numpy(predict(model, rows, 22, 0, "cpu")), torch.from_numpy(first))


def test_bf16_trains_weights_that_stay_in_float32(bag: Bags, rows: Split, training: Settings, tmp_path: Path) -> None:
    model = bag()
    kinds = set()
    model.get_submodule("classifier").register_forward_hook(lambda _, __, output: kinds.add(output.dtype))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    done = train(teacher(model, training(epochs=4), rows), rows, tmp_path, precision="bf16")
    losses = [entry["train/loss"] for entry in done.history if "train/loss" in entry]
    assert kinds == {torch.bfloat16} and losses[-1] < losses[0]
    after = model.state_dict()
    assert all(value.dtype == torch.float32 for value in after.values())
    assert any(not torch.equal(value, before[name]) for name, value in after.items())


def scored(scores: Iterable[float], model: Model) -> tuple[Callable[[], dict[str, float]], list[Tensor]]:
    """An evaluation that gives these scores, and the weights it saw."""
    remaining: Iterator[float] = iter(scores)
    seen: list[Tensor] = []

    def evaluate() -> dict[str, float]:
        seen.append(torch.nn.utils.parameters_to_vector(model.parameters()).clone())
        return {SCORE: next(remaining)}

    return evaluate, seen


@pytest.mark.parametrize(
    ("given", "scores", "evaluations", "kept"),
    [
        ({"epochs": 3}, [0.5, 0.7, 0.6], 3, 1),
        ({"epochs": 3}, [0.5, 0.7, 0.7], 3, 1),  # of equal scores the first
        ({"epochs": 3, "keep": "last"}, [0.5, 0.7, 0.6], 3, 2),
        ({"epochs": 6, "patience": 2}, [0.5, 0.7, 0.6, 0.7], 4, 1),
        ({"epochs": 5, "patience": 2}, [0.5, 0.4, 0.6, 0.5, 0.7], 5, 4),
        # Better than the last evaluation is not better than the best.
        ({"epochs": 6, "patience": 2, "keep": "last"}, [0.5, 0.7, 0.5, 0.6], 4, 3),
    ],
)
def test_the_kept_weights_and_the_early_stop(
    bag: Bags,
    rows: Split,
    training: Settings,
    tmp_path: Path,
    given: dict[str, Any],
    scores: list[float],
    evaluations: int,
    kept: int,
) -> None:
    model = bag()
    evaluate, seen = scored(scores, model)
    done = train(teacher(model, training(**given), rows), rows, tmp_path, evaluate)
    assert len(seen) == evaluations and done.steps == 6 * evaluations
    assert done.metrics == {SCORE: scores[kept]}
    assert torch.equal(torch.nn.utils.parameters_to_vector(model.parameters()), seen[kept])


@pytest.mark.parametrize(("seconds", "written"), [(0.0, [6, 12]), (math.inf, [])])
def test_an_evaluation_is_followed_by_a_checkpoint_where_that_saves_time(
    bag: Bags,
    rows: Split,
    training: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    written: list[int],
) -> None:
    """Not after the last evaluation, which the artefact follows."""
    steps: list[int] = []
    monkeypatch.setattr("kdbench.module.fit.WORTH_KEEPING", seconds)
    monkeypatch.setattr("kdbench.module.fit.Watch._write", lambda _, module: steps.append(module.done))
    train(teacher(bag(), training(epochs=3), rows), rows, tmp_path)
    assert steps == written


def test_a_score_that_no_evaluation_gives_is_refused(
    bag: Bags, rows: Split, training: Settings, tmp_path: Path
) -> None:
    with pytest.raises(KdbenchError, match=r"no evaluation gives validation/accuracy: choose data\.metrics"):
        train(teacher(bag(), training(), rows), rows, tmp_path, lambda: {"validation/f1": 1.0})
