"""One run with torchdistill 1.1.5: a distillation box that collects what its forward hooks see.

Its core is made for images and imports torchvision, of which nothing is used here: empty modules stand in for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from benchmarks.models import STUDENT, hugging_face
from benchmarks.peer import peer
from benchmarks.task import CLIP_NORM, LEARNING_RATE, PADDING_ID, WEIGHT_DECAY, Gradient, Task, gradient_of
from benchmarks.with_textbrewer import Columns, Loader, columns, copy_projections
from kdbench.data.batch import collate
from kdbench.data.split import Split
from kdbench.module.student import StudentModule

STAND_INS = {
    "torchvision": (),
    "torchvision.datasets": (),
    "torchvision.models": (),
    "torchvision.models.densenet": ("_DenseBlock", "_Transition"),
    "torchvision.models.resnet": ("BasicBlock", "conv1x1"),
}
Captured = Mapping[str, Mapping[str, Any]]


def torchdistill() -> ModuleType | None:
    """Its module of distillation boxes; None where it is not installed."""
    if peer("torchdistill") is None:
        return None
    return peer("torchdistill.core.distillation", STAND_INS)


class Projected(nn.Module):
    """A student that also runs the projections of its hidden states, so that hooks can see what they give."""

    def __init__(self, task: Task, student: int) -> None:
        super().__init__()
        self.model = hugging_face(STUDENT, student)
        self.projections = nn.ModuleList(nn.Linear(STUDENT[1], task.teacher[1]) for _ in range(len(task.pairs) + 1))

    def forward(self, **batch: Tensor) -> Any:
        outputs = self.model(**batch, output_hidden_states=True)
        for projection, state in zip(self.projections, outputs.hidden_states, strict=True):
            projection(state)
        return outputs


class Masked(nn.Module):
    """A mean squared error over real tokens, between what two hooks saw; the box hands the mask on as its target."""

    def __init__(self, student: str, teacher: str, maps: bool) -> None:
        super().__init__()
        self.student, self.teacher, self.maps = student, teacher, maps

    def forward(self, student: Captured, teacher: Captured, mask: Tensor) -> Tensor:
        ours, theirs = student[self.student]["output"], teacher[self.teacher]["output"]
        if self.maps:
            ours, theirs = ours[1], theirs[1]  # an attention layer gives its context and its map
            real = mask[:, None, :, None] * mask[:, None, None, :]
        else:
            ours, theirs = _state(ours), _state(theirs)
            real = mask[:, :, None]
        return ((ours - theirs).square() * real).sum() / real.expand_as(ours).sum()


class Soft(nn.Module):
    """Cross-entropy with the teacher's softened answer, times T^2."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, student: Captured, teacher: Captured, mask: Tensor) -> Tensor:
        ours, theirs = student["model.classifier"]["output"], teacher["classifier"]["output"]
        soft = (theirs / self.temperature).softmax(dim=-1)
        return self.temperature**2 * nn.functional.cross_entropy(ours / self.temperature, soft)


def _state(output: Any) -> Tensor:
    """The hidden states that a layer gives, alone or as the first of several."""
    return output if isinstance(output, Tensor) else output[0]


def _only_loss(outputs: Any, targets: Any, **rest: Any) -> dict[str, Tensor]:
    """The model's own loss, which is that of the label."""
    return {"loss": outputs.loss}


def box_of(task: Task, student: int, teacher: PreTrainedModel, device: str = "cpu") -> Any:
    """A distillation box with the losses of the task; the batches are given to it one by one."""
    found = torchdistill()
    registry = peer("torchdistill.losses.registry", STAND_INS)
    assert found is not None and registry is not None  # whoever comes here has asked
    registry.register_func2extract_model_output(_only_loss)
    layers = {ours: theirs for ours, theirs in [(0, 0), *task.pairs]}
    states = {0: "bert.embeddings", **{layer: f"bert.encoder.layer.{layer - 1}" for layer in range(1, 13)}}
    losses: dict[str, nn.Module] = {"soft": Soft(task.temperature(student))}
    for ours, theirs in layers.items():
        losses[f"hidden {ours}"] = Masked(f"projections.{ours}", states[theirs], False)
    for ours, theirs in task.pairs:
        ours_at, theirs_at = f"model.{states[ours]}.attention.self", f"{states[theirs]}.attention.self"
        losses[f"attention {ours}"] = Masked(ours_at, theirs_at, True)
    looked = [loss for loss in losses.values() if isinstance(loss, Masked)]
    config = {
        "num_epochs": task.epochs,
        "teacher": {
            "forward_proc": "forward_batch_only_as_kwargs",
            "requires_grad": False,
            "forward_hook": {"output": ["classifier", *(loss.teacher for loss in looked)]},
        },
        "student": {
            "forward_proc": "forward_batch_only_as_kwargs",
            "forward_hook": {"output": ["model.classifier", *(loss.student for loss in looked)]},
        },
        "optimizer": {
            "key": "AdamW",
            "kwargs": {"lr": LEARNING_RATE, "weight_decay": WEIGHT_DECAY, "fused": True},
            "max_grad_norm": CLIP_NORM,
        },
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {
                "model_term": {"weight": 1},
                "sub_terms": {name: {"criterion": loss, "weight": 1} for name, loss in losses.items()},
            },
            "func2extract_model_loss": "_only_loss",
        },
    }
    return found.DistillationBox(teacher, Projected(task, student), {}, config, torch.device(device), None, False, 1)


def train(task: Task, student: int, split: Split, teacher: PreTrainedModel, folder: Path) -> None:
    """One student from fresh weights to their file, by the loop that its examples have."""
    box = box_of(task, student, teacher)
    loader = Loader(task, split)
    for epoch in range(task.epochs):
        box.pre_epoch_process(epoch=epoch)
        for batch in loader:
            loss = box.forward_process(batch, targets=_mask(batch), supp_dict=None)
            box.post_forward_process(loss)
        box.post_epoch_process()
    torch.save(box.student_model.model.state_dict(), folder / "torchdistill.pt")
    box.clean_modules()
    teacher.requires_grad_(False)  # the box thaws what it froze


def _mask(batch: Columns) -> Tensor:
    return batch["attention_mask"].float()


def gradient(task: Task, split: Split, teacher: PreTrainedModel, ours: StudentModule) -> Gradient:
    """Loss and gradient of the first student on all rows of a split, without dropout, with the projections of ours."""
    box = box_of(task, 1, teacher)
    copy_projections(ours, list(box.student_model.projections))
    box.student_model.eval()
    batch = columns(collate(split, split.index, PADDING_ID))
    loss = box.forward_process(batch, targets=_mask(batch), supp_dict=None)
    found = gradient_of(loss, box.student_model.model)
    box.clean_modules()
    teacher.requires_grad_(False)
    return found
