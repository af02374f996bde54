"""Hugging Face encoders as models of kdbench: `ModelOutputs` filled through public interfaces only.

The attention registry of transformers hands query, key and value of every layer to `_attend`, which passes them to a
recorder given with the call (no global state, no patched class) and computes the attention itself by SDPA. Captures
thus cost nothing where they are not asked for, and are made before softmax and dropout. A packed batch is padded there
alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PretrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from kdbench import pooling
from kdbench.data.batch import Batch
from kdbench.error import KdbenchError
from kdbench.model import Model
from kdbench.outputs import ModelOutputs, Taps
from kdbench.packing import MODEL_TYPES, Packing
from kdbench.shape import Shape, taps_of

ATTENTION = "kdbench"


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


class Encoder(Model):
    """A Hugging Face encoder with a classification head, `model`, read through `ModelOutputs`."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self._takes_types = getattr(model.config, "type_vocab_size", 0) > 1
        self._packs = model.config.model_type in MODEL_TYPES and not model.config.is_decoder

    def stop_after(self, layers: int) -> None:
        base = self.model.base_model
        stack: Any = getattr(base, "encoder", None) or getattr(base, "transformer", None)
        if isinstance(getattr(stack, "layer", None), nn.ModuleList):
            if not hasattr(self, "_whole"):
                # transformers installs what collects hidden states at the first call that asks for any, on the layers
                # that are there then: that call must see all of them.
                with torch.no_grad():
                    self.model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=self.model.device),
                               output_hidden_states=True)  # fmt: skip
                self._whole = tuple(stack.layer)  # a tuple, which nn.Module does not look into
            # At least one: transformers notes the embedding output as the input of the first layer.
            stack.layer = nn.ModuleList(self._whole[: max(1, layers)]).train(stack.training)

    @property
    def shape(self) -> Shape:
        return shape_of(self.model.config, self.model.config.num_labels)

    def forward(self, batch: Batch, taps: Taps) -> ModelOutputs:
        packing = batch.packing if self._packs else None
        recorder = Recorder(taps, packing) if taps.attention else None
        options: dict[str, Any] = {"output_hidden_states": bool(taps.states), "return_dict": True}
        if recorder is not None:
            options["recorder"] = recorder
        whole: Callable[[Tensor], Tensor] = _as_it_is
        first: Callable[[Tensor], Tensor] = pooling.first
        if packing is None:
            logits, states = self._padded(batch, options)
        else:
            logits, states = self._packed(batch, packing, options)
            whole, first = packing.whole.unpack, packing.first
        outputs = ModelOutputs(
            mask=batch.attention_mask,
            logits=logits,
            labels=batch.labels,
            hidden={layer: whole(states[layer]) for layer in taps.hidden},
            cls={layer: first(states[layer]) for layer in taps.cls},
            mean={layer: pooling.mean(whole(states[layer]), batch.attention_mask) for layer in taps.mean},
            lens={layer: self.read_out(first(states[layer])[:, None]) for layer in taps.lens},
        )
        if recorder is None:
            return outputs
        return replace(outputs, query=recorder.query, key=recorder.key, value=recorder.value, scores=recorder.scores)

    def _padded(self, batch: Batch, options: dict[str, Any]) -> tuple[Tensor, Sequence[Tensor]]:
        """Logits, and every layer's output where they are asked for: (B, C) and (B, S, D)."""
        types = {"token_type_ids": batch.token_type_ids} if self._takes_types else {}
        raw = self.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **types, **options)
        return raw.logits, raw.hidden_states or ()

    def _packed(self, batch: Batch, packing: Packing, options: dict[str, Any]) -> tuple[Tensor, Sequence[Tensor]]:
        """The same on the real tokens alone: (B, C) and (1, T, D)."""
        pack = packing.whole.pack
        types = {"token_type_ids": pack(batch.token_type_ids)} if self._takes_types else {}
        raw = self.model.base_model(
            input_ids=pack(batch.input_ids), position_ids=packing.positions, packing=packing, **types, **options
        )
        # The base model pools the first of all tokens; the head needs the first of every row.
        return self.read_out(packing.first(raw.last_hidden_state)[:, None]), raw.hidden_states or ()

    def read_out(self, hidden: Tensor) -> Tensor:
        """The task head on the output of any layer, (B, S, D) -> (B, C): what the model would answer from there."""
        pooled = self.model.dropout(self.model.base_model.pooler(hidden))
        logits: Tensor = self.model.classifier(pooled)
        return logits

    def save(self, folder: Path) -> None:
        self.model.save_pretrained(folder)

    @property
    def embeddings(self) -> nn.Module:
        """The embedding module, for initializations that copy it."""
        return self.model.base_model.embeddings

    @property
    def layers(self) -> nn.ModuleList:
        """The transformer layers, bottom first, for initializations that copy them."""
        encoder = self.model.base_model.encoder
        return encoder.layer

    @property
    def heads(self) -> dict[str, nn.Module]:
        """What stands above the layers, by name: pooler and classifier."""
        parts = {name: child for name, child in self.model.named_children() if child is not self.model.base_model}
        pooler = getattr(self.model.base_model, "pooler", None)
        return parts if pooler is None else {**parts, "pooler": pooler}


def _as_it_is(hidden: Tensor) -> Tensor:
    return hidden


def shape_of(config: PretrainedConfig, classes: int) -> Shape:
    """The shape that a Hugging Face config describes."""
    taps = taps_of(config.model_type)
    return Shape(config.num_hidden_layers, config.hidden_size, config.num_attention_heads, classes, taps)


def from_config(config: PretrainedConfig) -> Encoder:
    """A sequence classifier of that configuration with fresh weights, drawn from torch's generator."""
    from transformers import AutoModelForSequenceClassification

    # transformers writes the attention choice into the config it is given: each model gets its own copy.
    model = AutoModelForSequenceClassification.from_config(copy.deepcopy(config), attn_implementation=ATTENTION)
    return Encoder(model)


def head_options(labels: tuple[str, ...]) -> dict[str, Any]:
    """The config entries of a task head: class names, or none of them for a regression's single output."""
    if not labels:
        return {"num_labels": 1, "problem_type": "regression"}
    return {
        "num_labels": len(labels),
        "problem_type": "single_label_classification",
        "id2label": dict(enumerate(labels)),
        "label2id": {name: position for position, name in enumerate(labels)},
    }


def from_folder(folder: Path, head: tuple[str, ...] | None = None) -> Encoder:
    """A sequence classifier loaded from a Hugging Face folder, in float32 and evaluation mode.

    Args:
        folder: config.json and weights.
        head: class names of the task (none: a regression), where the head may be fresh; None where the folder must
            bring its own head.

    Raises:
        KdbenchError: if the folder cannot be loaded.
    """
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging as transformers_logging

    options = {} if head is None else head_options(head)
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # a fresh head is what was asked for: no report about it
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            folder,
            attn_implementation=ATTENTION,
            dtype=torch.float32,
            ignore_mismatched_sizes=head is not None,  # the head of another task gives way to a fresh one
            **options,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise KdbenchError(
            f"the model folder {folder} cannot be loaded as a sequence classifier ({reason}): restore its files, or "
            "choose another model"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    return Encoder(model)
