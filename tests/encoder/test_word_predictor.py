"""A masked language model says what transformers' own says, padded or packed, and changes its head for another."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AlbertConfig,
    AutoModelForMaskedLM,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    PretrainedConfig,
    RobertaConfig,
)

from kdbench.data.batch import NO_PLACE, UNKNOWN_WORD, Batch, packed
from kdbench.encoder.base import Encoder
from kdbench.encoder.load import from_config, from_folder
from kdbench.encoder.word_predictor import TRANSFORMS, WORDS, WordPredictor
from kdbench.error import KdbenchError
from kdbench.head import ClassHead, WordHead
from kdbench.model import own_weights, take_over
from kdbench.outputs import Taps

SIZE = 50
BERT = {
    "vocab_size": SIZE, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32
}  # fmt: skip
CONFIGS: list[PretrainedConfig] = [
    AlbertConfig(**BERT, embedding_size=8),
    BertConfig(**BERT),
    DistilBertConfig(vocab_size=SIZE, dim=16, n_layers=2, n_heads=2, hidden_dim=32),
    ElectraConfig(**BERT, embedding_size=8),
    RobertaConfig(**BERT, pad_token_id=0),
]
Form = Callable[[Batch], Batch]
padded_or_packed = pytest.mark.parametrize("form", [lambda batch: batch, packed], ids=["padded", "packed"])
every_type = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)


def built(config: PretrainedConfig, head: ClassHead | WordHead = WORDS) -> Encoder:
    torch.manual_seed(0)
    model = from_config(config, head)
    for parameter in model.parameters():  # biases begin as 0, which would hide one that is left out
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()  # type: ignore[no-any-return]


def batch() -> Batch:
    """Rows of 7, 5 and 2 tokens with one place each."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(7)[None] < torch.tensor([7, 5, 2])[:, None]
    ids = torch.randint(5, SIZE, (3, 7), generator=generator) * mask
    words = torch.full((3, 7), NO_PLACE)
    words[torch.arange(3), torch.tensor([6, 0, 1])] = torch.tensor([9, UNKNOWN_WORD, 11])
    return Batch(ids, mask, torch.zeros_like(ids), torch.zeros(3, dtype=torch.long), torch.arange(3), words)


def test_every_known_type_is_tried() -> None:
    assert {config.model_type for config in CONFIGS} == set(TRANSFORMS)


@padded_or_packed
@every_type
def test_the_scores_of_all_words_are_those_of_transformers(config: PretrainedConfig, form: Form) -> None:
    ours, data = built(config), batch()
    reference = AutoModelForMaskedLM.from_config(copy.deepcopy(ours.model.config), attn_implementation="eager")
    reference.load_state_dict(ours.model.state_dict())
    expected = reference.eval()(input_ids=data.input_ids, attention_mask=data.attention_mask).logits
    found = ours(form(data), Taps(decoder_inputs=True, logits=True))
    assert found.decoder_inputs.shape[-1] == ours.shape.decoder_width
    tokens = data.attention_mask
    torch.testing.assert_close(found.decoder(found.decoder_inputs)[tokens], expected[tokens], atol=1e-5, rtol=1e-5)
    assert data.words is not None
    torch.testing.assert_close(found.logits, expected[data.words != NO_PLACE], atol=1e-5, rtol=1e-5)


@padded_or_packed
def test_the_answers_are_the_scores_of_some_words_at_a_row_s_place(form: Form) -> None:
    everything, data = built(CONFIGS[1]), batch()
    asked = WordPredictor(everything.model, WordHead((11, 7))).eval()
    assert asked.shape.classes == 2 and everything.shape.classes == 0
    whole, some = (model(form(data), Taps(logits=True)).logits for model in (everything, asked))
    torch.testing.assert_close(some, whole[:, [11, 7]])


def test_captures_stand_beside_the_words() -> None:
    found = built(CONFIGS[1])(batch(), Taps(decoder_inputs=True, hidden=frozenset({2}), query=frozenset({1})))
    assert set(found.hidden) == {2} and set(found.query) == {1} and found.logits is None


def test_what_is_not_asked_for_is_not_made() -> None:
    found = built(CONFIGS[1])(batch(), Taps(hidden=frozenset({1})))
    assert found.decoder_inputs is None and found.decoder is None and found.logits is None


@every_type
def test_weights_that_are_tied_are_kept_once_and_come_back(config: PretrainedConfig, tmp_path: Path) -> None:
    model, other = built(config), from_config(config, WordHead())
    kept = own_weights(model)
    assert sum(value.numel() for value in kept.values()) < sum(value.numel() for value in model.state_dict().values())
    save_file(kept, tmp_path / "weights.safetensors")
    take_over(other, load_file(tmp_path / "weights.safetensors"))
    for name, value in other.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_a_body_goes_from_under_one_head_to_another() -> None:
    words, classes = built(CONFIGS[1]), built(CONFIGS[1], ClassHead(("no", "yes")))
    fresh = {name: value.clone() for name, value in classes.state_dict().items()}
    take_over(classes, own_weights(words))
    for name, value in classes.state_dict().items():
        expected = fresh[name] if "classifier" in name or "pooler" in name else words.state_dict()[name]
        assert torch.equal(value, expected), name
    torch.testing.assert_close(
        classes(batch(), Taps(hidden=frozenset({2}))).hidden[2], words(batch(), Taps(hidden=frozenset({2}))).hidden[2]
    )


def test_a_body_of_another_size_is_refused() -> None:
    deeper = built(BertConfig(**{**BERT, "num_hidden_layers": 3}))
    for ours, theirs in ((built(CONFIGS[1]), deeper), (deeper, built(CONFIGS[1]))):
        with pytest.raises(RuntimeError, match=r"encoder\.layer\.2"):
            take_over(ours, own_weights(theirs))


def test_a_folder_without_a_vocabulary_head_is_refused_unless_it_may_be_fresh(tmp_path: Path) -> None:
    built(CONFIGS[1], ClassHead(("no", "yes"))).save(tmp_path)
    with pytest.raises(KdbenchError, match=r"brings no vocabulary head: .*teacher\.language\.train=true"):
        from_folder(tmp_path, WordHead())
    assert isinstance(from_folder(tmp_path, WordHead(), fresh=True), WordPredictor)


def test_a_folder_comes_back_with_its_words(tmp_path: Path) -> None:
    model = built(CONFIGS[1])
    model.save(tmp_path)
    found = from_folder(tmp_path, WordHead())(batch(), Taps(decoder_inputs=True))
    expected = model(batch(), Taps(decoder_inputs=True))
    torch.testing.assert_close(found.decoder(found.decoder_inputs), expected.decoder(expected.decoder_inputs))


@padded_or_packed
def test_more_padding_changes_nothing(form: Form) -> None:
    model, data = built(CONFIGS[1]), batch()

    def longer(column: torch.Tensor | None, value: int = 0) -> torch.Tensor:
        assert column is not None
        return torch.nn.functional.pad(column, (0, 3), value=value)

    more = replace(
        data,
        input_ids=longer(data.input_ids),
        attention_mask=longer(data.attention_mask),
        token_type_ids=longer(data.token_type_ids),
        words=longer(data.words, NO_PLACE),
    )
    taps = Taps(decoder_inputs=True, logits=True)
    short, long = model(form(data), taps), model(form(more), taps)
    torch.testing.assert_close(long.logits, short.logits)
    tokens = data.attention_mask
    torch.testing.assert_close(long.decoder_inputs[:, :7][tokens], short.decoder_inputs[tokens])
