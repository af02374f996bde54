"""From the command line's choices to one complete configuration.

`compose` is Hydra's composition from Python. `complete` resolves every interpolation and writes out what a term leaves
to its knowledge, so that the completed configuration alone determines a run: it is what is checked, signed and
recorded.
"""

from __future__ import annotations

import functools
import importlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue, OmegaConfBaseException

from kdbench.compat import released
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.quick_composition import compose_quickly
from kdbench.team import complete_team
from kdbench.term_config import complete_terms

log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parent
CONF_DIR = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())

STUDY_AXES = ("knowledge", "matching", "projection", "objective")
"""The groups that a method reads through interpolation, where it leaves the choice to the command line."""

OF_STAGES = ("training", "optimizer", "lr_schedule")
"""Groups of which a stage may have settings of its own, over those of its corpus, over the run's."""

WITHOUT_EFFECT = {
    *("seed", "plan", "sweep", "budget", "ood"),
    *("teacher.outputs", "teacher.max_bytes", "teacher.shared_by", "teacher.resident"),
}
"""Keys that distinguish no runs from each other; the seed has its own axis."""
WITHOUT_CHOICE = ("null", "none", "full", "as_model")
"""Options of a group that mean as if there were no such group."""
AXES = (
    *("data", "corpus", "vocabulary", "method", *STUDY_AXES, "student", "student/size", "initialization"),
    *("teacher", "team", "sampling", "combiner"),
)


def compose(overrides: Sequence[str] = (), config_name: str = "train", config_dir: str | Path = CONF_DIR) -> DictConfig:
    """The completed configuration of one run, as the command line would make it.

    Args:
        overrides: Hydra overrides, such as `data=glue/rte`.
        config_name: the primary file, without its suffix.
        config_dir: the folder it lies in; the groups of kdbench are found from any.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    compose_quickly()
    folder = Path(config_dir).resolve()
    search = [] if folder == CONF_DIR else [f"hydra.searchpath=[file://{CONF_DIR}]"]
    with initialize_config_dir(str(folder), version_base="1.3"):
        cfg = hydra_compose(config_name, overrides=[*search, *overrides], return_hydra_config=True)
        return complete(cfg)


def complete(cfg: DictConfig, depth: int = 0) -> DictConfig:
    """Resolve a composed configuration, leave out stages that are null, and fill in every term and member of a team.

    The axes of the run are read from its `hydra` node (or Hydra's own, inside a job) and kept under `axes`.

    Args:
        cfg: as Hydra composed it; a team's members are composed by the same Hydra, which must still be there.
        depth: how many teams the configuration stands behind.

    Raises:
        KdbenchError: a value that is missing or does not resolve.
    """
    hydra = cfg.get("hydra") or _current_hydra()
    axes = _axes(cfg, hydra) if hydra is not None else dict(cfg.get("axes") or {})
    try:
        plain = OmegaConf.to_container(
            OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]), resolve=True, throw_on_missing=True
        )
    except MissingMandatoryValue as error:
        key = getattr(error, "full_key", None) or str(error)
        raise KdbenchError(f"{key} has no value: give it on the command line as {key}=...") from error
    except (InterpolationResolutionError, OmegaConfBaseException) as error:
        raise KdbenchError(f"the configuration does not resolve: {str(error).splitlines()[0]}") from error
    assert isinstance(plain, dict)
    plain["axes"] = axes
    if plain["data"] is None:
        raise KdbenchError("data=corpus has no corpus to learn from: choose one, as corpus=wikitext")
    plain["student"] = _completed_student(plain["student"])
    plain["stages"] = {name: stage for name, stage in plain["stages"].items() if stage is not None}
    for name, stage in plain["stages"].items():
        stage["data"] = stage.get("data") or "task"
        regression = stage["data"] == "task" and plain["data"]["kind"] == "regression"
        stage["terms"] = {
            key: released(f"stages.{name}.terms.{key}", term, plain["compat"], regression)
            for key, term in complete_terms(name, stage["terms"], regression).items()
        }
        corpus = (plain["corpus"] or {}) if stage["data"] == "corpus" else {}
        for group in OF_STAGES:
            stage[group] = {**plain[group], **(corpus.get(group) or {}), **(stage.get(group) or {})}
        stage["seed"] = plain["seed"] if stage.get("seed") is None else stage["seed"]
        stage["combiner"] = stage.get("combiner") or plain["combiner"]
    plain["team"] = complete_team(plain["team"], hydra, functools.partial(complete, depth=depth + 1), depth)
    completed = OmegaConf.create(plain)
    OmegaConf.set_struct(completed, True)
    return completed


def unused_axes(cfg: DictConfig, overrides: Sequence[str]) -> str | None:
    """One sentence about an axis chosen on the command line that the method does not read; None if there is none.

    Args:
        cfg: the composed configuration, not completed.
        overrides: the command line's overrides.
    """
    chosen = {override.lstrip("+").partition("=")[0] for override in overrides}
    for axis in STUDY_AXES:
        if axis in chosen and axis not in _axes_read(cfg):
            return (
                f"{axis} is set on the command line, but the chosen method fixes its own terms and does not read it: "
                f"choose method=unified, or set {axis}@stages.<stage>.terms.<term>.{axis}"
            )
    if "corpus" in chosen and not _reads_corpus(cfg):
        return (
            "corpus is set on the command line, but nothing of the run learns from a corpus: choose a method with such "
            "a stage, as method=glmd, or data=corpus, or data.format=cloze"
        )
    return None


def _reads_corpus(cfg: DictConfig) -> bool:
    answers = cfg.data.get("format") == "cloze" and cfg.teacher.language.train
    on_corpus = any(stage is not None and stage.get("data") == "corpus" for stage in cfg.stages.values())
    return bool(cfg.data.kind == "words" or cfg.vocabulary is not None or answers or on_corpus)


def _current_hydra() -> DictConfig | None:
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.get() if HydraConfig.initialized() else None


def _completed_student(options: dict[str, Any]) -> dict[str, Any]:
    """What the module of a student makes of its options, where it has something to look up."""
    if "_target_" not in options:
        raise KdbenchError(
            "student has no _target_, so that it builds nothing: choose one of `kdbench --help`, as student=bert"
        )
    module = importlib.import_module(str(options["_target_"]).rpartition(".")[0])
    completed: dict[str, Any] = module.complete(options) if hasattr(module, "complete") else options
    return completed


def _axes_read(cfg: DictConfig) -> set[str]:
    text = str(OmegaConf.to_container(cfg.stages, resolve=False))
    return {axis for axis in STUDY_AXES if re.search(rf"\$\{{(oc\.select:)?{axis}\b", text)}


def _axes(cfg: DictConfig, hydra: DictConfig) -> dict[str, str]:
    """What distinguishes this run: the group choices, and whatever else was set for it by hand or by a sweep."""
    choices = hydra.runtime.choices
    read = _axes_read(cfg)
    axes = {
        axis: str(choices[axis])
        for axis in AXES
        if choices.get(axis) not in (None, *WITHOUT_CHOICE) and (axis not in STUDY_AXES or axis in read)
    }
    for override in hydra.overrides.task:
        key, _, value = override.lstrip("+~").partition("=")
        if (
            key not in AXES
            and key not in WITHOUT_EFFECT
            and not key.startswith(("paths.", "logger", "device", "budget.", "ood."))
        ):
            axes[key] = value
    axes["seed"] = str(cfg.seed)
    return axes


def plain(node: Any) -> Any:
    """A config node as plain dicts, lists and values."""
    return OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig | ListConfig) else node


def instantiate(node: Any, **arguments: Any) -> Any:
    """Build what a node's `_target_` names, with plain containers; the one call site of Hydra's instantiate.

    Raises:
        KdbenchError: a target that cannot be imported, or options it does not take.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate as hydra_instantiate

    try:
        if not arguments:
            return hydra_instantiate(node, _convert_="all")
        # Hydra would make containers of objects that are handed over with the call.
        return hydra_instantiate(node, _convert_="all", _partial_=True)(**arguments)
    except (InstantiationException, TypeError) as error:
        if isinstance(error.__cause__, KdbenchError | ImpossibleError):
            raise error.__cause__ from None
        reason = " ".join(str(error.__cause__ or error).split())
        raise KdbenchError(f"_target_={node.get('_target_')} cannot be built: {reason}") from error
