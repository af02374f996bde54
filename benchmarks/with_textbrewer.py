"""The same sweep with TextBrewer 0.2.1: a distiller a student, the teacher at every step or, for logits, its cache.

It is given a fused AdamW like kdbench's own (its examples use torch's default, which is slower), and a loader of ready
batches. It writes the student's weights after every epoch, as it does by default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel, get_linear_schedule_with_warmup

from benchmarks.models import STUDENT, hugging_face
from benchmarks.peer import peer
from benchmarks.task import CLIP_NORM, PADDING_ID, WARM_UP_SHARE, Gradient, Task, fused_adamw, gradient_of
from benchmarks.with_kdbench import SEED
from kdbench.data.batch import Batch, batch_plan, collate
from kdbench.data.split import Split
from kdbench.module.student import StudentModule

Columns = dict[str, Tensor]


class Loader:
    """The batches of kdbench's mode `exact`, epoch after epoch, as the keyword arguments of a Hugging Face model.

    Padded to the longest row of a batch, or to a stated length.
    """

    def __init__(self, task: Task, split: Split, pad_to: int | None = None) -> None:
        self.task, self.split, self.pad_to, self.epoch = task, split, pad_to, 0

    def __len__(self) -> int:
        return -(-self.task.rows // self.task.batch_size)

    def __iter__(self) -> Iterator[Columns]:
        plan = batch_plan(self.split.lengths, self.task.batch_size, SEED, self.epoch, "exact")
        self.epoch += 1
        for rows in plan:
            yield columns(collate(self.split, rows, PADDING_ID), self.pad_to)


def columns(batch: Batch, pad_to: int | None = None) -> Columns:
    more = 0 if pad_to is None else pad_to - batch.input_ids.shape[1]
    return {
        "input_ids": functional.pad(batch.input_ids, (0, more), value=PADDING_ID),
        "attention_mask": functional.pad(batch.attention_mask.long(), (0, more)),
        "token_type_ids": functional.pad(batch.token_type_ids, (0, more)),
        "labels": batch.labels,
    }


def adaptor(full: bool) -> Callable[[Columns, Any], dict[str, Any]]:
    """What TextBrewer asks for to find its way through a model's outputs."""

    def adapt(batch: Columns, outputs: Any) -> dict[str, Any]:
        found = {"logits": outputs.logits, "losses": outputs.loss}
        if not full:
            return found
        return {
            **found,
            "hidden": outputs.hidden_states,
            "attention": outputs.attentions,
            "inputs_mask": batch["attention_mask"],
        }

    return adapt


def distiller_of(
    task: Task, student: int, teacher: PreTrainedModel, folder: Path, caches: bool = False, device: str = "cpu"
) -> Any:
    """A student with a distiller that has the losses of the task."""
    textbrewer = peer("textbrewer")
    assert textbrewer is not None  # whoever comes here has asked
    temperature = task.temperature(student)
    widths = ["linear", STUDENT[1], task.teacher[1]]
    hidden = [
        {"layer_T": theirs, "layer_S": ours, "feature": "hidden", "loss": "hidden_mse", "weight": 1, "proj": [*widths]}
        for ours, theirs in [(0, 0), *task.pairs]
    ]
    attention = [  # attention maps are counted from the first layer
        {"layer_T": theirs - 1, "layer_S": ours - 1, "feature": "attention", "loss": "attention_mse", "weight": 1}
        for ours, theirs in task.pairs
    ]
    settings = textbrewer.DistillationConfig(
        temperature=temperature,
        hard_label_weight=1,
        kd_loss_weight=temperature**2,
        intermediate_matches=[*hidden, *attention] if task.full else None,
        is_caching_logits=caches,
    )
    training = textbrewer.TrainingConfig(device=device, output_dir=str(folder))
    kind = textbrewer.GeneralDistiller if task.full else textbrewer.BasicDistiller
    model = hugging_face(STUDENT, student).to(device)
    return kind(training, settings, teacher, model, adaptor(task.full), adaptor(task.full))


def train(
    task: Task,
    student: int,
    split: Split,
    teacher: PreTrainedModel,
    folder: Path,
    pad_to: int | None = None,
    caches: bool = False,
    device: str = "cpu",
) -> None:
    """One student from fresh weights to their file."""
    distiller = distiller_of(task, student, teacher, folder, caches, device)
    schedule = {
        "num_warmup_steps": round(WARM_UP_SHARE * task.steps),
        "num_training_steps": task.steps,
    }
    with distiller:
        distiller.train(
            fused_adamw(distiller.model_S.named_parameters()),
            Loader(task, split, pad_to),
            num_epochs=task.epochs,
            scheduler_class=get_linear_schedule_with_warmup,
            scheduler_args=schedule,
            max_grad_norm=CLIP_NORM,
            **asked(task),
        )


def asked(task: Task) -> dict[str, bool]:
    """What a model is asked to hand out."""
    return {"output_hidden_states": True, "output_attentions": True} if task.full else {}


def sweep(
    task: Task,
    split: Split,
    teacher: PreTrainedModel,
    folder: Path,
    pad_to: int | None = None,
    caches: bool = False,
    device: str = "cpu",
) -> None:
    """All students of a task, one after the other."""
    one = partial(train, split=split, teacher=teacher, folder=folder, pad_to=pad_to, caches=caches, device=device)
    for student in range(task.students):
        one(task, student)


def gradient(task: Task, split: Split, teacher: PreTrainedModel, folder: Path, ours: StudentModule) -> Gradient:
    """Loss and gradient of the first student on all rows of a split, without dropout, with the projections of ours."""
    distiller = distiller_of(task, 1, teacher, folder)
    if task.full:
        copy_projections(ours, distiller.projs)
    distiller.model_S.eval()
    loss, _ = distiller.train_on_batch(columns(collate(split, split.index, PADDING_ID)), asked(task))
    return gradient_of(loss, distiller.model_S)


def copy_projections(ours: StudentModule, theirs: list[nn.Linear | None]) -> None:
    """Give the linear maps of another toolkit the weights of kdbench's."""
    mapped = [part for part in ours.terms.modules() if isinstance(part, nn.Linear)]
    linears = [part for part in theirs if part is not None]
    with torch.no_grad():
        for mine, other in zip(mapped, linears, strict=True):
            other.load_state_dict(mine.state_dict())
