"""Whole runs on words: a corpus alone, chains of stages, and what their parts share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

import kdbench
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.evaluation import Request, evaluate_run
from kdbench.export import export
from kdbench.finished_run import FinishedRun
from kdbench.head import WordHead
from kdbench.model import WEIGHTS
from kdbench.outputs import Taps
from kdbench.pipeline import prepare
from kdbench.planning import plan_run
from kdbench.stage import build_module, build_stage
from kdbench.store import Store
from kdbench.teacher import load_teacher

Overrides = Callable[..., list[str]]
CORPUS = ["corpus=generated", "teacher.language.train=true", "teacher.language.training.epochs=2",
          "teacher.language.optimizer.lr=1e-3"]  # fmt: skip
GLMD = [*CORPUS, "method=glmd", "vocabulary.multiple=8", "vocabulary.reserved=[river,engine]"]


def alone(overrides: list[str]) -> list[str]:
    """The overrides of a run on the corpus alone."""
    return [override for override in overrides if not override.startswith("data=")] + ["data=corpus", *CORPUS]


@pytest.fixture(scope="module")
def glmd(tiny_in: Overrides, store: Store) -> dict[str, Any]:
    return kdbench.run(kdbench.compose(tiny_in(store.root, *GLMD)))


def test_a_corpus_alone_is_learned(tiny_in: Overrides, store: Store) -> None:
    """Without a teacher, since nobody asks for one; more epochs tell more words."""
    begin = ("method=mlm", "initialization=random", "optimizer.lr=1e-2")
    short, long = (
        kdbench.run(kdbench.compose(alone(tiny_in(store.root, *begin, f"training.epochs={epochs}"))))
        for epochs in (1, 20)
    )
    assert long["teacher"] is None and long["agreement"] == {} and store.artefacts("teacher") == []
    accuracy, perplexity = ("validation/masked_accuracy", "validation/perplexity")
    assert long["metrics"][accuracy] > short["metrics"][accuracy]
    assert long["metrics"][perplexity] < 0.8 * short["metrics"][perplexity]


def test_a_language_model_teaches_on_its_corpus(tiny_in: Overrides, store: Store) -> None:
    record = kdbench.run(kdbench.compose(alone(tiny_in(store.root, "method=word_kd", "training.epochs=2"))))
    assert set(record["teacher"]["metrics"]) == set(record["metrics"]) and 0 < record["agreement"]["validation"] <= 1


def test_stages_follow_each_other_and_begin_with_what_the_last_one_left(glmd: dict[str, Any], store: Store) -> None:
    stages = [json.loads((store.path("stage", name) / "stage.json").read_text()) for name in glmd["stages"]]
    assert [entry["label"].partition(": ")[2] for entry in stages] == ["general", "task_words", "task_soft"]
    assert set(stages[0]["metrics"]) == {"validation/masked_accuracy", "validation/perplexity"}
    score = "validation/accuracy"
    # What a stage begins with is what the one before it kept, and counts among what it may keep.
    assert stages[2]["start_metrics"][score] == stages[1]["metrics"][score]
    assert stages[2]["metrics"][score] >= stages[2]["start_metrics"][score]
    assert glmd["metrics"][score] == stages[2]["metrics"][score]


def test_tasks_share_the_general_stage_the_language_model_and_the_words(
    tiny_in: Overrides, glmd: dict[str, Any], store: Store
) -> None:
    other = [
        "data.name=other",
        "data.train_rows=100",
        "data.cloze.answers=[garden,machine]",
        "vocabulary.reserved=[river,engine,garden,machine]",
    ]
    cfg = kdbench.compose(tiny_in(store.root, *GLMD[:-1], *other))
    plan = plan_run(cfg, store)
    assert plan.language is not None and plan.language.plan.finished
    same_words = kdbench.compose(tiny_in(store.root, *GLMD, "data.name=other", "data.train_rows=100"))
    plan = plan_run(same_words, store)
    assert plan.vocabulary is not None and plan.vocabulary.done and plan.signatures("stage")[0] == glmd["stages"][0]
    assert plan.teacher != glmd["teacher"]["signature"] and plan.signatures("stage")[1] != glmd["stages"][1]


def test_no_label_enters_a_stage(tiny_in: Overrides, glmd: dict[str, Any], store: Store, tmp_path: Path) -> None:
    """With the same teacher and rows to choose by, other training labels leave every weight as it was."""
    cfg = kdbench.compose(tiny_in(store.root, *GLMD))
    context = prepare(cfg, plan_run(cfg, store), store)
    rows, previous = context.splits["train"], None
    context.splits = {**context.splits, "train": replace(rows, labels=1 - rows.labels)}
    for name, signature in zip(cfg.stages, glmd["stages"], strict=True):
        (folder := tmp_path / str(name)).mkdir()
        build_stage(context, str(name), previous, folder)
        ours, theirs = (load_file(path / WEIGHTS) for path in (folder, store.path("stage", signature)))
        assert ours.keys() == theirs.keys() and all(torch.equal(value, theirs[key]) for key, value in ours.items())
        previous = folder


def test_a_vocabulary_that_keeps_all_words_is_none(tiny: Overrides, tmp_path: Path) -> None:
    """Bit for bit, but for the tables and the name."""
    found = []
    for choice in (["vocabulary.keep=1.0"], ["vocabulary=full"]):
        own = [override for override in GLMD if not (choice[0].endswith("full") and override.startswith("vocabulary"))]
        record = kdbench.run(kdbench.compose(tiny(*own, *choice)))
        weights = load_file(tmp_path / "store" / "stage" / record["stages"][-1] / "student.safetensors")
        found.append(
            {name.removeprefix("inner."): value for name, value in weights.items() if name not in ("rows", "words")}
        )
    assert found[0].keys() == found[1].keys() and all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_stage_of_words_reads_neither_layers_nor_attention(tiny_in: Overrides, store: Store) -> None:
    plan = plan_run(kdbench.compose(tiny_in(store.root, *GLMD)), store)
    streams = {stream for taps in plan.checked.taps.values() for each in taps for stream in each}
    assert streams == {("decoder_inputs", 0), ("logits", 0)}


def test_the_kept_words_cover_so_much_of_the_corpus(glmd: dict[str, Any], tiny_in: Overrides, store: Store) -> None:
    """Counted once more, by words and without the tokens that the rows add."""
    from collections import Counter

    run, cfg = FinishedRun(store, glmd["signature"]), kdbench.compose(tiny_in(store.root, *GLMD))
    side = prepare(cfg, plan_run(cfg, store), store).language
    assert side is not None and run.vocabulary is not None
    words = Counter(run.tokenizer.convert_ids_to_tokens(side.splits["train"].tokens.tolist()))
    corpus = {word: count for word, count in words.items() if word not in run.tokenizer.all_special_tokens}
    kept = set(run.tokenizer.convert_ids_to_tokens(run.vocabulary.words.tolist()))
    share = sum(count for word, count in corpus.items() if word in kept) / sum(corpus.values())
    told = json.loads((store.path("vocabulary", glmd["vocabulary"]) / "vocabulary.json").read_text())["coverage"]
    assert 0.5 < told < 1 and told == pytest.approx(share)
    assert {"river", "engine"} <= kept
    left_out = [count for word, count in corpus.items() if word not in kept]
    chosen = [count for word, count in corpus.items() if word in kept - {"river", "engine"}]
    assert max(left_out) <= min(chosen)


def test_a_teacher_may_read_what_the_student_reads(tiny_in: Overrides, glmd: dict[str, Any], store: Store) -> None:
    """`teacher_input=mapped`: it answers as on rows whose removed words are their substitutes."""
    del glmd  # what it made is in the store
    cfg = kdbench.compose(tiny_in(store.root, *GLMD, "vocabulary.teacher_input=mapped"))
    context = prepare(cfg, plan_run(cfg, store), store)
    assert context.vocabulary is not None and context.language is not None
    module, stream = build_module(context, "general")
    batch = next(iter(stream))
    tables = [torch.from_numpy(table) for table in (context.vocabulary.words, context.vocabulary.rows)]
    mapped = replace(batch, input_ids=tables[0][tables[1][batch.input_ids]])
    assert not torch.equal(mapped.input_ids, batch.input_ids)
    model = load_teacher(context.language.teacher_path, WordHead())
    with torch.no_grad():
        expected = model(mapped, Taps(decoder_inputs=True)).decoder_inputs
    found = module.sources[0](batch).decoder_inputs
    assert found is not None and expected is not None
    tokens = batch.attention_mask
    torch.testing.assert_close(found[tokens], expected[tokens], atol=2e-3, rtol=2e-3)  # kept in half precision


def test_a_student_of_another_width_is_taught_words(tiny: Overrides) -> None:
    sizes = ["student.width=16", "student.heads=2", "student.intermediate=32", "initialization=random"]
    assert kdbench.run(kdbench.compose(tiny(*GLMD, *sizes)))["status"] == "finished"


def test_a_teacher_s_words_are_the_same_from_files(tiny: Overrides, tmp_path: Path) -> None:
    found = {}
    for outputs in ("live", "cache"):
        words = ("method=word_kd", "corpus.masking.variants=2", "training.epochs=3", f"teacher.outputs={outputs}")
        record = kdbench.run(kdbench.compose(alone(tiny(*words, f"paths.store={tmp_path / outputs}"))))
        stage = tmp_path / outputs / "stage" / record["stages"][0]
        found[outputs] = load_file(stage / "student.safetensors")
        assert (tmp_path / outputs / "outputs").exists() == (outputs == "cache")
    for name, value in found["live"].items():
        torch.testing.assert_close(found["cache"][name], value, atol=1e-5, rtol=1e-4)


def run_code_of(card: str, folder: Path) -> dict[str, Any]:
    """What the lines under "Loading" of a model card make."""
    said: dict[str, Any] = {}
    exec(card.partition("```python\n")[2].partition("```")[0].replace('"."', repr(str(folder))), said)
    return said


def test_a_student_of_words_is_exported_and_does_without_kdbench(
    glmd: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    folder = export(store, glmd["signature"], tmp_path / "out")
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    texts = ["the river was near the [MASK].", "we found an old engine near the [MASK]."]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = model(**inputs).logits
    words = logits[inputs["input_ids"] == tokenizer.mask_token_id]
    answers = words[:, tokenizer.convert_tokens_to_ids(["river", "engine"])]
    run = FinishedRun(store, glmd["signature"])
    assert run.vocabulary is not None and logits.shape[-1] == len(run.vocabulary.words) < len(run.tokenizer)
    ours = run.tokenizer(texts, padding=True, return_tensors="pt")
    from kdbench.data.batch import NO_PLACE, UNKNOWN_WORD, Batch

    places = torch.where(ours["input_ids"] == run.tokenizer.mask_token_id, UNKNOWN_WORD, NO_PLACE)
    mask = ours["attention_mask"].bool()
    batch = Batch(
        ours["input_ids"], mask, torch.zeros_like(places), torch.zeros(2, dtype=torch.long), torch.arange(2), places
    )
    with torch.inference_mode():
        expected = run.student()(batch, Taps(logits=True)).logits
    torch.testing.assert_close(answers, expected, atol=1e-5, rtol=1e-4)
    card = (folder / "README.md").read_text()
    said = run_code_of(card, folder)
    assert "AutoModelForMaskedLM" in card and said["logits"].shape == (1, 2)


def test_a_student_of_words_is_evaluated_on_more_of_them(tiny_in: Overrides, store: Store, tmp_path: Path) -> None:
    record = kdbench.run(kdbench.compose(alone(tiny_in(store.root, "method=word_kd", "training.epochs=2"))))
    found = evaluate_run(FinishedRun(store, record["signature"]), Request(None, Path(), split="test"), tmp_path)
    assert found["metrics"]["test/masked_accuracy"] == record["metrics"]["test/masked_accuracy"]
    import pandas as pd

    table = pd.read_parquet(tmp_path / "predictions.parquet")
    assert (table["word"] == table["student"]).mean() == pytest.approx(found["metrics"]["test/masked_accuracy"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=mlm"], "stages.general learns from a corpus, but there is none: choose one, as corpus=wikitext"),
        (["method=mlm", "corpus=generated"], "stages.general is the last and learns from a corpus"),
        (["data.format=cloze", "teacher.language.train=true"], "data.format=cloze needs a language model"),
        (["data.format=cloze", "data.cloze.answers=[river]"], "must name a word of its own for each of the classes"),
        (["data.format=cloze", "data.cloze.prompt='{text}'"], "must have a column in braces and {mask} once"),
        (["data.format=sung"], "data.format=sung is unknown: choose head or cloze"),
        (["vocabulary=frequent"], "counts the words of a corpus, but there is none"),
        ([*GLMD, "vocabulary.keep=0"], "vocabulary.keep=0 must be a number greater than 0"),
        ([*GLMD, "vocabulary.keep=1.5"], "vocabulary.keep=1.5 must be a whole number"),
        ([*GLMD, "vocabulary.substitute=rhyme"], "vocabulary.substitute=rhyme is unknown: choose dot"),
        ([*GLMD, "+stages.task_soft.data=corpus"], "stages.task_soft is the last and learns from a corpus"),
        ([*CORPUS, "data.format=cloze", "method=label", "knowledge@stages.task.terms.label.knowledge=masked_words"],
         "learns the words that a corpus hides, and generated hides none"),
        ([*GLMD, "student=albert", "student.embedding_width=8"], "but those of the student share their weights"),
        ([*GLMD, "student=albert", "student.embedding_width=8", "student.groups=0", "initialization=random"],
         "student.groups=0 must be a whole number of at least 1"),
        (["method=kd", "knowledge@stages.task.terms.soft.knowledge=vocabulary_logits"],
         "reads decoder_inputs of the student, which that architecture does not have"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_in_words_is_refused(
    tiny: Overrides, tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises((KdbenchError, ImpossibleError), match=message.replace("{", r"\{")):
        plan_run(kdbench.compose(tiny(*overrides)), Store(tmp_path / "store"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["vocabulary.reserved=[river,engine,zebra]"], r"vocabulary\.reserved: 'zebra' is not a single token"),
        (["vocabulary.reserved=[river]"], r"'engine' is an answer of generated, but none of the words that"),
        (
            ["data.cloze.answers=[river,zebra]", "vocabulary.reserved=[river,zebra]"],
            r"data\.cloze\.answers: 'zebra' is not a single token",
        ),
        (
            ["vocabulary.keep=0.05", "vocabulary.multiple=1"],
            r"vocabulary\.keep leaves 1 words, fewer than the 7 special",
        ),
    ],
)
def test_words_that_the_tokenizer_does_not_have_are_refused(
    tiny: Overrides, overrides: list[str], message: str
) -> None:
    chosen = {override.partition("=")[0] for override in overrides}
    own = [override for override in GLMD if override.partition("=")[0] not in chosen]
    with pytest.raises(KdbenchError, match=message):
        kdbench.run(kdbench.compose(tiny(*own, *overrides)))


def test_a_folder_that_brings_no_vocabulary_head_is_refused(tiny: Overrides) -> None:
    with pytest.raises(KdbenchError, match=r"brings no vocabulary head: .*teacher\.language\.train=true"):
        kdbench.run(kdbench.compose([*alone(tiny("method=word_kd")), "teacher.language.train=false"]))


def test_a_student_of_words_gives_its_body_to_a_task(tiny: Overrides, tmp_path: Path) -> None:
    """Under another head; what it begins with is what the corpus left."""
    learned = kdbench.run(kdbench.compose(alone(tiny("method=mlm", "initialization=random"))))
    begin = ["initialization=checkpoint", f"initialization.signature={learned['signature']}", "training.max_steps=1"]
    record = kdbench.run(kdbench.compose(tiny("method=label", "optimizer.lr=1e-12", *begin)))
    stages = tmp_path / "store/stage"
    theirs, ours = (load_file(stages / each["stages"][-1] / WEIGHTS) for each in (learned, record))
    shared = [name for name in ours if name in theirs and ".encoder." in name]
    assert len(shared) > 10
    for name in shared:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-7, rtol=0)


def test_a_task_s_teacher_begins_as_a_language_model_that_no_stage_asks_for(tiny: Overrides) -> None:
    """The words to keep need no embedding, and the stages of words learn on the task alone."""
    own = [*CORPUS, "method=glmd_without_general", "vocabulary.multiple=8", "vocabulary.reserved=[river,engine]"]
    begin = ["vocabulary.substitute=unknown", "initialization=random", "vocabulary.teacher_input=mapped"]
    record = kdbench.run(kdbench.compose(tiny(*own, *begin)))
    assert record["status"] == "finished" and {"language", "teacher"} <= set(record["seconds"])


def test_the_start_of_a_later_stage_is_no_reason_to_stop(
    tiny_in: Overrides, glmd: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    """A stage that begins above its teacher: what is said of a start is said of the run's, before its training."""
    cfg = kdbench.compose(tiny_in(store.root, *GLMD, "guards.teacher_below_start=error"))
    context = prepare(cfg, plan_run(cfg, store), store)
    below = {"validation/accuracy": -1.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kdbench.stage.teacher_record", lambda folder: {"metrics": below})
        build_stage(context, "task_soft", store.path("stage", glmd["stages"][1]), tmp_path)
    assert json.loads((tmp_path / "stage.json").read_text())["guards"] == []


def test_a_finished_teacher_of_prompts_is_used_as_it_is(tiny: Overrides, tmp_path: Path) -> None:
    """Its language model's configuration says nothing of three classes."""
    three = ["data.labels=[a,b,c]", "data.cloze.answers=[river,engine,garden]", "data.format=cloze", *CORPUS]
    first = kdbench.run(kdbench.compose(tiny(*three, "method=soft")))
    folder = tmp_path / "store/teacher" / first["teacher"]["signature"]
    again = tiny(*three[: -len(CORPUS)], "method=soft", f"paths.store={tmp_path / 'another'}")
    ready = ["teacher=fine_tuned", f"teacher.model={folder}"]
    rest = [override for override in again if not override.startswith("teacher")]
    record = kdbench.run(kdbench.compose([*rest, *ready]))
    assert record["teacher"]["metrics"] == first["teacher"]["metrics"]


@pytest.mark.parametrize("form", ["head", "cloze"])
def test_a_student_is_asked_in_the_form_that_it_answers_in(
    form: str, tiny_in: Overrides, glmd: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    record = glmd if form == "head" else kdbench.run(kdbench.compose(tiny_in(store.root, "method=label")))
    data = {**record["config"]["data"], "format": form}
    with pytest.raises(KdbenchError, match=f"data.format={form} asks for another answer .* set data.format="):
        evaluate_run(FinishedRun(store, record["signature"]), Request(data, Path()), tmp_path)


def test_runs_without_words_keep_their_names(tiny: Overrides, tmp_path: Path) -> None:
    """The groups of words change no signature of a run that has none of them."""
    store = Store(tmp_path / "store")
    cfg = kdbench.compose(tiny())
    before = plan_run(cfg, store)
    OmegaConf.set_struct(cfg, False)
    for name in ("format", "cloze", "choices", "maps", "gaps", "group"):
        del cfg.data[name]
    assert plan_run(cfg, store).signatures("data") == before.signatures("data")
    assert np.all([step.done is False for step in before.steps])
