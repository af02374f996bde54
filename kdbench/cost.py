"""What a model costs: parameters, FLOPs, latency and bytes, measured in one way for teachers and students."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kdbench.data.batch import NO_PLACE, UNKNOWN_WORD, Batch
from kdbench.model import Model
from kdbench.outputs import Taps

FLOPS_LENGTH = 128  # tokens: the length at which the compression papers quote FLOPs
LATENCY_LENGTH = 64  # tokens
TIMED_CALLS = {1: 20, 32: 10}  # batch size -> fewest calls that are timed
SETTLED = 0.03  # warm-up ends when two successive medians differ by less than this share
WINDOW = 3  # calls per median of the warm-up
LEAST_SECONDS = 0.1  # fast models are timed for at least this long


def measure(model: Model) -> dict[str, Any]:
    """Everything a record says about a model's cost: parameters, flops, latency_ms, bytes."""
    return {
        "parameters": parameters(model),
        "flops": flops(model),
        "latency_ms": latency(model),
        "bytes": weight_bytes(model),
    }


def parameters(model: nn.Module) -> dict[str, int]:
    """Parameters by part: `total` (pooler and head too), `embeddings`, `encoder` (the transformer layers alone).

    A shared parameter counts once. The parts are found by the names that Hugging Face gives them, `embeddings`, and
    `encoder`, `transformer` or `layers`; the topmost module of a name counts, and a missing part has 0 parameters.
    """
    return {
        "total": _count(model),
        "embeddings": _count(_topmost(model, ("embeddings",))),
        "encoder": _count(_topmost(model, ("encoder", "transformer", "layers"))),
    }


def flops(model: Model, length: int = FLOPS_LENGTH) -> int:
    """Floating-point operations of one forward pass over one example of `length` tokens without padding.

    A multiplication and an addition count as two. Matrix products alone count (as torch counts them), with those inside
    the attention; element-wise operations, softmax, norms and look-ups are left out.
    """
    batch = _batch(model, 1, length)
    counter = FlopCounterMode(display=False)
    with _evaluating(model), _as_products(), counter:
        model(batch, Taps(logits=True))
    return int(counter.get_total_flops())


def latency(
    model: Model,
    batch_sizes: Sequence[int] = tuple(TIMED_CALLS),
    length: int = LATENCY_LENGTH,
    threads: int = 1,
    budget_seconds: float = 1.0,
) -> dict[str, float]:
    """Median milliseconds of one forward pass by batch size, as `batch_1` and `batch_32`.

    Protocol: evaluation and inference mode, `threads` threads (one, unless said otherwise), `length` tokens without
    padding, the device and precision of the weights, tokenisation left out; warm-up until the medians of two successive
    windows of 3 calls differ by less than 3 %, then 20 timed calls at batch 1 and 10 at batch 32. A slow model, for
    which warm-up or timing takes longer than `budget_seconds`, gets fewer calls: at least 1 and 3. Thread count and
    training mode are restored.
    """
    found = {}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with _evaluating(model):
            for batch_size in batch_sizes:
                call = _call(model, _batch(model, batch_size, length))
                calls = TIMED_CALLS.get(batch_size, min(TIMED_CALLS.values()))
                found[f"batch_{batch_size}"] = 1000.0 * settled_median(call, calls, budget_seconds)
    finally:
        torch.set_num_threads(before)
    return found


def settled_median(
    call: Callable[[], object], calls: int, budget_seconds: float, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Median seconds of a call after a warm-up, by the protocol of `latency`; `clock` gives seconds."""
    _warm_up(call, budget_seconds, clock)
    times: list[float] = []
    start = clock()
    while len(times) < WINDOW or (
        clock() - start < budget_seconds and (len(times) < calls or clock() - start < LEAST_SECONDS)
    ):
        times.append(_seconds(call, clock))
    return median(times)


def _warm_up(call: Callable[[], object], budget_seconds: float, clock: Callable[[], float]) -> None:
    start, previous = clock(), 0.0
    while True:
        times: list[float] = []
        while len(times) < WINDOW:
            times.append(_seconds(call, clock))
            if clock() - start >= budget_seconds:
                return
        if abs(median(times) - previous) < SETTLED * median(times):
            return
        previous = median(times)


def weight_bytes(model: nn.Module) -> int:
    """Bytes of the weights in a safetensors file: shared tensors once, the header of a few kilobytes left out."""
    tensors = {tensor.data_ptr() or id(tensor): tensor for tensor in model.state_dict().values()}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _seconds(call: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    call()
    return clock() - start


def _call(model: Model, batch: Batch) -> Callable[[], None]:
    taps, on_gpu = Taps(logits=True), batch.input_ids.is_cuda

    def call() -> None:
        model(batch, taps)
        if on_gpu:
            torch.cuda.synchronize()

    return call


def _batch(model: Model, batch_size: int, length: int) -> Batch:
    """Rows of `length` different tokens, as far as the vocabulary goes, on the device of the weights.

    A model with fewer positions gets as many tokens as it takes; where it reads two texts apart, half of a row's are
    the second one's. Its first look-up table is that of the words.
    """
    positions = _topmost(model, ("position_embeddings",))
    length = min(length, positions.num_embeddings) if isinstance(positions, nn.Embedding) else length
    vocabulary = next((part.num_embeddings for part in model.modules() if isinstance(part, nn.Embedding)), 1)
    device = next(model.parameters()).device
    ids = (torch.arange(batch_size * length, device=device) % vocabulary).view(batch_size, length)
    types = torch.zeros_like(ids)
    if model.bare.reads_texts_apart:
        types[:, length // 2 :] = 1
    return Batch(
        input_ids=ids,
        attention_mask=torch.ones_like(ids, dtype=torch.bool),
        token_type_ids=types,
        labels=torch.full((batch_size,), -1, device=device),
        index=torch.arange(batch_size, device=device),
        words=torch.full_like(ids, NO_PLACE).index_fill(1, ids.new_zeros(1), UNKNOWN_WORD),  # one place a row
    )


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [part for part in model.modules() if part.training]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def _as_products() -> Iterator[None]:
    """Attention and LSTMs as the products that torch counts: it has no formula for its fused ones."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TF32 acceleration on top of oneDNN")
        apart = torch.backends.mkldnn.flags(enabled=False), torch.backends.cudnn.flags(enabled=False)
        with sdpa_kernel(SDPBackend.MATH), apart[0], apart[1]:
            yield


def _count(module: nn.Module | None) -> int:
    return 0 if module is None else sum(parameter.numel() for parameter in module.parameters())


def _topmost(model: nn.Module, names: Sequence[str]) -> nn.Module | None:
    found = [(path.count("."), path) for path, _ in model.named_modules() if path.rpartition(".")[2] in names]
    return model.get_submodule(min(found)[1]) if found else None
