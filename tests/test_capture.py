"""What is captured from Hugging Face encoders is what they compute, padded or packed, and only what is asked for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, DistilBertConfig, ElectraConfig, RobertaConfig

from kdbench.data.batch import Batch, packed
from kdbench.encoder.base import Encoder
from kdbench.encoder.load import from_config
from kdbench.knowledge.attention import Attention
from kdbench.outputs import ModelOutputs, Taps
from kdbench.packing import MODEL_TYPES
from kdbench.teacher_outputs.stream import read_of

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


padded_or_packed = pytest.mark.parametrize("form", [lambda batch: batch, packed], ids=["padded", "packed"])
Form = Callable[[Batch], Batch]


def built(config: BertConfig) -> Encoder:
    torch.manual_seed(0)
    model = from_config(config)
    model.eval()
    return model


@padded_or_packed
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_captures_equal_what_eager_attention_returns(config: BertConfig, form: Form) -> None:
    ours = built(config)
    eager = AutoModelForSequenceClassification.from_config(
        copy.deepcopy(ours.model.config), attn_implementation="eager"
    )
    eager.load_state_dict(ours.model.state_dict())
    eager.eval()
    data = batch()
    outputs = ours(form(data), EVERYTHING)
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


@padded_or_packed
def test_only_what_is_named_is_captured(form: Form) -> None:
    outputs = built(CONFIGS[0])(form(batch()), Taps(hidden=frozenset({0, 2}), query=frozenset({3})))
    assert set(outputs.hidden) == {0, 2}
    assert set(outputs.query) == {3}
    assert not outputs.key and not outputs.value and not outputs.scores and not outputs.cls and not outputs.mean


@padded_or_packed
def test_two_calls_share_no_state(form: Form) -> None:
    model = built(CONFIGS[0])
    first: ModelOutputs = model(form(batch()), EVERYTHING)
    plain: ModelOutputs = model(form(batch(rows=2)), Taps(logits=True))
    again: ModelOutputs = model(form(batch()), EVERYTHING)
    assert not plain.query and not plain.hidden
    torch.testing.assert_close(first.query[2], again.query[2])


@padded_or_packed
def test_captures_carry_gradients_and_precede_dropout(form: Form) -> None:
    model = built(CONFIGS[0])
    model.train()
    outputs = model(form(batch()), EVERYTHING)
    outputs.query[3].sum().backward()
    assert model.layers[0].attention.self.query.weight.grad is not None


def test_logits_do_not_depend_on_padding() -> None:
    model = built(CONFIGS[0])
    short = batch(padding=0)
    wide = torch.nn.functional.pad(short.input_ids, (0, 4))
    mask = torch.nn.functional.pad(short.attention_mask, (0, 4))
    longer = Batch(wide, mask, torch.zeros_like(wide), short.labels, short.index)
    torch.testing.assert_close(model(short, Taps()).logits, model(longer, Taps()).logits, atol=1e-6, rtol=1e-5)


@padded_or_packed
def test_the_head_on_the_last_layer_is_the_models_own_answer(form: Form) -> None:
    model = built(CONFIGS[0])
    outputs = model(form(batch()), Taps(lens=frozenset({1, 3})))
    assert set(outputs.lens) == {1, 3} and not outputs.hidden
    torch.testing.assert_close(outputs.lens[3], outputs.logits)
    assert not torch.allclose(outputs.lens[1], outputs.logits)
    hidden = model(batch(), Taps(hidden=frozenset({1}))).hidden[1]
    pooled = torch.tanh(model.model.bert.pooler.dense(hidden[:, 0]))
    torch.testing.assert_close(outputs.lens[1], model.model.classifier(pooled))


@padded_or_packed
def test_the_head_on_a_layer_teaches_what_lies_below_it_and_itself_under_dropout(form: Form) -> None:
    model = built(CONFIGS[0])
    model.train()
    torch.manual_seed(0)
    outputs = model(form(batch()), Taps(lens=frozenset({2})))
    outputs.lens[2].square().sum().backward()
    taught = [any(bool(weight.grad.any()) for weight in layer.parameters() if weight.grad is not None)
              for layer in model.layers]  # fmt: skip
    assert taught == [True, True, False]
    assert model.model.classifier.weight.grad is not None
    torch.manual_seed(1)
    assert not torch.allclose(model.read_out(outputs.logits.new_ones(3, 7, 16)), model.read_out(torch.ones(3, 7, 16)))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_a_packed_batch_gives_what_its_padded_form_gives(config: BertConfig) -> None:
    """Of every tensor on real tokens; at padding a model that packs has zeros."""
    model = built(config).double()
    lens = LAYERS if config.model_type in MODEL_TYPES else frozenset()
    taps = replace(EVERYTHING, lens=lens)
    data = typed(batch(4, 9, 5), config)
    plain, found = model(data, taps), model(packed(data), taps)
    tokens = data.attention_mask
    places = {"hidden": tokens, "scores": tokens[:, None, :, None] & tokens[:, None, None, :]}
    for stream in taps:
        left, right = (read_of(outputs, stream) for outputs in (plain, found))
        assert left.shape == right.shape
        counts = places.get(stream[0], tokens[:, None] if left.dim() == 4 else torch.ones(len(left), dtype=torch.bool))
        counts = counts.expand(left.shape[: counts.dim()])
        torch.testing.assert_close(right[counts], left[counts], atol=1e-12, rtol=1e-9)
        assert config.model_type not in MODEL_TYPES or not right[~counts].any()


def test_a_packed_batch_teaches_what_its_padded_form_teaches() -> None:
    """Every weight gets the same gradient, in training mode with dropout set to 0, from a loss of every capture."""
    gradients = []
    for form in (lambda given: given, packed):
        model = built(CONFIGS[0]).double()
        model.train()
        for part in model.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        taps = replace(EVERYTHING, lens=LAYERS)
        data = typed(batch(4, 9, 5), CONFIGS[0])
        outputs = model(form(data), taps)
        sum(on_real_tokens(read_of(outputs, stream), data.attention_mask).square().sum() for stream in taps).backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters()})
    assert all(bool(gradient.any()) for gradient in gradients[0].values())
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-10, rtol=1e-8)


def on_real_tokens(values: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """What belongs to them of any capture, the rest 0."""
    if values.dim() == 3:
        return values * tokens[:, :, None]
    if values.dim() == 4:
        square = values.shape[-1] == tokens.shape[1]
        return values * (tokens[:, None, :, None] & (tokens[:, None, None, :] if square else True))
    return values


def typed(data: Batch, config: BertConfig) -> Batch:
    """The batch with two segments, where the model knows more than one."""
    types = torch.arange(data.input_ids.shape[1]).expand_as(data.input_ids) > 1
    return replace(data, token_type_ids=types.long() if getattr(config, "type_vocab_size", 0) > 1 else types.long() * 0)


def test_a_packed_pass_can_end_below_the_top() -> None:
    model = built(CONFIGS[0])
    taps = Taps(hidden=frozenset({2}), query=frozenset({1}))
    before = model(packed(batch()), taps)
    model.stop_after(2)
    after = model(packed(batch()), taps)
    assert torch.equal(after.hidden[2], before.hidden[2]) and torch.equal(after.query[1], before.query[1])


def test_dropout_draws_other_masks_for_a_packed_batch_and_the_same_ones_again() -> None:
    """Why the setting is part of a run's identity, and why a resumed run ends as an undisturbed one."""
    model = built(CONFIGS[0])
    model.train()
    logits = []
    for form in (packed, packed, lambda given: given):
        torch.manual_seed(1)
        logits.append(model(form(batch()), Taps(logits=True)).logits)
    assert torch.equal(logits[0], logits[1]) and not torch.allclose(logits[0], logits[2])
