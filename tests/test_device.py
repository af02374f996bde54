"""The choice of a device, with and without a GPU."""

from __future__ import annotations

import pytest
import torch

from kdbench.device import resolve_device
from kdbench.error import KdbenchError


@pytest.mark.parametrize(
    ("accelerator", "gpu", "device"),
    [("auto", False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu"), ("gpu", True, "cuda")],
)
def test_a_choice_that_can_be_had(accelerator: str, gpu: bool, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert resolve_device(accelerator) == device


@pytest.mark.parametrize(
    ("accelerator", "sentence"),
    [
        ("gpu", "device=gpu, but this machine has no GPU"),
        ("tpu", r"device\.accelerator=tpu is unknown; choose auto, cpu"),
    ],
)
def test_a_choice_that_cannot(accelerator: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(KdbenchError, match=sentence):
        resolve_device(accelerator)
