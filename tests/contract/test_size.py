"""Every student size is what its comment and its name say, and those that the study needs are there."""

from __future__ import annotations

import re
from functools import cache

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from kdbench.config import CONF_DIR, instantiate
from kdbench.cost import parameters
from kdbench.head import ClassHead

COMMENT = re.compile(r"vocabulary of ([\d,]+): encoder ([\d.]+) M, embeddings ([\d.]+) M, total ([\d.]+) M")
VOCABULARY = 30522

TABLE = {  # layers x width: width of the feed-forward layer, embeddings, encoder and total in millions
    (24, 1024): (4096, "31.78", "302.31", "335.14"),
    (12, 768): (3072, "23.84", "85.05", "109.48"),
    (10, 768): (3072, "23.84", "70.88", "95.31"),
    (8, 768): (3072, "23.84", "56.70", "81.13"),
    (6, 768): (3072, "23.84", "42.53", "66.96"),
    (4, 768): (3072, "23.84", "28.35", "52.78"),
    (3, 768): (3072, "23.84", "21.26", "45.69"),
    (12, 512): (2048, "15.89", "37.83", "53.98"),
    (6, 512): (2048, "15.89", "18.91", "35.07"),
    (12, 384): (1536, "11.92", "21.29", "33.36"),
    (6, 384): (1536, "11.92", "10.65", "22.71"),
    (3, 384): (1536, "11.92", "5.32", "17.39"),
    (24, 256): (1024, "7.95", "18.95", "26.97"),
    (12, 256): (1024, "7.95", "9.48", "17.49"),
    (4, 312): (1200, "9.68", "4.57", "14.35"),
    (2, 128): (512, "3.97", "0.40", "4.39"),
}
"""The grid of widths and depths, counted by hand: words, positions, types and pooler, without a task head."""

MINIATURES = [(layers, width) for layers in (2, 4, 6, 8, 10, 12) for width in (128, 256, 512, 768)]
"""The 24 BERT miniatures of Turc et al. 2019: heads of width 64, feed-forward layers of four times the width."""


@cache
def student_of(size: str) -> DictConfig:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("train", overrides=[f"student/size={size}"]).student


@cache
def counted(size: str, vocabulary: int = VOCABULARY) -> tuple[str, str, str]:
    """Encoder, embeddings and total of the built model without its classifier, in millions."""
    with torch.device("meta"):
        student = instantiate(student_of(size), vocabulary=vocabulary, head=ClassHead(("no", "yes")))
    counts = parameters(student)
    head = sum(parameter.numel() for parameter in student.heads["classifier"].parameters())
    encoder, embeddings, total = counts["encoder"], counts["embeddings"], counts["total"] - head
    return f"{encoder / 1e6:.2f}", f"{embeddings / 1e6:.2f}", f"{total / 1e6:.2f}"


def test_the_comment_gives_the_numbers_of_the_built_model(size: str) -> None:
    text = (CONF_DIR / "student" / "size" / f"{size}.yaml").read_text(encoding="utf-8")
    said = COMMENT.search(text)
    assert said is not None, "the comment with the numbers of parameters is missing or worded differently"
    assert counted(size, int(said[1].replace(",", ""))) == (said[2], said[3], said[4])


def test_the_name_gives_layers_and_width_and_heads_divide_it(size: str) -> None:
    student = student_of(size)
    assert size == f"l{student.layers}_h{student.width}"
    assert student.width % student.heads == 0
    assert student.intermediate >= student.width


@pytest.mark.parametrize("shape", TABLE, ids=str)
def test_the_grid_of_the_study_has_its_sizes(shape: tuple[int, int]) -> None:
    layers, width = shape
    intermediate, embeddings, encoder, total = TABLE[shape]
    size = f"l{layers}_h{width}"
    assert student_of(size).intermediate == intermediate
    assert counted(size) == (encoder, embeddings, total)


@pytest.mark.parametrize(("layers", "width"), MINIATURES)
def test_a_miniature_has_its_published_shape(layers: int, width: int) -> None:
    student = student_of(f"l{layers}_h{width}")
    assert (student.layers, student.width) == (layers, width)
    assert (student.heads, student.intermediate) == (width // 64, 4 * width)
