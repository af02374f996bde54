"""Guards against silent failure: each was a bug in some published toolkit, and none of them crashed.

Run before a long training begins; each raises a KdbenchError, or says what it found.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch

from kdbench.data.batch import Batch
from kdbench.error import KdbenchError
from kdbench.model import Model
from kdbench.module.student import StudentModule

PREFLIGHT_BATCHES = 2
NEGLIGIBLE = 1e-7


def tokenizer_fits(tokenizer_size: int, vocabulary: int, whose: str) -> None:
    """A tokenizer must be its model's: transformers 5 drops a `vocab_file=` without a word and keeps five tokens."""
    if tokenizer_size != vocabulary:
        raise KdbenchError(
            f"the tokenizer of {whose} has {tokenizer_size} tokens, but the model's vocabulary has {vocabulary}: put "
            "the model's own tokenizer files into its folder"
        )


def texts_told_apart(student: Model, tokenizer: Any) -> None:
    """A student that reads two texts each by itself needs tokens that say whose they are: RoBERTa's do not."""
    if student.bare.reads_texts_apart and not tells_texts_apart(tokenizer):
        raise KdbenchError(
            "student.pair needs tokens that say which of two texts they belong to, and this tokenizer's do not: set "
            "student.pair=joint, or choose a teacher with token types, such as BERT"
        )


def tells_texts_apart(tokenizer: Any) -> bool:
    """Whether a tokenizer gives the tokens of a second text another type."""
    return any(tokenizer("a", "b", return_token_type_ids=True)["token_type_ids"])


def teacher_is_apart(module: StudentModule, optimizer: torch.optim.Optimizer) -> None:
    """Every teacher is in evaluation mode, frozen, in no checkpoint and in no optimizer."""
    for teacher in module.teachers:
        _is_apart(teacher, module, optimizer)


def _is_apart(teacher: Model, module: StudentModule, optimizer: torch.optim.Optimizer) -> None:
    if any(part.training for part in teacher.modules()):
        raise KdbenchError(
            "the teacher is in train mode, so its dropout would disturb every target: call teacher.eval()"
        )
    theirs = {id(parameter) for parameter in teacher.parameters()}
    if any(parameter.requires_grad for parameter in teacher.parameters()):
        raise KdbenchError("the teacher has parameters that ask for gradients: call teacher.requires_grad_(False)")
    if any(id(parameter) in theirs for group in optimizer.param_groups for parameter in group["params"]):
        raise KdbenchError("the optimizer holds parameters of the teacher: give it the student's and the terms' only")
    kept = {tensor.data_ptr() for tensor in module.state_dict().values() if tensor.numel()}
    if any(parameter.data_ptr() in kept for parameter in teacher.parameters() if parameter.numel()):
        raise KdbenchError(
            "the teacher's weights would be saved with the student's: keep it out of the module's children"
        )


def preflight(module: StudentModule, batches: Iterable[Batch]) -> None:
    """Run two batches through every term: the losses are finite, and each can teach the student.

    Weights, optimizer and random state stay as they are.
    """
    learners = [parameter for parameter in module.model.parameters() if parameter.requires_grad]
    was_training = module.training
    module.train()
    counted = {name: buffer.clone() for name, buffer in module.named_buffers()}  # what a norm of batches has seen
    seen = 0
    with torch.random.fork_rng(devices=[]):
        for batch in islice(batches, PREFLIGHT_BATCHES):
            seen += 1
            losses = module.losses(batch.to(module.device))
            for name, loss in zip(module.names, losses, strict=True):
                _teaches(name, loss, learners)
    module.train(was_training)
    for name, buffer in module.named_buffers():
        buffer.copy_(counted[name])
    module.forget()
    if not seen:
        raise KdbenchError("the training split gives no batch: see data.train_rows and the data's splits")


def _teaches(name: str, loss: torch.Tensor, learners: list[torch.nn.Parameter]) -> None:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise KdbenchError(
            f"term '{name}' is {value} on the first batches: see its objective's options and the precision"
        )
    gradients = torch.autograd.grad(loss, learners, retain_graph=True, allow_unused=True) if loss.requires_grad else ()
    reached = [gradient for gradient in gradients if gradient is not None]
    # A loss of 0, as of a student that starts as its teacher's copy, has a gradient of 0 for a good reason.
    taught = any(bool(gradient.any()) for gradient in reached) or (bool(reached) and abs(value) < NEGLIGIBLE)
    if not taught:
        raise KdbenchError(
            f"term '{name}' has the loss {value:.3g} but no gradient with respect to the student, so it would teach "
            "nothing: choose another objective for it, or remove it by weight 0"
        )


def teacher_below_start(teacher_score: float, start_score: float, score: str, action: str) -> str | None:
    """A teacher that scores below its student's start has little to teach: a sentence, raised where `action=error`."""
    if teacher_score >= start_score:
        return None
    sentence = (
        f"the teacher's {score} is {teacher_score:.4f}, below {start_score:.4f} of its student before any training: "
        "train the teacher longer (teacher.training.epochs), or say guards.teacher_below_start=warn"
    )
    if action == "error":
        raise KdbenchError(sentence)
    return sentence
