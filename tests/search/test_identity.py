"""Which commands go on with the same study, and which begin another one."""

from __future__ import annotations

from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import CategoricalDistribution

from kdbench.config import CONF_DIR
from kdbench.search.identity import about, fixed, named
from kdbench.search.objective import objectives
from kdbench.search.space import Space

FILE = """# @package _global_
defaults: [/train, {override /data: generated}, _self_]
training: {epochs: 3}
optimizer: {lr: 1e-3}
"""
SEARCHED = ["optimizer.lr"]


def composed(folder: Path, content: str, *overrides: str) -> str:
    """What the study of a sweep file is about besides its searched keys."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.yaml").write_text(content)
    search = f"hydra.searchpath=[file://{CONF_DIR}]"
    with initialize_config_dir(str(folder), version_base="1.3"):
        cfg = compose("mine", [search, "method=label", *overrides], return_hydra_config=True)
    return fixed(cfg, SEARCHED)


def test_an_edited_file_is_another_study_and_what_changes_no_number_is_not(tmp_path: Path) -> None:
    base = composed(tmp_path, FILE)
    assert base == composed(tmp_path / "elsewhere", FILE)
    for without_effect in (
        ["logger=wandb", "device=cpu", "plan=true", "sweep=x", f"paths.store={tmp_path}"],
        ["teacher.outputs=live", "teacher.shared_by=4", "training.log_every_steps=7", "guards.preflight=false"],
        ["optimizer.lr=3e-4"],
    ):
        assert composed(tmp_path, FILE, *without_effect) == base, without_effect
    assert composed(tmp_path, FILE, "training.epochs=4") == composed(tmp_path, FILE.replace("epochs: 3", "epochs: 4"))
    others = [
        composed(tmp_path, FILE.replace("epochs: 3", "epochs: 4")),
        composed(tmp_path, FILE, "seed=2"),
        composed(tmp_path, FILE, "data.train_rows=8"),
        composed(tmp_path, FILE, "student/size=l2_h128"),
    ]
    assert len({base, *others}) == 5


def test_a_searched_key_counts_by_its_values_alone() -> None:
    cfg = OmegaConf.create({"a": {"b": 1, "c": "${a.b}"}, "training": {"log_every_steps": 3}, "hydra": {"x": "???"}})
    other = OmegaConf.create({"a": {"b": 2, "c": "${a.b}"}, "training": {"log_every_steps": 4}})
    assert fixed(cfg, ["a.b", "+d.e"]) == fixed(other, ["a.b", "+d.e"]) != fixed(other, [])


def test_what_is_fixed_below_a_searched_group_counts() -> None:
    text = {"student": {"bert": "student=bert", "cmow": "student=cmow"}}
    space = Space((), {"student": CategoricalDistribution(["bert", "cmow"])}, frozenset({"student"}), text)
    names = {
        named(
            about(space, DictConfig({"student": {"layers": layers}}), objectives(["score"], None), [], {"name": "tpe"})
        )
        for layers in (2, 3)
    }
    assert len(names) == 2


def test_another_order_of_a_grid_is_another_study() -> None:
    """The slots of a study have their values from the beginning."""
    cfg, space = DictConfig({"a": 1}), Space((), {}, frozenset(), {})
    score = objectives(["score"], None)

    def name(**sampler: object) -> str:
        return named(about(space, cfg, score, [], sampler))

    assert name(name="tpe", seed=1) == name(name="random", seed=2)
    grids = [name(name="grid", seed=1), name(name="grid", seed=2), name(name="grid", seed=None)]
    assert len({*grids, name(name="tpe", seed=1)}) == 4
    assert name(name="tpe") == named(about(space, cfg, objectives(["latency"], None), [], {"name": "tpe"})), (
        "of the same name, and refused in a sentence"
    )
