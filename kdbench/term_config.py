"""A term in the configuration: what it leaves to its knowledge is written out, and what its objective compares."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from kdbench.error import KdbenchError
from kdbench.value import choice, number

log = logging.getLogger(__name__)


def complete_terms(stage: str, terms: Mapping[str, Any], regression: bool) -> dict[str, Any]:
    """The terms of a stage, each completed, without those that weigh nothing."""
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
