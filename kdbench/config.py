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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue, OmegaConfBaseException

from kdbench.compat import released
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.team import complete_team
from kdbench.value import choice, number

log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parent
CONF_DIR = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())

STUDY_AXES = ("knowledge", "matching", "projection", "objective")
"""The groups that a method reads through interpolation, where it leaves the choice to the command line."""

WITHOUT_EFFECT = {
    *("seed", "plan", "sweep", "budget"),
    *("teacher.outputs", "teacher.max_bytes", "teacher.shared_by", "teacher.resident"),
}
"""Keys that distinguish no runs from each other; the seed has its own axis."""
AXES = (
    *("data", "method", *STUDY_AXES, "student", "student/size", "initialization"),
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

    folder = Path(config_dir).resolve()
    search = [] if folder == CONF_DIR else [f"hydra.searchpath=[file://{CONF_DIR}]"]
    with initialize_config_dir(str(folder), version_base="1.3"):
        cfg = hydra_compose(config_name, overrides=[*search, *overrides], return_hydra_config=True)
        return complete(cfg)


def complete(cfg: DictConfig, depth: int = 0) -> DictConfig:
    """Resolve a composed configuration, and fill in every term and every member of a team.

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
    regression = plain["data"]["kind"] == "regression"
    for name, stage in plain["stages"].items():
        stage["terms"] = {
            key: released(f"stages.{name}.terms.{key}", term, plain["compat"], regression)
            for key, term in _complete_terms(name, stage["terms"], regression).items()
        }
        stage["training"] = {**plain["training"], **(stage.get("training") or {})}
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
    return None


def _current_hydra() -> DictConfig | None:
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.get() if HydraConfig.initialized() else None


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
        if choices.get(axis) not in (None, "null", "none") and (axis not in STUDY_AXES or axis in read)
    }
    for override in hydra.overrides.task:
        key, _, value = override.lstrip("+~").partition("=")
        if (
            key not in AXES
            and key not in WITHOUT_EFFECT
            and not key.startswith(("paths.", "logger", "device", "budget."))
        ):
            axes[key] = value
    axes["seed"] = str(cfg.seed)
    return axes


def _complete_terms(stage: str, terms: Mapping[str, Any], regression: bool) -> dict[str, Any]:
    completed = {}
    for name, term in terms.items():
        number(f"stages.{stage}.terms.{name}.weight", term.get("weight", 1.0))
        weight = float(term.get("weight", 1.0))
        if weight < 0.0:
            raise KdbenchError(f"stages.{stage}.terms.{name}.weight={weight} must be 0 (no such term) or more")
        if weight == 0.0:  # a term that weighs nothing is no term: it costs nothing and signs nothing
            continue
        completed[name] = {**complete_term(f"stages.{stage}.terms.{name}", term, regression), "weight": weight}
    if not completed:
        raise KdbenchError(f"stages.{stage}.terms is empty: give the stage a term, or a term a weight other than 0")
    return completed


def complete_term(key: str, term: Mapping[str, Any], regression: bool) -> dict[str, Any]:
    """A term with matching, projection and objective written out; those of its knowledge where it names none."""
    unknown = set(term) - {"knowledge", "matching", "projection", "objective", "weight", "reduction", "schedule"}
    if unknown:
        raise KdbenchError(f"{key} has the unknown key '{min(unknown)}': a term has knowledge, matching, projection, "
                           "objective, weight, reduction and schedule")  # fmt: skip
    if not isinstance(term.get("knowledge"), Mapping):
        raise KdbenchError(f"{key}.knowledge has no value: choose one as knowledge@{key}.knowledge=hidden")
    knowledge = dict(term["knowledge"])
    customary = {slot: knowledge.pop(slot, None) for slot in ("matching", "projection", "objective")}
    for_regression = knowledge.pop("objective_regression", None)
    objective = term.get("objective") or customary["objective"]
    if regression and for_regression is not None and "values" not in compares(objective):
        _say_replaced(key, _name(objective), _name(for_regression))
        objective = for_regression
    reduction = term.get("reduction", "sum")
    choice(f"{key}.reduction", reduction, ("sum", "mean"))
    completed = {"knowledge": knowledge, "objective": objective, "reduction": reduction}
    if schedule := {name: node for name, node in (term.get("schedule") or {}).items() if node is not None}:
        completed["schedule"] = schedule
    if customary["matching"] is not None:  # a knowledge without layers has neither matching nor projection
        completed["matching"] = term.get("matching") or customary["matching"]
        completed["projection"] = term.get("projection") or customary["projection"]
    return completed


def compares(objective: Mapping[str, Any]) -> frozenset[str]:
    """What an objective may have on the teacher's side; `kdbench.objective` says the words."""
    objective = innermost(objective)
    module = module_of(objective)
    of_options: Callable[[Mapping[str, Any]], frozenset[str]] | None = getattr(module, "compares", None)
    if of_options is not None:
        return of_options(objective)
    found: frozenset[str] = getattr(module, "COMPARES", frozenset({"values", "logits", "tensors", "probabilities"}))
    return found


def innermost(objective: Mapping[str, Any]) -> Mapping[str, Any]:
    """The objective itself, or the one that it is put around."""
    while isinstance(inner := objective.get("inner"), Mapping):
        objective = inner
    return objective


def module_of(node: Mapping[str, Any]) -> ModuleType:
    """The module that a node's `_target_` lies in, where an option says what its function's signature cannot."""
    return importlib.import_module(str(node["_target_"]).rpartition(".")[0])


def _name(objective: Mapping[str, Any]) -> str:
    return str(objective["_target_"]).rpartition(".")[2]


@functools.cache
def _say_replaced(key: str, objective: str, by: str) -> None:
    """Said once a process: a sweep completes the same term many times."""
    log.info("%s: %s compares no single values, so that on a regression %s takes its place", key, objective, by)


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
        return hydra_instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        if isinstance(error.__cause__, KdbenchError | ImpossibleError):
            raise error.__cause__ from None
        reason = " ".join(str(error.__cause__ or error).split())
        raise KdbenchError(f"_target_={node.get('_target_')} cannot be built: {reason}") from error
