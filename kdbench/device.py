"""Where models run."""

from __future__ import annotations

from kdbench.error import KdbenchError


def resolve_device(accelerator: str) -> str:
    """torch's name for a choice of the group `device`: `auto` is the GPU where there is one.

    Raises:
        KdbenchError: `gpu` on a machine without one that torch can use.
    """
    import torch

    if accelerator not in ("auto", "cpu", "gpu"):
        raise KdbenchError(f"device.accelerator={accelerator} is unknown; choose auto, cpu or gpu")
    if accelerator == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if accelerator == "gpu":
        raise KdbenchError("device=gpu, but this machine has no GPU that torch can use: choose device=auto or cpu")
    return "cpu"
