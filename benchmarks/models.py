"""BERT with random weights, as kdbench and as users of other toolkits build it; a seed gives both the same."""

from __future__ import annotations

from typing import TypeVar

import torch
from transformers import AutoModelForSequenceClassification, BertConfig, PreTrainedModel

from kdbench.encoder.base import Encoder
from kdbench.encoder.load import from_config

Module = TypeVar("Module", bound=torch.nn.Module)
Size = tuple[int, int]
"""Layers and width."""

STUDENT, TEACHER, BERT_BASE = (3, 192), (6, 384), (12, 768)


def config(size: Size) -> BertConfig:
    """A BERT of that size with 12 heads, or 2 where 12 do not divide its width, 30,522 words and 2 classes."""
    layers, width = size
    heads = 12 if width % 12 == 0 else 2
    return BertConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * width
    )


def encoder(size: Size, seed: int) -> Encoder:
    torch.manual_seed(seed)
    return from_config(config(size))


def hugging_face(size: Size, seed: int) -> PreTrainedModel:
    """With eager attention, without which transformers hands out no attention maps."""
    torch.manual_seed(seed)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config(size), attn_implementation="eager")
    return model


def frozen(model: Module) -> Module:
    return model.eval().requires_grad_(False)
