"""The scores of tokens as ends of an answer are those of transformers, packed or padded, and padding is never one."""

from __future__ import annotations

import pytest
import torch
from transformers import AlbertConfig, BertConfig, DistilBertConfig, ElectraConfig, PretrainedConfig, RobertaConfig

from kdbench.data.batch import Batch
from kdbench.encoder.load import from_config
from kdbench.head import ABSENT, SpanHead
from kdbench.outputs import Taps
from kdbench.packing import Packing

SIZES = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 30}
CONFIGS: dict[str, PretrainedConfig] = {
    "bert": BertConfig(**SIZES),
    "albert": AlbertConfig(**SIZES, embedding_size=4),
    "electra": ElectraConfig(**SIZES, embedding_size=4),
    "roberta": RobertaConfig(**SIZES, max_position_embeddings=40, pad_token_id=1),
    "distilbert": DistilBertConfig(dim=8, n_layers=2, n_heads=2, hidden_dim=16, vocab_size=30),
}
LENGTHS = (7, 3, 5)


def batch(more: int = 0, packed: bool = False) -> Batch:
    ids = torch.randint(5, 30, (3, max(LENGTHS)), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(max(LENGTHS) + more)[None] < torch.tensor(LENGTHS)[:, None]
    ids = torch.where(mask, torch.nn.functional.pad(ids, (0, more)), 1)
    types = torch.zeros_like(ids)
    packing = Packing.of(mask) if packed else None
    return Batch(ids, mask, types, torch.zeros(3, dtype=torch.long), torch.arange(3), packing=packing)


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_those_of_transformers(name: str, packed: bool) -> None:
    torch.manual_seed(0)
    model = from_config(CONFIGS[name], SpanHead()).eval()
    data = batch(packed=packed)
    with torch.inference_mode():
        found = model(data, Taps(logits=True)).logits
        raw = model.model(input_ids=data.input_ids, attention_mask=data.attention_mask)
    expected = torch.stack([raw.start_logits, raw.end_logits], dim=1)
    tokens = data.attention_mask[:, None].expand_as(expected)
    torch.testing.assert_close(found[tokens], expected[tokens], atol=1e-6, rtol=1e-5)
    assert bool((found[~tokens] == ABSENT).all()) and found.shape == (3, 2, 7)


def test_more_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    model = from_config(CONFIGS["bert"], SpanHead()).eval()
    with torch.inference_mode():
        short, long = (model(batch(more), Taps(logits=True)).logits for more in (0, 4))
    torch.testing.assert_close(long[:, :, :7], short, atol=1e-6, rtol=1e-5)
    assert bool((long[:, :, 7:] == ABSENT).all()) and model.shape.spans
