"""What is captured from Hugging Face encoders is what they compute, and costs nothing where it is not asked for."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, DistilBertConfig, ElectraConfig, RobertaConfig

from kdbench.data.batch import Batch
from kdbench.encoder import Encoder, from_config
from kdbench.knowledge.attention import Attention
from kdbench.outputs import ModelOutputs, Taps

SMALL = {"vocab_size": 50, "num_labels": 3}
BERT = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, **SMALL}
CONFIGS = [
    BertConfig(**BERT),
    RobertaConfig(**BERT, pad_token_id=0),
    ElectraConfig(**BERT, embedding_size=16),
    DistilBertConfig(dim=16, n_layers=3, n_heads=2, hidden_dim=32, **SMALL),
]
LAYERS = frozenset({1, 2, 3})
EVERYTHING = Taps(True, *(LAYERS | {0},) * 3, query=LAYERS, key=LAYERS, value=LAYERS, scores=LAYERS)


def batch(rows: int = 3, length: int = 7, padding: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 50, (rows, length), generator=generator)
    mask = torch.ones(rows, length, dtype=torch.bool)
    mask[0, length - padding :] = False
    ids[~mask] = 0
    zeros = torch.zeros_like(ids)
    return Batch(ids, mask, zeros, torch.zeros(rows, dtype=torch.long), torch.arange(rows))


def built(config: BertConfig) -> Encoder:
    torch.manual_seed(0)
    model = from_config(config)
    model.eval()
    return model


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_captures_equal_what_eager_attention_returns(config: BertConfig) -> None:
    ours = built(config)
    eager = AutoModelForSequenceClassification.from_config(
        copy.deepcopy(ours.model.config), attn_implementation="eager"
    )
    eager.load_state_dict(ours.model.state_dict())
    eager.eval()
    data = batch()
    outputs = ours(data, EVERYTHING)
    raw = eager(
        input_ids=data.input_ids, attention_mask=data.attention_mask, output_attentions=True, output_hidden_states=True
    )
    torch.testing.assert_close(outputs.logits, raw.logits, atol=1e-5, rtol=1e-5)
    knowledge = Attention()
    _, mask = knowledge.relate(knowledge.extract(outputs, 1), outputs.mask)
    for layer in (1, 2, 3):
        scores = knowledge.extract(outputs, layer).masked_fill(~data.attention_mask[:, None, None, :], -torch.inf)
        real = mask.expand_as(scores)
        torch.testing.assert_close(scores.softmax(-1)[real], raw.attentions[layer - 1][real], atol=1e-6, rtol=1e-5)
    for layer in range(4):
        real_tokens = data.attention_mask
        torch.testing.assert_close(
            outputs.hidden[layer][real_tokens], raw.hidden_states[layer][real_tokens], atol=1e-5, rtol=1e-5
        )


def test_only_what_is_named_is_captured() -> None:
    outputs = built(CONFIGS[0])(batch(), Taps(hidden=frozenset({0, 2}), query=frozenset({3})))
    assert set(outputs.hidden) == {0, 2}
    assert set(outputs.query) == {3}
    assert not outputs.key and not outputs.value and not outputs.scores and not outputs.cls and not outputs.mean


def test_two_calls_share_no_state() -> None:
    model = built(CONFIGS[0])
    first: ModelOutputs = model(batch(), EVERYTHING)
    plain: ModelOutputs = model(batch(rows=2), Taps(logits=True))
    again: ModelOutputs = model(batch(), EVERYTHING)
    assert not plain.query and not plain.hidden
    torch.testing.assert_close(first.query[2], again.query[2])


def test_captures_carry_gradients_and_precede_dropout() -> None:
    model = built(CONFIGS[0])
    model.train()
    outputs = model(batch(), EVERYTHING)
    outputs.query[3].sum().backward()
    assert model.layers[0].attention.self.query.weight.grad is not None


def test_logits_do_not_depend_on_padding() -> None:
    model = built(CONFIGS[0])
    short = batch(padding=0)
    wide = torch.nn.functional.pad(short.input_ids, (0, 4))
    mask = torch.nn.functional.pad(short.attention_mask, (0, 4))
    longer = Batch(wide, mask, torch.zeros_like(wide), short.labels, short.index)
    torch.testing.assert_close(model(short, Taps()).logits, model(longer, Taps()).logits, atol=1e-6, rtol=1e-5)


def test_the_head_on_the_last_layer_is_the_models_own_answer() -> None:
    model = built(CONFIGS[0])
    outputs = model(batch(), Taps(lens=frozenset({1, 3})))
    assert set(outputs.lens) == {1, 3} and not outputs.hidden
    torch.testing.assert_close(outputs.lens[3], outputs.logits)
    assert not torch.allclose(outputs.lens[1], outputs.logits)
    hidden = model(batch(), Taps(hidden=frozenset({1}))).hidden[1]
    pooled = torch.tanh(model.model.bert.pooler.dense(hidden[:, 0]))
    torch.testing.assert_close(outputs.lens[1], model.model.classifier(pooled))


def test_the_head_on_a_layer_teaches_what_lies_below_it_and_itself_under_dropout() -> None:
    model = built(CONFIGS[0])
    model.train()
    torch.manual_seed(0)
    outputs = model(batch(), Taps(lens=frozenset({2})))
    outputs.lens[2].square().sum().backward()
    taught = [any(bool(weight.grad.any()) for weight in layer.parameters() if weight.grad is not None)
              for layer in model.layers]  # fmt: skip
    assert taught == [True, True, False]
    assert model.model.classifier.weight.grad is not None
    torch.manual_seed(1)
    assert not torch.allclose(model.read_out(outputs.logits.new_ones(3, 7, 16)), model.read_out(torch.ones(3, 7, 16)))
