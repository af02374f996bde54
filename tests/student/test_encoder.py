"""Students that are an architecture of transformers, by its configuration: dense, factored, with every head."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from transformers import AlbertConfig, AutoModel, BertConfig, DistilBertConfig, ElectraConfig, RobertaConfig

import kdbench
from kdbench.check import check, student_shape
from kdbench.config import instantiate, plain
from kdbench.data.batch import Batch
from kdbench.encoder.base import Encoder
from kdbench.encoder.load import from_config
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.finished_run import FinishedRun
from kdbench.head import ClassHead, Head, SpanHead, WordHead
from kdbench.initialization.nearest_kronecker import NearestKronecker
from kdbench.initialization.teacher_layers import TeacherLayers
from kdbench.kronecker.choice import FactorChoice
from kdbench.kronecker.embedding import KroneckerEmbedding
from kdbench.kronecker.factorise import factorise
from kdbench.kronecker.linear import KroneckerLinear
from kdbench.matching.uniform import Uniform
from kdbench.outputs import Taps
from kdbench.store import Store

Overrides = Callable[..., list[str]]
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 30}
CONFIGS = {
    "bert": BertConfig(**SIZES, max_position_embeddings=64),
    "roberta": RobertaConfig(**SIZES, max_position_embeddings=64, pad_token_id=1),
    "electra": ElectraConfig(**SIZES, embedding_size=16, max_position_embeddings=64),
    "albert": AlbertConfig(**SIZES, embedding_size=16, max_position_embeddings=64),
    "distilbert": DistilBertConfig(
        dim=32, n_layers=3, n_heads=4, hidden_dim=64, vocab_size=30, max_position_embeddings=64
    ),
}
HEADS = {"classification": ClassHead(("a", "b")), "span": SpanHead(), "words": WordHead()}
FACTORS = "student.factors={attention: {a: null, b: [2, 2]}, feed_forward: {a: [8, 2], b: null}, embedding: 4}"


@pytest.fixture(params=CONFIGS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A model of transformers."""
    torch.manual_seed(3)
    AutoModel.from_config(CONFIGS[request.param]).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def named(folder: Path) -> list[str]:
    return ["student.source=folder", f"student.model={folder}"]


def own_sizes(overrides: list[str]) -> list[str]:
    """Those of `tiny`, with the model's sizes for its student."""
    return [*(each for each in overrides if not each.startswith("student.")), "student/size=as_model"]


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("student", ["encoder", "kronecker_encoder"])
def test_the_shape_that_is_checked_is_the_one_that_is_built(
    tiny: Overrides, folder: Path, student: str, kind: str
) -> None:
    cfg = kdbench.compose([*own_sizes(tiny()), f"student={student}", *named(folder), *_small(student)])
    task = check(kdbench.compose(tiny())).task
    object.__setattr__(task, "kind", kind)
    expected = student_shape(plain(cfg.student), task)
    model = instantiate(cfg.student, vocabulary=41, head=HEADS[kind], padding_id=0)
    assert (model.shape.layers, model.shape.width, model.shape.heads) == (3, 32, 4)
    assert model.shape == replace(expected, classes=model.shape.classes)
    assert model.shape.factored == (student != "encoder")
    factored = [part for part in model.modules() if isinstance(part, KroneckerLinear)]
    assert len(factored) == (0 if student == "encoder" else 6 if _shares(folder) else 18)
    assert any(isinstance(part, KroneckerEmbedding) for part in model.modules()) == (student != "encoder")


def _small(student: str) -> list[str]:
    return [FACTORS] if student != "encoder" else []


def _shares(folder: Path) -> bool:
    return '"model_type": "albert"' in (folder / "config.json").read_text()


def test_sizes_of_its_own_take_the_place_of_the_models(tiny: Overrides, folder: Path) -> None:
    more = ["student.layers=2", "student.intermediate=48", "student.dropout=0.0"]
    cfg = kdbench.compose([*own_sizes(tiny()), "student=encoder", *named(folder), *more])
    model = instantiate(cfg.student, vocabulary=41, head=HEADS["classification"], padding_id=0)
    assert model.shape.layers == 2 and model.shape.width == 32
    assert all(part.p == 0.0 for part in model.modules() if isinstance(part, torch.nn.Dropout))
    assert any(48 in parameter.shape for parameter in model.parameters())


@pytest.mark.parametrize("folder", ["distilbert"], indirect=True)
@pytest.mark.parametrize("student", ["encoder", "kronecker_encoder"])
def test_a_run_does_not_depend_on_the_models_name(tiny: Overrides, tmp_path: Path, folder: Path, student: str) -> None:
    """The same artefact under another name, and its student is there when the model is gone."""
    about = [*own_sizes(tiny("method=kd", "training.max_steps=2")), f"student={student}", *_small(student)]
    record = kdbench.run(kdbench.compose([*about, *named(folder), "initialization=random"]))
    assert "model" not in record["config"]["student"] and "student/size" not in record["axes"]
    shutil.move(folder, tmp_path / "moved")
    again = kdbench.run(kdbench.compose([*about, *named(tmp_path / "moved"), "initialization=random"]))
    assert again["stages"] == record["stages"]
    shutil.rmtree(tmp_path / "moved")
    model = FinishedRun(Store(tmp_path / "store"), record["signature"]).student()
    assert isinstance(model, Encoder) and model.model.config.model_type == "distilbert"


def test_the_weights_come_by_the_initialization(tiny: Overrides, folder: Path, tmp_path: Path) -> None:
    """Of the same folder, whatever its type: with its own vocabulary here, so that they fit."""
    cfg = kdbench.compose([*own_sizes(tiny()), "student=encoder", *named(folder)])
    model = instantiate(
        cfg.student, vocabulary=30, head=HEADS["classification"], padding_id=CONFIGS["bert"].pad_token_id
    )
    node = OmegaConf.create({"_target_": "kdbench.initialization.pretrained.Pretrained", "model": str(folder)})
    instantiate(node).initialize(model, None, Store(tmp_path / "store"))
    donor = AutoModel.from_pretrained(folder).state_dict()
    ours = {name.partition(".")[2]: value for name, value in model.model.state_dict().items()}
    shared = [name for name in donor if name in ours]
    assert len(shared) > 20 and all(torch.equal(donor[name], ours[name]) for name in shared)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["student.model=/nowhere"], r"student\.model=/nowhere is no model folder"),
        (["student.layers=0"], r"student\.layers=0 must be a whole number of at least 1"),
        (["student.dropout=1.5"], r"student\.dropout=1\.5"),
        (["student.model=null"], r"student\.model has no value"),
        (["student.source=web"], r"student\.source=web"),
        (["student.source=embedded"], r"set student\.source=folder or hub"),
    ],
)
@pytest.mark.parametrize("folder", ["bert"], indirect=True)
def test_what_is_no_model_is_refused(tiny: Overrides, folder: Path, more: list[str], message: str) -> None:
    with pytest.raises(KdbenchError, match=message):
        kdbench.compose([*own_sizes(tiny()), "student=encoder", *named(folder), *more])


@pytest.mark.parametrize("folder", ["electra"], indirect=True)
def test_a_target_that_a_type_does_not_have_is_refused(tiny: Overrides, folder: Path) -> None:
    cfg = kdbench.compose([
        *own_sizes(tiny()), "student=kronecker_encoder", *named(folder), FACTORS, "+student.factors.pooler={a: [2, 2]}",
    ])  # fmt: skip
    for refused in (
        lambda: student_shape(plain(cfg.student), check(kdbench.compose(tiny())).task),
        lambda: instantiate(cfg.student, vocabulary=41, head=HEADS["words"], padding_id=0),
    ):
        with pytest.raises(ImpossibleError, match=r"factors\.pooler: an encoder of type electra has no pooler"):
            refused()


def test_heads_that_do_not_divide_are_refused_at_the_check(tiny: Overrides) -> None:
    cfg = kdbench.compose([*own_sizes(tiny()), "student=encoder", "student.heads=5", "initialization=random"])
    with pytest.raises(ImpossibleError, match=r"student\.heads=5 does not divide student\.width=32"):
        check(cfg)


@pytest.mark.parametrize("head", HEADS.values(), ids=list(HEADS))
@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "albert"])
def test_a_whole_copy_of_a_teacher_answers_as_it_does(tmp_path: Path, name: str, head: Head) -> None:
    """Of every type, by its layers, and by the nearest products where these are as many as the rank."""
    torch.manual_seed(5)
    teacher = from_config(CONFIGS[name], head).eval()
    exact = FactorChoice(attention={"a": [2, 2]}, feed_forward={"a": [2, 2]}, sums=4)
    copies = [from_config(CONFIGS[name], head).eval() for _ in range(2)]
    factorise(copies[1].model, exact)
    store = Store(tmp_path / "store")
    layers = TeacherLayers(Uniform())
    for student, beginning in zip(copies, (layers, NearestKronecker(layers)), strict=True):
        beginning.check(student.shape, teacher.shape)
        beginning.initialize(student, teacher, store)
    ids = torch.arange(3, 21).view(3, 6)
    columns = (ids, torch.ones_like(ids, dtype=torch.bool), torch.zeros_like(ids), torch.zeros(3, dtype=torch.long))
    taps = Taps(decoder_inputs=True) if isinstance(head, WordHead) else Taps(logits=True)
    with torch.inference_mode():
        said = [model(Batch(*columns, torch.arange(3)), taps) for model in (teacher, *copies)]
    values = [outputs.decoder_inputs if isinstance(head, WordHead) else outputs.logits for outputs in said]
    torch.testing.assert_close(values[1], values[0])
    torch.testing.assert_close(values[2], values[0], rtol=1e-3, atol=1e-5)
