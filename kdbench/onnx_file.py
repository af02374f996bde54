"""A student as an ONNX file: what runs it needs neither kdbench nor torch, and factored maps stay factored."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdbench.encoder.base import Encoder
from kdbench.error import KdbenchError

FILE = "model.onnx"
SAME = 1e-4
"""By how much a logit of the file may differ from the student's."""


def write_onnx(student: Encoder, folder: Path, choices: int = 1) -> Path:
    """Write `model.onnx` with the inputs of transformers, (B, S) int64 each, or (B, K, S) of K choices a row, and its
    output `logits`, of a reader of spans `start_logits` and `end_logits`; batch and length are free. It is run once and
    compared with the student.

    Args:
        student: on the CPU.
        folder: is there.
        choices: of a student that chooses between sequences, how many a row has.

    Raises:
        KdbenchError: a package that is missing, or a file that says something else than the student.
    """
    _need_packages()
    model, outputs = _Scores(student).eval(), output_names(student)
    sample = _inputs(student, 2, 7, choices)
    free = {0: "batch", len(next(iter(sample.values())).shape) - 1: "length"}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own, about names that it chooses
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program: Any = torch.onnx.export(
            model,
            tuple(sample.values()),
            dynamo=True,
            input_names=list(sample),
            output_names=outputs,
            dynamic_shapes=(tuple(free for _ in sample),),
            verbose=False,
        )
    program.save(str(folder / FILE))
    _compare(model, folder / FILE, _inputs(student, 3, 11, choices))
    return folder / FILE


class _Scores(nn.Module):
    """The model of transformers with the inputs that it takes, in order."""

    def __init__(self, student: Encoder) -> None:
        super().__init__()
        self.model, self.names, self.outputs = student.model, input_names(student), output_names(student)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        found = self.model(**dict(zip(self.names, inputs, strict=True)), return_dict=True)
        return tuple(found[name] for name in self.outputs)


def output_names(student: Encoder) -> list[str]:
    """What transformers calls the scores of such a model."""
    return ["start_logits", "end_logits"] if student.shape.spans else ["logits"]


def input_names(student: Encoder) -> list[str]:
    """What the tokenizer's output is called where it goes in."""
    types = getattr(student.model.config, "type_vocab_size", 0) > 1
    return ["input_ids", "attention_mask", *(["token_type_ids"] if types else [])]


def _inputs(student: Encoder, rows: int, length: int, choices: int) -> dict[str, Tensor]:
    """Rows of unlike lengths, the first of them full."""
    shape = (rows, choices, length) if choices > 1 else (rows, length)
    words = student.model.config.vocab_size
    ids = torch.arange(int(np.prod(shape))).view(shape) % words
    lengths = (length - torch.arange(rows)).view(-1, *[1] * (len(shape) - 1))
    mask = (torch.arange(length).expand(shape) < lengths).long()
    found = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    return {name: found[name] for name in input_names(student)}


def _compare(model: nn.Module, path: Path, inputs: dict[str, Tensor]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {name: values.numpy() for name, values in inputs.items()})
    with torch.inference_mode():
        expected = [scores.numpy() for scores in model(*inputs.values())]
    pairs = list(zip(found, expected, strict=True))
    if not all(a.shape == b.shape and np.allclose(a, b, atol=SAME, rtol=SAME) for a, b in pairs):
        raise KdbenchError(
            f"{path.name} does not give the student's logits: export without --onnx, and report which student it was"
        )


def _need_packages() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(package)
        except ImportError as error:
            raise KdbenchError(
                f"--onnx needs the package {package}: install it with pip install -c constraints.txt '.[onnx]'"
            ) from error
