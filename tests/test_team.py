"""Runs that a team teaches: who is made, who runs, what is shared, and that a team of one is ordinary distillation."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import kdbench
from kdbench.encoder.base import Encoder
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.json_file import read_json
from kdbench.pipeline import prepare
from kdbench.planning import plan_run
from kdbench.stage import build_module
from kdbench.store import Store
from kdbench.teacher_outputs.reading import demands, describe

Overrides = Callable[..., list[str]]
TEACHER = "+team.large.teacher={}"
SECOND = "+team.second.teacher={teacher.seed: 7, teacher.training.epochs: 0.5}"
SIZE = "student.width: 32, student.heads: 4, student.intermediate: 64, student.max_positions: 64"
WRONG_TASK = f"+team.small.student={{student.layers: 1, {SIZE}, data: reviews, data.max_length: 48}}"
NARROW = "+team.a.student={student/size: l2_h64, student.heads: 4, student.max_positions: 64, initialization: random}"
SMALL = f"+team.small.student={{student.layers: 1, {SIZE}, initialization: random}}"
HOP = f"student.layers: 3, {SIZE}"
KD = ["method=kd"]


def stage(store: Path, record: dict[str, Any], name: int = -1) -> Path:
    return store / "stage" / record["stages"][name]


def weights(store: Path, record: dict[str, Any]) -> dict[str, torch.Tensor]:
    return load_file(stage(store, record) / "student.safetensors")


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(value, right[key]) for key, value in left.items())


@pytest.mark.parametrize("knowledge", ["logits", "hidden", "value_relation"])
@pytest.mark.parametrize("alone", ["sampling=uniform", "combiner=mean", "combiner=sum", "several"])
def test_one_teacher_alone_is_ordinary_distillation_bit_for_bit(
    tiny: Overrides, tmp_path: Path, knowledge: str, alone: str
) -> None:
    about = ["method=unified_soft" if knowledge != "logits" else "method=kd"]
    about += [f"knowledge={knowledge}"] if knowledge != "logits" else []
    team = [TEACHER, SMALL, "sampling=explicit", "sampling.probabilities={large: 1.0}"]
    team = team if alone == "several" else [TEACHER, alone]
    plain = kdbench.run(kdbench.compose(tiny(*about)))
    taught = kdbench.run(kdbench.compose(tiny(*about, *team)))
    assert same(weights(tmp_path / "store", plain), weights(tmp_path / "store", taught))
    assert plain["metrics"] == taught["metrics"]
    assert not Store(tmp_path / "store").artefacts("stage")[2:]  # the small one, which is never drawn, was not made


def test_identical_teachers_teach_as_one(tiny: Overrides, tmp_path: Path) -> None:
    """Whoever is drawn says the same, and two halves of a loss are the loss."""
    twins = [TEACHER, "+team.twin.teacher={}"]
    plain = kdbench.run(kdbench.compose(tiny(*KD)))
    drawn = kdbench.run(kdbench.compose(tiny(*KD, *twins, "sampling=uniform")))
    assert same(weights(tmp_path / "store", plain), weights(tmp_path / "store", drawn))
    assert len(Store(tmp_path / "store").artefacts("teacher")) == 1
    mean = kdbench.run(kdbench.compose(tiny(*KD, *twins, "combiner=mean")))
    for key, value in weights(tmp_path / "store", plain).items():
        torch.testing.assert_close(value, weights(tmp_path / "store", mean)[key], atol=2e-3, rtol=1e-2)


def test_files_and_live_teachers_teach_alike_and_are_one_run(tiny: Overrides, tmp_path: Path) -> None:
    sides = []
    for word in ("cache", "live"):
        where = [f"teacher.outputs={word}", f"paths.store={tmp_path / word}"]
        cfg = kdbench.compose(tiny(*KD, TEACHER, SMALL, SECOND, "sampling=uniform", *where))
        sides.append((kdbench.run(cfg), tmp_path / word))
    (cached, its_store), (live, other_store) = sides
    assert cached["signature"] == live["signature"]
    assert len(Store(its_store).artefacts("outputs")) == 3 and not Store(other_store).artefacts("outputs")
    ours, theirs = weights(its_store, cached), weights(other_store, live)
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], atol=2e-3, rtol=1e-2)


def test_only_the_drawn_teacher_runs(tiny: Overrides, tmp_path: Path) -> None:
    overrides = tiny(*KD, TEACHER, SECOND, SMALL, "sampling=uniform", "teacher.outputs=live")
    cfg = kdbench.compose(overrides)
    store = Store(tmp_path / "store")
    context = prepare(cfg, plan_run(cfg, store), store)
    module, stream = build_module(context, "task")
    ran: list[int] = []
    before = []
    for place, source in enumerate(module.sources):
        model = source.model
        assert isinstance(model, Encoder)
        model.register_forward_hook(lambda *_, place=place: ran.append(place))
        before.append({key: value.clone() for key, value in model.state_dict().items()})
    module.train()
    combiner = module.combiner
    assert combiner is not None
    drawn = []
    for batch in stream:
        drawn.append(int(combiner.draws.at(module.moment(batch))[0]))
        module.losses(batch).sum().backward()  # type: ignore[no-untyped-call]
        module.done += 1
    assert ran == drawn and len(set(drawn)) == 3
    for source, kept in zip(module.sources, before, strict=True):
        assert source.model is not None and not any(part.training for part in source.model.modules())
        assert all(weight.grad is None and not weight.requires_grad for weight in source.model.parameters())
        assert same(source.model.state_dict(), kept)


def test_a_team_need_not_be_in_memory_at_once(tiny: Overrides, tmp_path: Path) -> None:
    overrides = tiny(*KD, TEACHER, SECOND, SMALL, "sampling=uniform", "teacher.outputs=live")
    whole = kdbench.run(kdbench.compose(overrides))
    one = kdbench.run(kdbench.compose([*overrides, "teacher.resident=1", f"paths.store={tmp_path / 'one'}"]))
    assert whole["signature"] == one["signature"] and same(
        weights(tmp_path / "store", whole), weights(tmp_path / "one", one)
    )
    cfg = kdbench.compose([*overrides, "teacher.resident=2"])
    store = Store(tmp_path / "store")
    module, stream = build_module(prepare(cfg, plan_run(cfg, store), store), "task")
    assert module.teachers == []
    kept = module.sources[0].load.func.__self__  # type: ignore[union-attr]
    seen = set()
    for batch in stream:
        module.losses(batch)
        module.done += 1
        seen |= set(kept.kept)
        assert 1 <= len(kept.kept) <= 2
    assert len(seen) == 3


def test_members_are_made_once_and_shared(tiny: Overrides, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    team = [TEACHER, SECOND, SMALL]
    first = kdbench.run(kdbench.compose(tiny(*KD, *team, "sampling=uniform")))
    made = {artefact.signature: artefact.created for artefact in store.artefacts() if artefact.kind != "outputs"}
    second = kdbench.run(kdbench.compose(tiny(*KD, *team, "combiner=mean_probabilities", "seed=2")))
    after = {artefact.signature: artefact.created for artefact in store.artefacts() if artefact.kind != "outputs"}
    assert made.items() <= after.items() and len(after) == len(made) + 2  # a stage and a run
    assert first["team"] == second["team"] and set(first["team"]) == {"large", "second", "small"}
    assert len(store.artefacts("teacher")) == 2
    assert {member["signature"] for member in first["team"].values()} <= set(first["built_from"])


def test_a_teacher_rank_reads_the_teachers_scores_and_a_student_rank_its_pilots(
    tiny: Overrides, tmp_path: Path
) -> None:
    team = [*KD, TEACHER, SECOND, SMALL]
    by_teacher = kdbench.run(kdbench.compose(tiny(*team, "sampling=teacher_rank")))
    assert all("pilot_score" not in member for member in by_teacher["team"].values())
    pilots = {
        name: kdbench.run(kdbench.compose(tiny(*team, "sampling=single", f"sampling.member={name}", "seed=0")))
        for name in by_teacher["team"]
    }
    runs = len(Store(tmp_path / "store").artefacts("run"))
    by_student = kdbench.run(kdbench.compose(tiny(*team, "sampling=student_rank")))
    assert len(Store(tmp_path / "store").artefacts("run")) == runs + 1  # the pilots are those runs
    score = by_student["score"]
    for name, member in by_student["team"].items():
        assert member["pilot_score"] == pilots[name]["metrics"][score]
        assert member["score"] == by_teacher["team"][name]["score"]
        assert pilots[name]["signature"] in by_student["built_from"]
    own = kdbench.compose(tiny(*team, "sampling=student_rank"))
    store = Store(tmp_path / "store")
    context = prepare(own, plan_run(own, store), store)
    module, _ = build_module(context, "task")
    assert module.combiner is not None
    expected = np.argsort([pilots[name]["metrics"][score] for name in by_student["team"]], kind="stable")
    found = module.combiner.draws.distribution
    assert (np.diff(found[expected]) >= 0).all() and abs(found.sum() - 1.0) < 1e-12


def test_a_member_that_is_null_is_left_out(tiny: Overrides) -> None:
    left = kdbench.compose(tiny(*KD, TEACHER, SMALL, "team.small=null", "combiner=mean"))
    assert list(left.team) == ["large"]
    with pytest.raises(KdbenchError, match="team has no members"):
        kdbench.compose(tiny(*KD, TEACHER, "team.large=null", "combiner=mean"))


def test_a_member_counts_by_what_it_is_and_by_its_place(tiny: Overrides, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")

    def signature(*more: str) -> str:
        return plan_run(kdbench.compose(tiny(*KD, *more)), store).signature

    base = signature(TEACHER, SMALL, "sampling=uniform")
    assert signature(TEACHER.replace("large", "big"), SMALL, "sampling=uniform") == base
    assert signature(SMALL, TEACHER, "sampling=uniform") != base
    assert signature(TEACHER, SMALL.replace(" 1", " 2"), "sampling=uniform") != base
    assert signature(TEACHER, SMALL, "sampling=uniform", "sampling.granularity=epoch") != base
    assert signature(TEACHER, SMALL, "combiner=mean") != base
    label = ["method=label", TEACHER, SMALL, "sampling=uniform"]
    assert plan_run(kdbench.compose(tiny(*label)), store).signature == signature("method=label")


def test_an_assistant_may_have_assistants(tiny: Overrides, tmp_path: Path) -> None:
    hop = f"method: kd, {HOP}"
    chain = f"+team.assistant.student={{{hop}, +team.upper.student: {{{hop}}}, sampling: uniform}}"
    record = kdbench.run(kdbench.compose(tiny(*KD, chain, "sampling=uniform")))
    runs = Store(tmp_path / "store").artefacts("run")
    assert len(runs) == 3
    (assistant,) = record["team"].values()
    built = read_json(tmp_path / "store" / "stage" / assistant["signature"] / "stage.json")["built_from"]
    assert len(built) == 4  # data, the teacher, the assistant above and its run


PRESETS = {
    "skdbert": [TEACHER, SMALL],
    "mt_bert": [TEACHER, SECOND],
    "tmkd": [TEACHER, SMALL],
    "uncertainty_kd": [SMALL, TEACHER],
    "rl_kd": [TEACHER, SMALL],
    "takd": ["team=none", f"+team.assistant.student={{method: takd_hop, {HOP}}}"],
    "dgkd": [
        "team=none",
        TEACHER,
        f"+team.upper.student={{method: takd_hop, {HOP}}}",
        f"+team.lower.student={{method: dgkd, team: none, +team.large.teacher: {{}}, {HOP}}}",
    ],
}


@pytest.mark.parametrize("method", PRESETS)
def test_every_preset_of_a_team_runs(tiny: Overrides, method: str) -> None:
    record = kdbench.run(kdbench.compose(tiny(f"method={method}", *PRESETS[method])))
    assert set(record["team"]) == {word.split(".")[1] for word in PRESETS[method] if word.startswith("+team")}
    assert record["metrics"]


@pytest.mark.parametrize("granularity", ["micro_batch", "example", "epoch"])
def test_draws_of_other_lengths_train(tiny: Overrides, granularity: str) -> None:
    team = [TEACHER, SECOND, "sampling=uniform", f"sampling.granularity={granularity}", "training.accumulate=2"]
    assert kdbench.run(kdbench.compose(tiny(*KD, *team)))["metrics"]


def test_without_gold_labels_shuffled_labels_change_nothing(tiny: Overrides, tmp_path: Path) -> None:
    cfg = kdbench.compose(tiny("method=skdbert", TEACHER, SECOND, "sampling=uniform"))
    store = Store(tmp_path / "store")
    module, stream = build_module(prepare(cfg, plan_run(cfg, store), store), "task")
    module.eval()
    batch = next(iter(stream))
    shuffled = type(batch)(batch.input_ids, batch.attention_mask, batch.token_type_ids, 1 - batch.labels, batch.index)
    assert torch.equal(module.losses(batch), module.losses(shuffled))


def test_the_plan_names_members_and_pilots(tiny: Overrides, tmp_path: Path) -> None:
    cfg = kdbench.compose(tiny(*KD, TEACHER, SECOND, SMALL, "sampling=student_rank"))
    store = Store(tmp_path / "store")
    plan = plan_run(cfg, store)
    kinds = [step.kind for step in plan.everything()]
    assert (kinds.count("data"), kinds.count("teacher")) == (1, 2)
    assert kinds.count("run") == 1 + 3 + 1 and plan.everything()[-1].signature == plan.signature
    lines = describe([demands(cfg, plan)], store)
    assert len(lines) == 3 and lines[0].startswith("outputs of large on ")


REFUSED = {
    "no members": (["+team={}", "sampling=uniform"], "team has no members: give it at least one"),
    "no word on how": ([TEACHER], "team is set, but not how it teaches: choose sampling=uniform"),
    "no team": (["sampling=uniform"], "sampling is set, but there is no team to teach: choose"),
    "no team to combine": (["combiner=mean"], "stages.task.combiner is set, but there is no team"),
    "no member": (["+team.a=7", "sampling=uniform"], r"team.a=7 is no member: write \{teacher: "),
    "two roles": (["+team.a={teacher: {}, student: {}}", "sampling=uniform"], "team.a=.* is no member"),
    "a bad name": (["+team={a$b: {teacher: {}}}", "sampling=uniform"], r"team.a\$b: a member's name has letters"),
    "a wrong option": (["+team.a.student={student/size: l5}", "sampling=uniform"], "team.a: student/size=l5 is no opt"),
    "a wrong key": (["+team.a.teacher={teacher.sed: 1}", "sampling=uniform"], "team.a: teacher.sed=1: there is no"),
    "its own team": (
        ["+team.a.student={team: minilm_layers, sampling: single, method: kd}", "sampling=uniform"],
        "team.a: sampling.member has no value",
    ),
    "probabilities": ([TEACHER, "sampling=explicit", "sampling.probabilities={large: 0.5}"], "sum to 0.5, not to 1"),
    "a stranger": ([TEACHER, "sampling=single", "sampling.member=x"], "sampling.member=x is not in the team: choose"),
    "an unused distribution": ([TEACHER, "sampling=uniform", "combiner=sum"], "combiner=Sum has no use for a distri"),
    "more than logits": (
        ["method=unified", "knowledge=hidden", TEACHER, "combiner=mean_logits"],
        "transfer compares more than the teachers' answers.*choose combiner=mean, or",
    ),
    "another task": ([WRONG_TASK, "sampling=uniform"], "it learns reviews with the lab"),
    "unequal widths": (
        ["method=unified", "knowledge=hidden", NARROW,
         "sampling=uniform"],
        "team.a: knowledge=hidden with .* needs equal widths.*projection=to_teacher",
    ),
    "large before small": (["method=uncertainty_kd", TEACHER, SMALL], "from small to large, but this one is large, s"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_team_is_refused_before_any_work(tiny: Overrides, tmp_path: Path, case: str) -> None:
    overrides, complaint = REFUSED[case]
    words = overrides if overrides[0].startswith("method=") else [*KD, *overrides]
    with pytest.raises(KdbenchError, match=complaint):
        plan_run(kdbench.compose(tiny(*words)), Store(tmp_path / "store"))
    assert not Store(tmp_path / "store").artefacts()


def test_another_tokenizer_is_refused(tiny: Overrides, tmp_path: Path, tiny_teacher: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_teacher, other)
    for file in other.glob("*okenizer*.json"):
        file.write_text(file.read_text(encoding="utf-8").replace("[UNK]", "[ODD]"), encoding="utf-8")
    cfg = kdbench.compose(tiny(*KD, f"+team.a.teacher={{teacher.model: {other}}}", "sampling=uniform"))
    with pytest.raises(ImpossibleError, match=r"team\.a: its tokenizer .* is not that of the run's teacher"):
        plan_run(cfg, Store(tmp_path / "store"))


def test_a_team_without_an_end_is_refused(tiny: Overrides, tmp_path: Path) -> None:
    (tmp_path / "conf" / "team").mkdir(parents=True)
    (tmp_path / "conf" / "team" / "loop.yaml").write_text(
        "a: {student: {method: kd, team: loop, sampling: uniform}}\n", encoding="utf-8"
    )
    search = f"hydra.searchpath=[file://{tmp_path / 'conf'}]"
    with pytest.raises(KdbenchError, match="more than 8 teams stand behind each other"):
        kdbench.compose(tiny(*KD, "team=loop", "sampling=uniform", search))
