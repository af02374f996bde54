"""Hugging Face encoders as models of kdbench: `ModelOutputs` filled through public interfaces only."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from kdbench import pooling
from kdbench.data.batch import Batch
from kdbench.encoder.attention import Recorder
from kdbench.encoder.feed_forward import recorded
from kdbench.kronecker.dense import multiplied
from kdbench.kronecker.factorise import is_factored
from kdbench.model import Model
from kdbench.outputs import ModelOutputs, Taps
from kdbench.packing import MODEL_TYPES, Packing
from kdbench.shape import Shape, has_layers_apart, taps_of


@dataclass(frozen=True)
class Body:
    """What the layers gave for a batch, padded as it is or on its real tokens alone.

    Attributes:
        states: of every layer, embeddings first, (B, S, D) or (1, T, D); empty where they are not asked for.
        packing: of the second form.
    """

    states: Sequence[Tensor]
    packing: Packing | None

    def whole(self, values: Tensor) -> Tensor:
        """What belongs to the tokens, padded: (B, S, ...)."""
        return values if self.packing is None else self.packing.whole.unpack(values)

    def first(self, values: Tensor) -> Tensor:
        """That of every row's first token, (B, ...)."""
        return pooling.first(values) if self.packing is None else self.packing.first(values)


class Encoder(Model):
    """A Hugging Face encoder under a head, `model`, read through `ModelOutputs`."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self._takes_types = getattr(model.config, "type_vocab_size", 0) > 1
        self._packs = model.config.model_type in MODEL_TYPES and not model.config.is_decoder

    @property
    def reads_types(self) -> bool:
        return self._takes_types

    def stop_after(self, layers: int) -> None:
        base = self.model.base_model
        stack = _stack(base)
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

    def forward(self, batch: Batch, taps: Taps) -> ModelOutputs:
        packing = batch.packing if self._packs else None
        recorder = Recorder(taps, packing) if taps.attention else None
        options: dict[str, Any] = {"output_hidden_states": bool(taps.states), "return_dict": True}
        if recorder is not None:
            options["recorder"] = recorder
        with recorded(self.model.base_model, taps.feed_forward) as blocks:
            body, answers = self.answer(batch, packing, options, taps)
        states, whole, first = body.states, body.whole, body.first
        outputs = ModelOutputs(
            mask=batch.attention_mask,
            labels=batch.labels,
            words=batch.words,
            hidden={layer: whole(states[layer]) for layer in taps.hidden},
            cls={layer: first(states[layer]) for layer in taps.cls},
            mean={layer: pooling.mean(whole(states[layer]), batch.attention_mask) for layer in taps.mean},
            feed_forward={layer: whole(blocks[layer]) for layer in taps.feed_forward},
            lens={layer: self.read_out(first(states[layer])[:, None]) for layer in taps.lens},
            **answers,
        )
        if recorder is None:
            return outputs
        return replace(outputs, query=recorder.query, key=recorder.key, value=recorder.value, scores=recorder.scores)

    @abstractmethod
    def answer(
        self, batch: Batch, packing: Packing | None, options: dict[str, Any], taps: Taps
    ) -> tuple[Body, dict[str, Any]]:
        """Run the layers with these options, and the head: what it says, as fields of `ModelOutputs`."""

    def run_layers(self, batch: Batch, packing: Packing | None, options: dict[str, Any]) -> tuple[Tensor, Body]:
        """Run the layers without a head: what the last one gives, (B, S, D) or (1, T, D), and the rest."""
        columns = {"input_ids": batch.input_ids}
        if self._takes_types:
            columns["token_type_ids"] = batch.token_type_ids
        if packing is None:
            raw = self.model.base_model(**columns, attention_mask=batch.attention_mask, **options)
        else:
            columns = {name: packing.whole.pack(column) for name, column in columns.items()}
            raw = self.model.base_model(**columns, position_ids=packing.positions, packing=packing, **options)
        return raw.last_hidden_state, Body(raw.hidden_states or (), packing)

    def read_out(self, hidden: Tensor) -> Tensor:
        """The task head on the output of any layer, (B, 1, D) -> (B, C): what the model would answer from there."""
        raise NotImplementedError

    def of_head(self, name: str) -> bool:
        return not name.startswith(f"model.{self.model.base_model_prefix}.") or ".pooler." in name

    def save(self, folder: Path) -> None:
        """As the dense model that computes the same, where there are factored maps: transformers knows no others."""
        model = self.model
        if is_factored(model):
            from kdbench.student.kronecker import dense_twin

            twin: Any = dense_twin(self)
            lacking, _ = twin.load_state_dict(multiplied(self), strict=False)
            given = {value.data_ptr() for name, value in twin.state_dict().items() if name not in lacking}
            # A decoder that is tied has the embedding's weight; nothing else may have none.
            assert all(twin.state_dict()[name].data_ptr() in given for name in lacking), lacking
            model = twin.model
        model.save_pretrained(folder)

    @property
    def embeddings(self) -> nn.Module:
        """The embedding module, for initializations that copy it."""
        return self.model.base_model.embeddings

    @property
    def layers(self) -> nn.ModuleList:
        """The transformer layers, bottom first, for initializations that copy them."""
        layers: nn.ModuleList = _stack(self.model.base_model).layer
        return layers

    @property
    def between(self) -> dict[str, nn.Module]:
        """What else a body has beside embeddings, layers and pooler, by name: ELECTRA's widening of its embeddings."""
        base = self.model.base_model
        named = {id(self.embeddings), id(_stack(base)), id(getattr(base, "pooler", None))}
        return {name: part for name, part in base.named_children() if id(part) not in named}

    @property
    def heads(self) -> dict[str, nn.Module]:
        """What stands above the layers, by name: a pooler, and the head itself."""
        parts = {name: child for name, child in self.model.named_children() if child is not self.model.base_model}
        pooler = getattr(self.model.base_model, "pooler", None)
        return parts if pooler is None else {**parts, "pooler": pooler}


def _stack(base: Any) -> Any:
    """What holds the layers."""
    return getattr(base, "encoder", None) or getattr(base, "transformer", None)


def shape_of(model: PreTrainedModel, classes: int, word_head: bool = False) -> Shape:
    """The shape that a Hugging Face encoder has, under a classification head or under a vocabulary head."""
    config = model.config
    taps = taps_of(config.model_type, word_head, classes)
    given = getattr(config, "embedding_size", config.hidden_size) if word_head else 0
    sizes = config.num_hidden_layers, config.hidden_size, config.num_attention_heads
    apart = has_layers_apart(config.model_type)
    return Shape(*sizes, classes, taps, given, apart, factored=is_factored(model))
