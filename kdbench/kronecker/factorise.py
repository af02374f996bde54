"""Factored maps in the places of a Hugging Face encoder's own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from kdbench.error import ImpossibleError
from kdbench.kronecker.choice import FactorChoice
from kdbench.kronecker.embedding import KroneckerEmbedding
from kdbench.kronecker.linear import KroneckerLinear
from kdbench.value import divides

TARGETS = {
    "attention": re.compile(
        r"attention\.(self\.(query|key|value)(_proj)?|output\.dense|[qkv]_lin|out_lin|query|key|value|dense)$"
    ),
    "feed_forward": re.compile(r"(intermediate\.dense|ffn\.lin1|\.ffn)$"),
    "feed_forward_out": re.compile(r"((?<!attention\.)output\.dense|ffn\.lin2|\.ffn_output)$"),
    "pooler": re.compile(r"\.pooler(\.dense)?$"),
}
"""The names that Hugging Face gives the maps of BERT, RoBERTa, ELECTRA, DistilBERT and ALBERT."""


def maps_of(model: nn.Module) -> Iterator[tuple[str, str, nn.Linear]]:
    """The dense maps that can be factored: name, target and map."""
    for name, part in model.named_modules():
        if isinstance(part, nn.Linear):
            for target, pattern in TARGETS.items():
                if pattern.search(name):
                    yield name, target, part
                    break


class KroneckerDecoder(nn.Module):
    """The last map of a vocabulary head that is tied to a factored embedding: the scores of all words.

    Args:
        embedding: whose table and shared row it uses.
        bias: (V,).
    """

    def __init__(self, embedding: KroneckerEmbedding, bias: Tensor | None) -> None:
        super().__init__()
        self.tied = [embedding]  # in a list, so that its weights are not this module's too
        self.bias = bias if bias is None or isinstance(bias, nn.Parameter) else nn.Parameter(bias)

    @property
    def weight(self) -> Tensor:
        """What is multiplied with the inputs once they are contracted, (V, D / n)."""
        return self.tied[0].table.weight

    def contracted(self, inputs: Tensor) -> Tensor:
        """(..., D) -> (..., D / n)."""
        return self.tied[0].contracted(inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., D) -> (..., V)."""
        return functional.linear(self.contracted(inputs), self.weight, self.bias)


def factorise(model: PreTrainedModel, choice: FactorChoice) -> None:
    """Put factored maps with fresh weights in the places of those that are chosen.

    Raises:
        ImpossibleError: a shape that does not divide, or a target that the model does not have.
    """
    there = Counter(target for _, target, _ in maps_of(model))
    blocks = there["feed_forward"]
    if not blocks or there["attention"] != 4 * blocks or there["feed_forward_out"] != blocks:
        raise ImpossibleError(
            f"student=kronecker_encoder does not know all maps of an encoder of type {model.config.model_type}: choose "
            "a BERT, RoBERTa, ELECTRA, DistilBERT or ALBERT"
        )
    for name, target, part in list(maps_of(model)):
        if (factors := choice.of(target, (part.out_features, part.in_features))) is not None:
            model.set_submodule(name, KroneckerLinear(factors, part.bias is not None))
    choice.refuse_missing_pooler(model.config.model_type)
    if choice.embedding is not None:
        _factorise_embedding(model, choice.embedding)


def is_factored(model: nn.Module) -> bool:
    """Whether any part of a model is."""
    return any(isinstance(part, KroneckerLinear | KroneckerEmbedding) for part in model.modules())


def _factorise_embedding(model: PreTrainedModel, shared: int) -> None:
    table: Any = model.get_input_embeddings()
    words, width = table.weight.shape
    divides("student.factors.embedding", shared, "the embedding's width", width)
    embedding = KroneckerEmbedding(words, width, shared, table.padding_idx)
    tied = model.get_output_embeddings()
    model.config.tie_word_embeddings = True  # a table of its own would be larger than all the rest
    model.set_input_embeddings(embedding)
    if tied is not None:
        model.set_output_embeddings(KroneckerDecoder(embedding, tied.bias))  # type: ignore[arg-type]
