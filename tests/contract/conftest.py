"""What the contract tests share: options found by listing files, configurations put together without Hydra's cost, and
the outputs of two tiny models."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from kdbench.config import CONF_DIR, complete
from kdbench.data.batch import NO_PLACE, Batch
from kdbench.data.batch import packed as to_packed
from kdbench.decoder import Decoder
from kdbench.head import ClassHead, WordHead
from kdbench.model import Model
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape
from kdbench.student.bert import bert

# Values for the options that have none of their own (`???`), right for the tiny student of 2 and teacher of 4 layers;
# and a margin that the small distances of two tiny models exceed.
NEEDS = {
    "matching/explicit": {"layers": [[1, 2], [2, 4]]},
    "initialization/teacher_list": {"layers": [2, 4]},
    "objective/margin": {"margin": 0.0},
}
LAYERS = {"student": 2, "teacher": 4}
LENGTHS = (6, 4, 2)


def options(group: str) -> list[str]:
    """The options of a group, by listing its folder."""
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A parameter named after a group runs over its options; `size` over student/size."""
    for name in ("knowledge", "matching", "projection", "objective", "initialization", "method", "size"):
        if name in metafunc.fixturenames:
            found = options({"size": "student/size"}.get(name, name))
            metafunc.parametrize(name, [option for option in found if option != "as_model"])  # a size of its own


@cache
def _composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("train", overrides=list(overrides))


@pytest.fixture(scope="session")
def option() -> Callable[[str, str], Any]:
    """The composed node of one option, as a plain dict: `option("knowledge", "hidden")`."""

    def node(group: str, name: str) -> Any:
        found = OmegaConf.to_container(_composed(f"{group}={name}")[group], resolve=False)
        return {**found, **NEEDS.get(f"{group}/{name}", {})}

    return node


@pytest.fixture(scope="session")
def cell(option: Callable[[str, str], Any]) -> Callable[..., DictConfig]:
    """A completed configuration of method=unified with these options on the axes."""
    base = OmegaConf.to_container(_composed("data=generated", "method=unified"))

    def configuration(**axes: str) -> DictConfig:
        cfg = OmegaConf.create(copy.deepcopy(base))
        for group, name in axes.items():
            cfg[group] = option(group, name)
        return complete(cfg)

    return configuration


class TwoHeads(Model):
    """A classifier, and beside it a masked language model of the same size: together they fill every field."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        labels = ClassHead(("one", "two", "three"))
        self.classifier, self.words = (
            bert(layers, 8, 2, 16, 30, head, max_positions=16) for head in (labels, WordHead())
        )

    @property
    def shape(self) -> Shape:
        shape = self.classifier.shape
        return replace(shape, taps=shape.taps | {"decoder_inputs"}, decoder_width=shape.width)

    @property
    def decoder(self) -> Decoder | None:
        return self.words.decoder

    def stop_after(self, layers: int) -> None:
        self.classifier.stop_after(layers)

    def forward(self, batch: Batch, taps: Taps) -> ModelOutputs:
        found: ModelOutputs = self.classifier(batch, replace(taps, decoder_inputs=False))
        if not taps.decoder_inputs:
            return found
        told: ModelOutputs = self.words(batch, Taps(decoder_inputs=True))
        return replace(found, decoder_inputs=told.decoder_inputs, decoder=told.decoder)

    def save(self, folder: Path) -> None:
        raise NotImplementedError


@pytest.fixture(scope="session")
def models() -> dict[str, Model]:
    """A student of 2 and a teacher of 4 layers, width 8, in double precision and evaluation mode."""
    torch.manual_seed(0)
    return {role: TwoHeads(layers).double().eval() for role, layers in LAYERS.items()}


@pytest.fixture(scope="session")
def batch() -> Callable[..., Batch]:
    """Three rows of 6, 4 and 2 tokens, with more padding if asked for."""

    def made(padding: int = 0, labels: torch.Tensor | None = None) -> Batch:
        generator = torch.Generator().manual_seed(1)
        ids = torch.randint(5, 30, (len(LENGTHS), max(LENGTHS)), generator=generator)
        mask = torch.arange(max(LENGTHS) + padding)[None] < torch.tensor(LENGTHS)[:, None]
        ids = torch.nn.functional.pad(ids, (0, padding)) * mask
        labels = torch.tensor([0, 2, 1]) if labels is None else labels
        words = torch.full_like(ids, NO_PLACE)
        for row, places in enumerate(((1, 4), (0,), (1,))):
            words[row, list(places)] = 7 + row
        return Batch(ids, mask, torch.zeros_like(ids), labels, torch.arange(len(LENGTHS)), words)

    return made


@pytest.fixture(scope="session")
def outputs(models: dict[str, Model], batch: Callable[..., Batch]) -> Callable[..., ModelOutputs]:
    """Everything a model can hand out: `outputs("student", padding=3)`, run on real tokens alone if `packed`."""

    def captured(role: str, padding: int = 0, labels: torch.Tensor | None = None, packed: bool = False) -> ModelOutputs:
        layers = frozenset(range(1, LAYERS[role] + 1))
        taps = Taps(
            True, layers | {0}, layers | {0}, layers | {0}, layers, layers, layers, layers, layers, layers, True
        )
        data = batch(padding, labels)
        return models[role](to_packed(data) if packed else data, taps)

    return captured
