"""Adaptive temperatures against loops over plain numbers, their options, and their place on the command line."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

import kdbench
from kdbench.check import check
from kdbench.config import CONF_DIR, compose, instantiate
from kdbench.error import KdbenchError
from kdbench.objective.kl import kl
from kdbench.temperature.cwsm import cwsm
from kdbench.temperature.flsw import flsw

Overrides = Callable[..., list[str]]
FILES = sorted((CONF_DIR / "temperature").glob("*.yaml"))
SOFT = "stages.task.terms.soft.objective.temperature"
MASK = torch.tensor([[True, True, False], [True, False, False], [True, True, True], [False, False, False]])
every = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def tensors(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


def built(file: Path) -> Any:
    return instantiate(OmegaConf.to_container(OmegaConf.load(file)))


def disagreement(student: list[float], teacher: list[float], gamma: float) -> float:
    product = sum(x * y for x, y in zip(student, teacher, strict=True))
    lengths = math.sqrt(sum(x * x for x in student)) * math.sqrt(sum(y * y for y in teacher))
    return float((1 - product / lengths) ** gamma)


def doubt(student: list[float]) -> float:
    powers = [math.exp(score) for score in student]
    return 1 / (max(powers) / sum(powers) + 1e-3)


@pytest.mark.parametrize("gamma", [1.0, 2.0, 0.5])
@pytest.mark.parametrize("beta", [1.0, -2.0])
def test_flsw_equals_loops(gamma: float, beta: float) -> None:
    student, teacher = tensors(5, 4)
    weights = [disagreement(s, t, gamma) for s, t in zip(student.tolist(), teacher.tolist(), strict=True)]
    expected = [8.0 + beta * (sum(weights) / 5 - weight) for weight in weights]
    assert flsw(student, teacher, None, 8.0, beta, gamma).tolist() == pytest.approx(expected, abs=1e-6)


def test_cwsm_equals_loops() -> None:
    student, teacher = tensors(5, 4)
    weights = [doubt(row) for row in student.tolist()]
    expected = [8.0 + 2.0 * (sum(weights) / 5 - weight) for weight in weights]
    assert cwsm(student, teacher, None, 8.0, 2.0).tolist() == pytest.approx(expected, abs=1e-6)


def test_rows_of_tokens_have_the_mean_of_the_real_ones() -> None:
    student, teacher = tensors(4, 3, 5)
    found = flsw(student, teacher, MASK[:, :, None], base=8.0)
    places = [(sample, place) for sample in range(4) for place in range(3) if MASK[sample, place]]
    weights = [disagreement(student[place].tolist(), teacher[place].tolist(), 1.0) for place in places]
    for place, weight in zip(places, weights, strict=True):
        assert found[place].item() == pytest.approx(8.0 + sum(weights) / len(weights) - weight, abs=1e-6)


@every
def test_padding_changes_no_temperature_of_a_real_row(file: Path) -> None:
    student, teacher = tensors(4, 2, 3, 3)
    pairs = MASK[:, None, :, None] & MASK[:, None, None, :]
    real = MASK[:, None, :].expand(4, 2, 3)
    found = built(file)(student, teacher, pairs)
    moved = built(file)(torch.where(pairs, student, 1e3), torch.where(pairs, teacher, -1e3), pairs)
    torch.testing.assert_close(moved[real], found[real], atol=1e-12, rtol=0)
    torch.testing.assert_close(found[real].mean(), found.new_tensor(4.0))
    assert built(file)(student, teacher, torch.zeros_like(pairs)).isfinite().all(), "no row at all"


@every
def test_a_lone_or_even_batch_has_the_base_and_a_harder_sample_is_colder(file: Path) -> None:
    student, teacher = tensors(4, 5)
    assert built(file)(student[:1], teacher[:1], None).tolist() == pytest.approx([4.0])
    same = student[:1].expand(3, 5), teacher[:1].expand(3, 5)
    assert built(file)(*same, None).tolist() == pytest.approx([4.0] * 3)
    sure = torch.tensor([[9.0, 0.0, 0.0], [0.1, 0.0, 0.0]])
    agreed = torch.tensor([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    easy, hard = built(file)(sure, agreed, None).tolist()
    assert easy > 4.0 > hard


@every
def test_no_gradient_flows_and_no_temperature_falls_below_the_floor(file: Path) -> None:
    student, teacher = tensors(6, 5)
    student.requires_grad_()
    spread = instantiate({**OmegaConf.to_container(OmegaConf.load(file)), "beta": 1e3, "least": 0.25})  # type: ignore[dict-item]
    found = spread(student, teacher, None)
    assert not found.requires_grad and found.min().item() == 0.25 and found.max() > 4.0
    loss = kl(student, teacher, temperature=spread)
    loss.sum().backward()
    assert loss.isfinite().all() and student.grad is not None and student.grad.isfinite().all()


def test_equals_agree_to_the_last_bit_with_any_power() -> None:
    """Rounding may put a cosine above 1, whose distance has no root."""
    student = torch.randn(64, 7, generator=torch.Generator().manual_seed(0))
    assert flsw(student, 3 * student, gamma=0.5).isfinite().all()


@every
def test_an_option_has_the_parameters_of_its_function(file: Path) -> None:
    node = OmegaConf.load(file)
    module, _, name = str(node._target_).rpartition(".")
    assert module == f"kdbench.temperature.{file.stem}" and node._partial_ is True
    keys = {str(key) for key in node} - {"_target_", "_partial_"}
    called = getattr(import_module(module), name)
    assert set(inspect.signature(called).parameters) == keys | {"student", "teacher", "mask"}
    assert import_module(module).VERSION == 1
    defaults = {key: parameter.default for key, parameter in inspect.signature(called).parameters.items()}
    assert {key: node[key] for key in keys} == {key: defaults[key] for key in keys}


def test_every_module_is_an_option() -> None:
    modules = {file.stem for file in Path(import_module("kdbench.temperature").__path__[0]).glob("*.py")}
    assert modules - {"__init__", "base"} == {file.stem for file in FILES}


@every
@pytest.mark.parametrize(("override", "sentence"), [("base=0", "base=0 must be"), ("beta=x", "beta=x must be"),
                                                     ("least=-1", "least=-1 must be")])  # fmt: skip
def test_options_out_of_range_are_refused(tiny: Overrides, file: Path, override: str, sentence: str) -> None:
    chosen = tiny("method=kd", f"+temperature@{SOFT}={file.stem}")
    check(compose(chosen))
    with pytest.raises(KdbenchError, match=rf"stages\.task\.terms\.soft\.objective\.temperature\.{sentence}"):
        check(compose([*chosen, f"{SOFT}.{override}"]))


def test_gamma_must_be_positive(tiny: Overrides) -> None:
    with pytest.raises(KdbenchError, match=r"temperature\.gamma=0 must be a number greater than 0"):
        check(compose(tiny("method=kd", f"+temperature@{SOFT}=flsw", f"{SOFT}.gamma=0")))


def test_a_schedule_cannot_take_the_place_of_an_adaptive_temperature(tiny: Overrides) -> None:
    schedule = "stages.task.terms.soft.schedule.temperature"
    overrides = ["method=kd", f"+temperature@{SOFT}=flsw", f"+schedule@{schedule}=linear", f"{schedule}.end=2"]
    with pytest.raises(KdbenchError, match=r"^stages\.task\.terms\.soft\.schedule\.temperature would take the place"):
        check(compose(tiny(*overrides)))


@pytest.mark.parametrize(
    ("overrides", "place"),
    [
        (["method=kd", f"+temperature@{SOFT}=cwsm"], "soft.objective"),
        (["objective=kl", "+temperature@objective.temperature=cwsm"], "transfer.objective"),
        (
            ["objective=margin", "objective@objective.inner=kl", "+temperature@objective.inner.temperature=cwsm"],
            "transfer.objective.inner",
        ),
    ],
)
def test_the_command_line_puts_it_in_the_place_of_the_number(tiny: Overrides, overrides: list[str], place: str) -> None:
    cfg = compose(tiny(*overrides))
    assert OmegaConf.select(cfg.stages.task.terms, f"{place}.temperature._target_") == "kdbench.temperature.cwsm.cwsm"
    check(cfg)


@every
def test_it_trains(tiny: Overrides, file: Path) -> None:
    record = kdbench.run(compose(tiny("method=kd", f"+temperature@{SOFT}={file.stem}", "training.max_steps=2",
                                      "training.log_every_steps=1", "data.train_rows=64")))  # fmt: skip
    losses = [entry["train/term/soft"] for entry in record["history"] if "train/term/soft" in entry]
    assert len(losses) == 2 and all(math.isfinite(loss) and loss > 0 for loss in losses)
