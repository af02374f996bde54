"""Factored students as dense folders and as ONNX files, of every type of encoder and under every head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AlbertConfig, BertConfig, DistilBertConfig, ElectraConfig, RobertaConfig

from kdbench.as_transformers import AsTransformers
from kdbench.encoder.load import auto_class
from kdbench.head import ChoiceHead, ClassHead, Head, SpanHead, WordHead
from kdbench.model import Model
from kdbench.onnx_file import output_names, write_onnx
from kdbench.student.encoder import OF_A_MODEL
from kdbench.student.kronecker import kronecker_encoder

WORDS, PADDING = 30, 1
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
CONFIGS = {
    "bert": BertConfig(**SIZES, max_position_embeddings=32),
    "roberta": RobertaConfig(**SIZES, max_position_embeddings=34),
    "electra": ElectraConfig(**SIZES, embedding_size=8, max_position_embeddings=32),
    "albert": AlbertConfig(**SIZES, embedding_size=8, max_position_embeddings=32),
    "distilbert": DistilBertConfig(dim=16, n_layers=2, n_heads=4, hidden_dim=32, max_position_embeddings=32),
}
HEADS: dict[str, Head] = {
    "classes": ClassHead(("a", "b", "c")),
    "regression": ClassHead(()),
    "choices": ChoiceHead(2),
    "span": SpanHead(),
    "words": WordHead(),
}
FACTORS = {"attention": {"b": [2, 2]}, "feed_forward": {"a": [8, 2]}, "embedding": 4, "sums": 2}


def built(name: str, head: Head) -> Model:
    """A student of that type; biases and norms are no longer what they begin as, which would hide one left out."""
    config = {key: value for key, value in CONFIGS[name].to_diff_dict().items() if key not in OF_A_MODEL}
    pooler = {"a": [4, 4]} if name in ("bert", "albert") and isinstance(head, ClassHead | ChoiceHead) else None
    torch.manual_seed(0)
    model = kronecker_encoder(config, WORDS, head, {**FACTORS, "pooler": pooler}, padding_id=PADDING)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.5)
    return model.eval()


def rows(model: Model, head: Head) -> dict[str, torch.Tensor]:
    """What a tokenizer gives for rows of unlike lengths, of two texts where the model reads which is which."""
    lengths = torch.tensor([9, 6, 4, 2])
    places = torch.arange(9).expand(4, 9)
    mask = (places < lengths[:, None]).long()
    ids = torch.randint(5, WORDS, (4, 9), generator=torch.Generator().manual_seed(1))
    found = {"input_ids": torch.where(mask.bool(), ids, PADDING), "attention_mask": mask}
    if model.reads_types:
        found["token_type_ids"] = (places > 3).long() * mask
    return {key: values.view(2, 2, 9) for key, values in found.items()} if isinstance(head, ChoiceHead) else found


def scores(model: Any, outputs: list[str], inputs: dict[str, torch.Tensor]) -> list[np.ndarray]:
    """What a model of transformers, or one that is called as these are, says of the real tokens or of the rows."""
    with torch.inference_mode():
        answer = model(**inputs)
    return [of_tokens(answer[output].numpy(), inputs) for output in outputs]


def of_tokens(values: np.ndarray, inputs: dict[str, torch.Tensor]) -> np.ndarray:
    """Without padding, of what is said of each token."""
    mask = inputs["attention_mask"].bool().numpy()
    return values[mask] if values.shape[: mask.ndim] == mask.shape else values


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("name", CONFIGS)
def test_transformers_alone_says_what_a_factored_student_does(name: str, kind: str, tmp_path: Path) -> None:
    """By the names that transformers has for the weights, none of them missing and none too many."""
    model, head = built(name, HEADS[kind]), HEADS[kind]
    inputs, outputs = rows(model, head), output_names(model)
    model.save(tmp_path)
    found, report = getattr(transformers, auto_class(head)).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()) and found.config.model_type == name
    stored = load_file(tmp_path / "model.safetensors")
    assert sum(each.numel() for each in stored.values()) == sum(each.numel() for each in found.parameters())
    assert sum(each.numel() for each in model.parameters()) < sum(each.numel() for each in found.parameters())
    expected = scores(AsTransformers(model), outputs, inputs)
    for ours, theirs in zip(expected, scores(found.eval(), outputs, inputs), strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-4, rtol=1e-4)
        assert ours.std() > 0.05


SOME = [
    *(("bert", "regression"), ("bert", "words"), ("roberta", "classes")),
    *(("electra", "words"), ("albert", "choices"), ("distilbert", "span")),
]
"""Each type and each head: a file takes many times longer than a folder."""


@pytest.mark.parametrize(("name", "kind"), SOME)
def test_an_onnx_file_says_what_a_factored_student_does(name: str, kind: str, tmp_path: Path) -> None:
    """For another batch and length than it was made of, and no larger than the student."""
    import onnx
    import onnxruntime

    model: Any = built(name, HEADS[kind])
    head = HEADS[kind]
    inputs, outputs = rows(model, head), output_names(model)
    path = write_onnx(model.model, model, WORDS, tmp_path, head.choices if isinstance(head, ChoiceHead) else 1)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert {each.name for each in session.get_inputs()} == set(inputs)
    found = session.run(outputs, {key: values.numpy() for key, values in inputs.items()})
    for ours, theirs in zip(scores(AsTransformers(model), outputs, inputs), found, strict=True):
        np.testing.assert_allclose(of_tokens(theirs, inputs), ours, atol=1e-4, rtol=1e-4)
    graph = onnx.load(path).graph
    numbers = sum(int(np.prod(each.dims)) for each in graph.initializer)
    assert numbers < 1.3 * sum(each.numel() for each in model.parameters())
