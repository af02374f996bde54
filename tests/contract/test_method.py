"""Every method composes for either kind of task and trains two steps on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

import kdbench
from kdbench.check import check
from kdbench.error import ImpossibleError

Overrides = Callable[..., list[str]]

REGRESSION = ("data.kind=regression", "data.labels=[]", "data.metrics=[pearson,spearman]")
STSB = "data=glue/stsb"
OUTPUTS = ("label", "logits")
BESIDE_LOGITS = ("knowledge=hidden",)
"""A method with a term of logits beside the axes' would compare them twice in a regression."""
SIZE = "student.width: 32, student.heads: 4, student.intermediate: 64, student.max_positions: 64"
LARGE, SECOND = "+team.large.teacher={}", "+team.second.teacher={teacher.seed: 7}"
SMALL = f"+team.small.student={{student.layers: 1, {SIZE}, initialization: random}}"
ASSISTANT = f"+team.assistant.student={{method: takd_hop, student.layers: 3, {SIZE}}}"
CORPUS = ["corpus=generated", "teacher.language.train=true", "teacher.language.training.max_steps=2"]
MATRICES = ["student.matrix_width=4", "student.vector_width=16", "student.classifier.hidden=8"]
FITTED = {
    "guideline": ["stages.task.terms.late.matching.offset=1"],
    "minilmv2": [f"stages.layers.terms.{of}.knowledge.heads=4" for of in ("query", "key", "value")],
    **{name: [SMALL, LARGE] for name in ("skdbert", "wkd", "tmkd", "uncertainty_kd", "rl_kd")},
    **{name: ["data=corpus", *CORPUS] for name in ("mlm", "word_kd")},
    **{name: CORPUS for name in ("glmd_without_vocabulary_compression", "tinybert_general")},
    **{
        name: [*CORPUS, "vocabulary.multiple=8", "vocabulary.reserved=[river,engine]"]
        for name in ("glmd", "glmd_al", "glmd_without_general", "glmd_without_task_words", "glmd_without_task_soft")
    },
    **{
        f"kroneckerbert{without}": ["student=kronecker", *CORPUS]
        for without in ("", "_without_general", "_without_task")
    },
    **{name: [*MATRICES, *CORPUS] for name in ("cmow_general", "cmow_two_stage")},
    "cmow_task": MATRICES,
    "mt_bert": [LARGE, SECOND],
    "takd": ["team=none", ASSISTANT],
    "dgkd": ["team=none", LARGE, ASSISTANT],
}
"""What a preset made for a real student needs to fit one of 2 layers and width 32; of a team, its members too."""

CORPUS_ALONE = ("mlm", "word_kd")
"""Methods whose students are scored on words: a task plays no part."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all methods, so that the teacher of a task is trained once."""
    return tmp_path_factory.mktemp("methods") / "store"


NOT_ON_REGRESSION = {
    "uncertainty_kd": "needs classes to be uncertain about",
    **{
        name: r"answers with a word, and \S+ \(regression\) has no such answers"
        for name in FITTED
        if name.startswith("glmd")
    },
}


def fitted(method: str, overrides: list[str]) -> list[str]:
    """The overrides with those of the method; of a group that both choose the method's counts. A student that is no
    transformer has none of the sizes of one."""
    own = FITTED.get(method, [])
    if method.startswith("cmow"):
        overrides = [override for override in overrides if not override.startswith("student.")]
    chosen = {override.partition("=")[0] for override in own}
    return [*(override for override in overrides if override.partition("=")[0] not in chosen), *own]


def outcome(method: str, regression: bool) -> AbstractContextManager[object]:
    """Nothing, or the refusal of a method that no regression can have."""
    sentence = NOT_ON_REGRESSION.get(method) if regression else None
    return nullcontext() if sentence is None else pytest.raises(ImpossibleError, match=sentence)


@pytest.mark.parametrize("data", ["data=glue/rte", STSB])
def test_a_method_composes_and_passes_the_check(method: str, data: str, tiny: Overrides) -> None:
    rest = [override for override in tiny() if not override.startswith("data=")]
    words = "corpus.max_length=64" if method in CORPUS_ALONE else "data.max_length=64"
    chosen = fitted(method, [data, words, f"method={method}", *BESIDE_LOGITS, *rest])
    # The words that fit the generated data are not the answers of these.
    cfg = kdbench.compose([override for override in chosen if not override.startswith("vocabulary.reserved")])
    with outcome(method, data == STSB):
        check(cfg)
    assert cfg.axes["method"] == method
    for stage in cfg.stages.values():
        of_outputs = [term for term in stage.terms.values() if term.knowledge._target_.split(".")[-2] in OUTPUTS]
        objectives = [term.objective._target_.rpartition(".")[2] for term in of_outputs]
        assert data != STSB or not {"cross_entropy", "kl", "soft_cross_entropy"} & set(objectives)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_a_method_trains_two_steps(method: str, kind: str, tiny: Overrides, store: Path) -> None:
    task = REGRESSION if kind == "regression" else ()
    steps = ("training.max_steps=2", "training.log_every_steps=1")
    own = (f"method={method}", f"paths.store={store}", *steps, *BESIDE_LOGITS)
    task = () if method in CORPUS_ALONE else task
    with outcome(method, kind == "regression"):
        record = kdbench.run(kdbench.compose(fitted(method, tiny(*own, *task))))
        losses = [entry["train/loss"] for entry in record["history"] if "train/loss" in entry]
        assert losses and all(math.isfinite(loss) for loss in losses)
        assert len(record["stages"]) == len(record["config"]["stages"])
        assert record["status"] == "finished"
