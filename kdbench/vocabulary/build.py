"""The artefact of a student's vocabulary: which words it has."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdbench.context import Context, TeacherContext
from kdbench.head import WordHead
from kdbench.store import write_json
from kdbench.teacher import load_teacher
from kdbench.tokenizer import single_tokens
from kdbench.vocabulary.tables import compressed, frequent, rows_kept

log = logging.getLogger(__name__)


def build_vocabulary(context: Context, folder: Path) -> None:
    """Count the corpus and write the tables of the kept words, with `vocabulary.json` about them, into `folder`."""
    settings, side, tokenizer = context.cfg.vocabulary, context.language or context, context.tokenizer
    tokens = np.asarray(side.splits["train"].tokens)
    counts = np.bincount(tokens, minlength=len(tokenizer))
    reserved = [*tokenizer.all_special_ids, *single_tokens(tokenizer, settings.reserved, "vocabulary.reserved")]
    rows = rows_kept(settings.keep, len(tokenizer), settings.multiple)
    words = frequent(counts, reserved, rows)
    found = compressed(words, _embedding(side, settings.substitute), settings.substitute, tokenizer.unk_token_id)
    found.save(folder)
    counts[tokenizer.all_special_ids] = 0  # which are ours and not the corpus'
    coverage = float(counts[found.kept].sum() / counts.sum())
    log.info("vocabulary: %d of %d words, which are %.2f %% of the corpus", rows, len(counts), 100 * coverage)
    entry = {
        "label": f"{rows} of {len(counts)} words of {side.task.name}",
        "coverage": coverage,
        "built_from": [*side.plan.signatures("data"), *side.plan.signatures("teacher")],
    }
    write_json(folder / "vocabulary.json", entry)


def _embedding(side: TeacherContext, substitute: str) -> Tensor:
    """The language model's word embedding, (V, D); of no use where the unknown word stands for all others."""
    if substitute == "unknown":
        return torch.zeros(len(side.tokenizer), 1)
    model: Any = load_teacher(side.teacher_path, WordHead()).model
    weight: Tensor = model.get_input_embeddings().weight
    return weight
