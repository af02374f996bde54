"""Students of the same size in another shape: deep and narrow against shallow and wide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kdbench.config import CONF_DIR
from kdbench.error import KdbenchError

FAMILIES: Mapping[tuple[str, ...], float] = {
    ("l8_h64", "l2_h128"): 0.01,
    ("l8_h128", "l2_h256"): 0.01,
    ("l12_h128", "l3_h256"): 0.01,
    ("l8_h256", "l2_h512"): 0.01,
    ("l12_h256", "l3_h512"): 0.01,
    ("l12_h256", "l6_h384"): 0.13,
    ("l24_h256", "l6_h512"): 0.01,
    ("l12_h384", "l3_h768"): 0.01,
}
"""Sizes of conf/student/size whose encoders are equally large, deepest first, and by how much at most they differ.

Four times the layers at half the width is the same encoder but for biases and norms. Totals are no measure of size: the
embeddings, which grow with the width alone, are most of a small student.
"""


def encoder_parameters(layers: int, width: int, intermediate: int) -> int:
    """Parameters of a BERT encoder without embeddings, pooler and head: layers (4 D^2 + 9 D + 2 D I + I)."""
    attention = 4 * (width * width + width)
    feed_forward = 2 * width * intermediate + intermediate + width
    norms = 4 * width
    return layers * (attention + feed_forward + norms)


def relative_difference(counts: Iterable[int]) -> float:
    """By what share the largest of some counts exceeds the smallest."""
    found = sorted(counts)
    return found[-1] / found[0] - 1.0


def refuse_unequal(sizes: Sequence[str], tolerance: float, folder: Path = CONF_DIR) -> None:
    """Refuse sizes whose encoders differ by more than a tolerance, as the axis of an `iso=encoder_params` sweep.

    Args:
        sizes: options of student/size.
        tolerance: of `relative_difference`.
        folder: the configuration folder they lie in.

    Raises:
        KdbenchError: names the two that differ most.
    """
    counts = {size: encoder_size(size, folder) for size in sizes}
    largest, smallest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    difference = relative_difference(counts.values())
    if difference > tolerance:
        raise KdbenchError(
            f"student/size={largest} has an encoder of {counts[largest]:,} parameters and student/size={smallest} of "
            f"{counts[smallest]:,}, {difference:.1%} apart where {tolerance:.1%} are allowed: choose sizes of one "
            "family of kdbench.iso, or a larger tolerance"
        )


def encoder_size(size: str, folder: Path = CONF_DIR) -> int:
    """The encoder parameters of an option of student/size, read from its file; no model is built."""
    from omegaconf import OmegaConf

    file = folder / "student" / "size" / f"{size}.yaml"
    if not file.is_file():
        raise KdbenchError(f"student/size={size} is not there: choose one of {file.parent}")
    numbers = OmegaConf.load(file)
    return encoder_parameters(numbers.layers, numbers.width, numbers.intermediate)
