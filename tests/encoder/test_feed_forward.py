"""What a feed-forward block gives is what its own maps make of the attention's output, of every type of encoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AlbertConfig, BertConfig, DistilBertConfig, ElectraConfig, PretrainedConfig, RobertaConfig

from kdbench.data.batch import Batch
from kdbench.encoder.load import from_config
from kdbench.head import ClassHead
from kdbench.outputs import Taps
from kdbench.packing import Packing

SIZES = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 30}
CONFIGS: dict[str, PretrainedConfig] = {
    "bert": BertConfig(**SIZES),
    "albert": AlbertConfig(**SIZES, embedding_size=4),
    "electra": ElectraConfig(**SIZES, embedding_size=4),
    "roberta": RobertaConfig(**SIZES, max_position_embeddings=40, pad_token_id=1),
    "distilbert": DistilBertConfig(dim=8, n_layers=3, n_heads=2, hidden_dim=16, vocab_size=30),
}


def batch(packed: bool) -> Batch:
    mask = torch.arange(6)[None] < torch.tensor([6, 3])[:, None]
    ids = torch.where(mask, torch.randint(5, 30, (2, 6), generator=torch.Generator().manual_seed(0)), 1)
    columns = (ids, mask, torch.zeros_like(ids), torch.zeros(2, dtype=torch.long), torch.arange(2))
    return Batch(*columns, packing=Packing.of(mask) if packed else None)


def norm_of(model: Any, layer: int) -> Any:
    """The norm that follows the block and the residual of a layer."""
    base = model.model.base_model
    if hasattr(base, "transformer"):
        return base.transformer.layer[layer - 1].output_layer_norm
    if model.model.config.model_type == "albert":
        return base.encoder.albert_layer_groups[0].albert_layers[0].full_layer_layer_norm
    return base.encoder.layer[layer - 1].output.LayerNorm


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("name", CONFIGS)
def test_block_and_residual_under_the_norm_are_the_hidden_state(name: str, packed: bool) -> None:
    """hidden = norm(block + residual), where the residual is what the first map of the block is given."""
    torch.manual_seed(0)
    model = from_config(CONFIGS[name], ClassHead(("a", "b"))).eval()
    given: list[torch.Tensor] = []
    norms = {norm_of(model, layer) for layer in (1, 2, 3)}
    hooks = [norm.register_forward_pre_hook(lambda part, inputs: given.append(inputs[0])) for norm in norms]
    firsts = [part for name, part in model.named_modules() if name.endswith(("intermediate.dense", "lin1", ".ffn"))]
    residuals: list[torch.Tensor] = []
    hooks += [
        part.register_forward_pre_hook(lambda part, inputs: residuals.append(inputs[0]))
        for part in firsts
        if isinstance(part, torch.nn.Linear)
    ]
    data = batch(packed)
    outputs = model(data, Taps(feed_forward=frozenset({1, 3})))
    for hook in hooks:
        hook.remove()
    assert set(outputs.feed_forward) == {1, 3} and len(given) == len(residuals) == 3
    for layer in (1, 3):
        expected = given[layer - 1] - residuals[layer - 1]
        if packed and expected.shape[0] == 1:
            assert data.packing is not None
            expected = data.packing.whole.unpack(expected)
        torch.testing.assert_close(
            outputs.feed_forward[layer][data.attention_mask], expected[data.attention_mask], rtol=1e-4, atol=1e-6
        )
    assert not any(part._forward_hooks for part in model.modules() if isinstance(part, torch.nn.Linear))


def test_a_layer_that_does_not_run_gives_nothing_and_costs_nothing() -> None:
    model = from_config(CONFIGS["bert"], ClassHead(("a", "b"))).eval()
    assert model(batch(False), Taps(logits=True)).feed_forward == {}
    model.stop_after(2)
    outputs = model(batch(False), Taps(feed_forward=frozenset({2})))
    assert outputs.feed_forward[2].shape == (2, 6, 8) and Taps(feed_forward=frozenset({2})).deepest == 2
