"""What is read inside the attention of a Hugging Face encoder.

The attention registry of transformers hands query, key and value of every layer to `_attend`, which passes them to a
recorder given with the call (no global state, no patched class) and computes the attention itself by SDPA. Captures
thus cost nothing where they are not asked for, and are made before softmax and dropout. A packed batch is padded there
alone.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from kdbench.outputs import Taps
from kdbench.packing import Packing

ATTENTION = "kdbench"
"""The name under which models ask for it."""


class Recorder:
    """Collects the attention inputs of one forward pass, in the order of the layers' calls (1, 2, ...)."""

    def __init__(self, taps: Taps, packing: Packing | None = None) -> None:
        self.taps, self.packing = taps, packing
        self.layers = 0
        self.query: dict[int, Tensor] = {}
        self.key: dict[int, Tensor] = {}
        self.value: dict[int, Tensor] = {}
        self.scores: dict[int, Tensor] = {}

    def record(self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> None:
        """Keep what the taps name of the next layer, padded; each tensor is (B, H, S, d), or packed (1, H, T, d)."""
        self.layers += 1
        layer, taps = self.layers, self.taps
        if layer in taps.value:
            self.value[layer] = self._padded(value)
        if layer not in taps.query | taps.key | taps.scores:
            return
        query, key = self._padded(query), self._padded(key)
        if layer in taps.query:
            self.query[layer] = query
        if layer in taps.key:
            self.key[layer] = key
        if layer in taps.scores:
            factor = query.shape[-1] ** -0.5 if scaling is None else scaling
            self.scores[layer] = query @ key.transpose(-1, -2) * factor

    def _padded(self, heads: Tensor) -> Tensor:
        return heads if self.packing is None else self.packing.whole.unpack(heads.transpose(1, 2)).transpose(1, 2)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    recorder: Recorder | None = None,
    packing: Packing | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    if recorder is not None:
        recorder.record(query, key, value, scaling)

    def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        return sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, dropout=dropout, **rest)[0]

    if packing is None:
        return attend(query, key, value, attention_mask), None
    return packing.attended(attend, *(side.transpose(1, 2) for side in (query, key, value))), None


AttentionInterface.register(ATTENTION, _attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
