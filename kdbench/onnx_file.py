"""A student as an ONNX file: what runs it needs neither kdbench nor torch, and factored maps stay factored."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdbench.error import KdbenchError
from kdbench.model import Model

FILE = "model.onnx"
SAME = 1e-4
"""By how much a logit of the file may differ from the student's."""


def write_onnx(called: nn.Module, student: Model, words: int, folder: Path, choices: int = 1) -> Path:
    """Write `model.onnx` with the inputs of transformers, (B, S) int64 each, or (B, K, S) of K choices a row, and its
    output `logits`, of a reader of spans `start_logits` and `end_logits`; batch and length are free. It is run once and
    compared with the student.

    Args:
        called: what is run, on the CPU: a model of transformers, or one that is called as these are.
        student: the same as a model of kdbench.
        words: rows of its word embedding.
        folder: is there.
        choices: of a student that chooses between sequences, how many a row has.

    Raises:
        KdbenchError: a package that is missing, or a file that says something else than the student.
    """
    _need_packages()
    names, outputs = input_names(student), output_names(student)
    model = _Scores(called, names, outputs).eval()
    sample = _inputs(names, words, 2, 7, choices)
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
    _compare(model, folder / FILE, _inputs(names, words, 3, 11, choices))
    return folder / FILE


class _Scores(nn.Module):
    """A model with the inputs that it takes, in order, and its scores."""

    def __init__(self, model: nn.Module, inputs: list[str], outputs: list[str]) -> None:
        super().__init__()
        self.model, self.names, self.outputs = model, inputs, outputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        found = self.model(**dict(zip(self.names, inputs, strict=True)), return_dict=True)
        return tuple(found[name] for name in self.outputs)


def output_names(student: Model) -> list[str]:
    """What transformers calls the scores of such a model."""
    return ["start_logits", "end_logits"] if student.shape.spans else ["logits"]


def input_names(student: Model) -> list[str]:
    """What the tokenizer's output is called where it goes in."""
    return ["input_ids", "attention_mask", *(["token_type_ids"] if student.reads_types else [])]


def _inputs(names: list[str], words: int, rows: int, length: int, choices: int) -> dict[str, Tensor]:
    """Rows of unlike lengths, the first of them full, the last third of each a second text."""
    shape = (rows, choices, length) if choices > 1 else (rows, length)
    ids = torch.arange(int(np.prod(shape))).view(shape) % words
    lengths = (length - torch.arange(rows)).view(-1, *[1] * (len(shape) - 1))
    places = torch.arange(length).expand(shape)
    mask = (places < lengths).long()
    found = {"input_ids": ids, "attention_mask": mask, "token_type_ids": (places > 2 * length // 3).long() * mask}
    return {name: found[name] for name in names}


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
