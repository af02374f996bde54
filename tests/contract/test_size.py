"""Every student size is what its comment and its name say."""

from __future__ import annotations

import re
from functools import cache

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from kdbench.config import CONF_DIR, instantiate
from kdbench.cost import parameters

COMMENT = re.compile(r"vocabulary of ([\d,]+): encoder ([\d.]+) M, embeddings ([\d.]+) M, total ([\d.]+) M")


@cache
def student_of(size: str) -> DictConfig:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("train", overrides=[f"student/size={size}"]).student


def test_the_comment_gives_the_numbers_of_the_built_model(size: str) -> None:
    text = (CONF_DIR / "student" / "size" / f"{size}.yaml").read_text(encoding="utf-8")
    said = COMMENT.search(text)
    assert said is not None, "the comment with the numbers of parameters is missing or worded differently"
    with torch.device("meta"):
        student = instantiate(student_of(size), vocabulary=int(said[1].replace(",", "")), labels=["no", "yes"])
    counts = parameters(student)
    head = sum(parameter.numel() for parameter in student.heads["classifier"].parameters())
    built = counts["encoder"], counts["embeddings"], counts["total"] - head
    assert [f"{count / 1e6:.2f}" for count in built] == [said[2], said[3], said[4]]


def test_the_name_gives_layers_and_width_and_heads_divide_it(size: str) -> None:
    student = student_of(size)
    assert size == f"l{student.layers}_h{student.width}"
    assert student.width % student.heads == 0
    assert student.intermediate >= student.width
