"""Factored students: the published counts, nearest beginnings, and what a factored vocabulary head says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import nn

import kdbench
from kdbench import cost
from kdbench.config import CONF_DIR
from kdbench.data.batch import NO_PLACE, Batch
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.export import export
from kdbench.finished_run import FinishedRun
from kdbench.head import ClassHead, WordHead
from kdbench.kronecker.choice import FactorChoice
from kdbench.kronecker.dense import approximate, multiplied
from kdbench.kronecker.factorise import is_factored
from kdbench.model import own_weights
from kdbench.outputs import Taps
from kdbench.pipeline import prepare
from kdbench.planning import plan_run
from kdbench.stage import build_module, build_stage
from kdbench.store import Store
from kdbench.student.bert import bert
from kdbench.student.kronecker import dense_twin, kronecker, shape
from kdbench.teacher import load_teacher

Overrides = Callable[..., list[str]]
BASE = {"layers": 12, "width": 768, "heads": 12, "intermediate": 3072}
TWO = ClassHead(("no", "yes"))
HEAD, POOLER = 2 * 769, 768 * 769


@cache
def factors(name: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        node = compose("train", overrides=["student=kronecker", f"student/factors={name}"]).student.factors
    return OmegaConf.to_container(node)  # type: ignore[return-value]


def counted(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "whole", "without_pooler", "ratio"),
    [
        ("kb8", 14_654_216, 14_063_624, 7.471),
        ("kb21", 5_228_272, 4_637_680, 20.94),
        ("kb19", 5_716_620, 5_126_028, 19.15),
        ("kb5_sum4", 20_762_508, 20_171_916, 5.273),
    ],
)
def test_the_sizes_of_the_paper(name: str, whole: int, without_pooler: int, ratio: float) -> None:
    """Of BERT-base with its pooler and without the classes; kb8's 7.785 leaves the pooler out of the student alone."""
    with torch.device("meta"):
        theirs = bert(**BASE, vocabulary=30522, head=TWO)
        ours = kronecker(**BASE, vocabulary=30522, head=TWO, factors=factors(name))
    assert counted(theirs) - HEAD == 109_482_240
    assert counted(ours) - HEAD == whole == without_pooler + POOLER
    assert 109_482_240 / whole == pytest.approx(ratio, abs=0.005)
    if name == "kb8":
        assert 109_482_240 / without_pooler == pytest.approx(7.785, abs=0.0005)


@pytest.mark.parametrize("pooler", [{"b": [2, 2]}, {"a": [384, 384]}])
def test_the_size_with_a_factored_pooler(pooler: dict[str, list[int]]) -> None:
    """Of kb8 with the pooler in the shape of attention, its bias dense: 7.70 times fewer than BERT-base."""
    with torch.device("meta"):
        ours = kronecker(**BASE, vocabulary=30522, head=TWO, factors={**factors("kb8"), "pooler": pooler})
    assert counted(ours) - HEAD == 14_211_852 == 14_063_624 + 147_460 + 768
    assert 109_482_240 / (counted(ours) - HEAD) == pytest.approx(7.70, abs=0.005)


@pytest.mark.parametrize(
    ("name", "attention", "feed_forward", "words"),
    [("kb8", 147_460, 147_472, 2_930_120), ("kb21", 18_464, 73_760, 1_465_072), ("kb19", 18_464, 73_760, 1_953_420)],
)
def test_the_sizes_of_each_matrix(name: str, attention: int, feed_forward: int, words: int) -> None:
    choice = FactorChoice.from_config(factors(name))
    found = [choice.of(target, matrix) for target, matrix in
             (("attention", (768, 768)), ("feed_forward", (3072, 768)), ("feed_forward_out", (768, 3072)))]  # fmt: skip
    assert [each.parameters for each in found if each] == [attention, feed_forward, feed_forward]
    assert 30522 * 768 // choice.shared(768) + choice.shared(768) == words


@pytest.mark.parametrize(("name", "billions"), [("kb8", 5.4747), ("kb21", 1.4032)])
def test_the_operations_of_the_paper(name: str, billions: float) -> None:
    """Of the linear maps of 12 layers at 128 tokens, dense 21.7327 billion (Tahaei et al. 2022, eq. 7)."""
    choice = FactorChoice.from_config(factors(name))
    maps = [("attention", (768, 768))] * 4 + [("feed_forward", (3072, 768)), ("feed_forward_out", (768, 3072))]
    total = dense = 0
    for target, matrix in maps:
        found = choice.of(target, matrix)
        assert found is not None
        total += 12 * 128 * found.flops(found.order)
        dense += 12 * 128 * (2 * matrix[1] - 1) * matrix[0]
    assert total / 1e9 == pytest.approx(billions, abs=5e-5) and dense / 1e9 == pytest.approx(21.7327, abs=5e-5)


SMALL: dict[str, Any] = {"layers": 2, "width": 8, "heads": 2, "intermediate": 16, "vocabulary": 30, "dropout": 0.0}
SOME = {"attention": {"b": [2, 2]}, "feed_forward": {"a": [4, 2]}, "embedding": 4}
EXACT = {"attention": {"a": [2, 2]}, "feed_forward": {"a": [2, 2]}, "sums": 4}


def batch() -> Batch:
    ids = torch.randint(5, 30, (3, 6), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(6)[None] < torch.tensor([6, 4, 3])[:, None]
    words = torch.where(torch.arange(6)[None] == 2, ids, NO_PLACE).expand(3, 6)
    return Batch(ids * mask, mask, torch.zeros_like(ids), torch.zeros(3, dtype=torch.long), torch.arange(3), words)


@pytest.mark.parametrize("head", [TWO, WordHead(), WordHead((7, 9))], ids=["classes", "words", "answers"])
def test_it_computes_what_the_multiplied_model_does(head: ClassHead | WordHead) -> None:
    """Through every layer and head, and the vocabulary head contracts the shared row first."""
    torch.manual_seed(0)
    model = kronecker(**SMALL, head=head, factors=SOME).double().eval()
    twin = dense_twin(model).double().eval()
    missing, unexpected = twin.load_state_dict(multiplied(model), strict=False)
    assert unexpected == [] and all("decoder.weight" in name for name in missing)  # tied to the embedding
    assert is_factored(model) and not is_factored(twin)
    data, of_words = batch(), isinstance(head, WordHead)
    answers = not isinstance(head, WordHead) or bool(head.answers)
    states, scores = frozenset({0, 1, 2}), frozenset({1})
    taps = Taps(logits=answers, hidden=states, scores=scores, decoder_inputs=of_words)
    ours, theirs = model(data, taps), twin(data, taps)
    for layer in (0, 1, 2):
        torch.testing.assert_close(ours.hidden[layer], theirs.hidden[layer])
    torch.testing.assert_close(ours.scores[1], theirs.scores[1])
    if taps.logits:
        torch.testing.assert_close(ours.logits, theirs.logits)
    if of_words:
        assert ours.decoder_inputs is not None and theirs.decoder_inputs is not None
        assert ours.decoder_inputs.shape[-1] == 2 == model.shape.decoder_width and theirs.decoder_inputs.shape[-1] == 8
        torch.testing.assert_close(ours.decoder(ours.decoder_inputs), theirs.decoder(theirs.decoder_inputs))
        whole = replace(data, attention_mask=torch.ones_like(data.attention_mask))
        told = model(whole, Taps(decoder_inputs=True))
        torch.testing.assert_close(model.model(data.input_ids).logits, told.decoder(told.decoder_inputs))


def test_as_many_products_as_the_rank_are_the_dense_student() -> None:
    torch.manual_seed(0)
    dense = bert(**SMALL, head=TWO).double().eval()
    model = kronecker(**SMALL, head=TWO, factors=EXACT).double().eval()
    approximate(model, dense.state_dict())
    taps = Taps(logits=True, hidden=frozenset({2}))
    ours, theirs = model(batch(), taps), dense(batch(), taps)
    torch.testing.assert_close(ours.logits, theirs.logits)
    torch.testing.assert_close(ours.hidden[2], theirs.hidden[2])


@pytest.mark.parametrize("words", [False, True])
def test_the_shape_is_known_before(words: bool) -> None:
    options = {**SMALL, "factors": SOME}
    built = kronecker(**SMALL, head=WordHead() if words else TWO, factors=SOME)
    assert shape(options, 0 if words else 2, words) == built.shape


EXACTLY = [
    *("student=kronecker", "student.layers=4", "student.dropout=0.0", "initialization=nearest_kronecker"),
    *("student.factors.attention.a=[2,2]", "student.factors.attention.b=null", "student.factors.feed_forward.a=[2,2]"),
    *("student.factors.embedding=null", "student.factors.sums=4", "teacher.stored_in=f32"),
]
"""As many products as the rank, of a student as deep and as wide as its teacher."""


def first_step(overrides: list[str], store: Path) -> tuple[dict[str, float], int]:
    """The losses of a task's first batch, and how many parameters are trained."""
    cfg = kdbench.compose(overrides)
    opened = Store(store)
    context = prepare(cfg, plan_run(cfg, opened), opened)
    module, stream = build_module(context, "task")
    losses = module.losses(next(iter(stream))).tolist()
    trained = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    return dict(zip(module.names, losses, strict=True)), trained


def test_a_factored_student_begins_as_its_teacher(tiny: Overrides, tmp_path: Path) -> None:
    """Every loss between the two is 0 then, and distillation adds no parameter that is trained (checks 11 and 12)."""
    method = ["method=kroneckerbert_without_general", "objective@stages.task.terms.soft.objective=kl"]
    losses, trained = first_step(tiny(*method, *EXACTLY), tmp_path / "store")
    assert losses.pop("label") > 0.1
    assert losses == pytest.approx(dict.fromkeys(("embeddings", "attention", "layers", "soft"), 0.0), abs=1e-8)
    assert first_step(tiny("method=label", *EXACTLY), tmp_path / "store")[1] == trained


@pytest.mark.parametrize("general", ["kroneckerbert", "kroneckerbert_without_general"])
@pytest.mark.parametrize("beginning", ["nearest_kronecker", "random"])
def test_the_task_begins_with_the_head_of_its_teacher(
    tiny: Overrides, tmp_path: Path, general: str, beginning: str
) -> None:
    """Whatever went before: without it a study of the corpus stage would compare heads too."""
    corpus = ["corpus=generated", "teacher.language.train=true", "teacher.language.training.max_steps=2"]
    about = [f"method={general}", "student=kronecker", "student.layers=4", f"initialization={beginning}", *corpus]
    cfg = kdbench.compose(tiny(*about, "training.max_steps=2", "teacher.training.max_steps=4"))
    opened = Store(tmp_path / "store")
    plan = plan_run(cfg, opened)
    context = prepare(cfg, plan, opened)
    previous: Path | None = None
    for name in list(cfg.stages)[:-1]:
        signature = plan.signatures("stage")[0]
        previous = opened.obtain("stage", signature, lambda made, name=name: build_stage(context, name, None, made))
    module, _ = build_module(context, "task", previous)
    teacher = load_teacher(context.teacher_path, context.task.head(context.tokenizer))
    ours, theirs = module.model.bare.heads, teacher.heads
    assert set(ours) == {"pooler", "dropout", "classifier"}
    for name, part in ours.items():
        assert all(torch.equal(value, theirs[name].state_dict()[key]) for key, value in part.state_dict().items()), name


def test_nearest_products_begin_nearer_than_random_ones(tiny: Overrides, tmp_path: Path) -> None:
    """Check 14, as far as a tiny model can show it: on every term of a teacher's inside."""
    own = ["method=kroneckerbert_without_general", "student=kronecker", "student.layers=4", "student.dropout=0.0"]
    nearest, random = (
        first_step(tiny(*own, f"initialization={name}"), tmp_path / "store")[0]
        for name in ("nearest_kronecker", "random")
    )
    assert all(nearest[name] < random[name] for name in ("embeddings", "attention", "layers"))


def test_it_is_exported_as_the_dense_model_that_computes_the_same(tiny: Overrides, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    own = ["student=kronecker", "initialization=nearest_kronecker", "student.factors.feed_forward.a=[4,2]", "method=kd"]
    record = kdbench.run(kdbench.compose(tiny(*own)))
    run = FinishedRun(Store(tmp_path / "store"), record["signature"])
    folder = export(run.store, run.signature, tmp_path / "out")
    model, data = AutoModelForSequenceClassification.from_pretrained(folder).eval(), batch()
    with torch.inference_mode():
        found = model(input_ids=data.input_ids, attention_mask=data.attention_mask).logits
        torch.testing.assert_close(found, run.student()(data, Taps(logits=True)).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["student.factors.attention.b=[3,2]"],
            r"student.factors.attention.b=\[3, 2\]: 3 does not divide the 32 rows of the map 32 x 32: choose a divisor",
        ),
        (["student.factors.embedding=5"], "student.factors.embedding=5 does not divide the embedding's width=32"),
        (
            ["student.factors.sums=99"],
            r"b=\[2, 2\] with sums=99: 4 products make any .*: set student.factors.sums",
        ),
        (["student.factors.attention.b=[2]"], "must be the shape of one of the two factors"),
        (["student.factors.attention.a=[4,4]"], "must be the shape of one of the two factors"),
        (["+student.factors.bias=[1,2]"], "student.factors.bias is no target: choose among attention"),
        (["initialization=teacher_uniform"], "are factored: choose initialization=nearest_kronecker"),
        (["student=bert", "initialization=nearest_kronecker"], "is for a factored student: choose student=kronecker"),
    ],
)
def test_what_cannot_be_factored_is_refused(
    tiny: Overrides, tmp_path: Path, overrides: list[str], message: str
) -> None:
    own = ["student=kronecker", "initialization=nearest_kronecker", "student.layers=4", "student/factors=kb8"]
    chosen = [*(each for each in own if not each.startswith("student/") or "student=bert" not in overrides), *overrides]
    with pytest.raises((KdbenchError, ImpossibleError), match=message):
        plan_run(kdbench.compose(tiny(*chosen)), Store(tmp_path / "store"))


@pytest.mark.parametrize("name", ["kb8", "kb21", "kb5_sum4"])
def test_flops_of_a_student_follow_the_closed_form(name: str) -> None:
    """Two products a map in the cheaper order, two operations a multiplication; attention, pooler and head as dense."""
    tokens, layers, width, inner = 24, 2, 384, 1536
    node = factors(name) | ({"embedding": 12} if name == "kb5_sum4" else {})
    student = kronecker(layers, width, 12, inner, vocabulary=50, head=TWO, factors=node)
    choice = FactorChoice.from_config(node)
    expected = 2 * width * width + 2 * width * 2  # pooler and classes, of one token
    shapes = {"attention": (width, width, 4), "feed_forward": (inner, width, 1), "feed_forward_out": (width, inner, 1)}
    for target, (rows, columns, count) in shapes.items():
        found = choice.of(target, (rows, columns))
        assert found is not None
        (m1, m2), (n1, n2) = found.out, found.into
        second_first = n1 * n2 * m2 + n1 * m1 * m2  # multiplications by B, then by A
        first_first = n1 * n2 * m1 + n2 * m1 * m2
        cheaper = second_first if found.order == "b_first" else first_first
        assert cheaper == min(second_first, first_first)
        expected += layers * count * 2 * tokens * found.sums * cheaper
    expected += layers * 4 * tokens * tokens * width  # scores and their sum over the values
    assert cost.flops(student, tokens) == expected


def test_the_bytes_of_a_student_are_those_of_its_file(tmp_path: Path) -> None:
    student = kronecker(2, 384, 12, 1536, vocabulary=500, head=TWO, factors=factors("kb21"))
    save_file(own_weights(student), tmp_path / "student.safetensors")
    with (tmp_path / "student.safetensors").open("rb") as file:
        header = 8 + int.from_bytes(file.read(8), "little")
    assert cost.weight_bytes(student) == (tmp_path / "student.safetensors").stat().st_size - header
    assert cost.parameters(student)["total"] == sum(parameter.numel() for parameter in student.parameters())
