"""Earlier runs of the store as the first trials of a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from kdbench.error import KdbenchError
from kdbench.search.objective import Constraint, Objective
from kdbench.search.told import LABEL, SIGNATURE

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from kdbench.search.space import Exists, Space
    from kdbench.store import Store


def warm_start(
    study: Study,
    space: Space,
    store: Store,
    exists: Exists,
    signature_of: Callable[[Sequence[str]], str],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    lock: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> int:
    """Tell a study of the finished runs that its own command could have made: how many. They are none of its trials.

    A run counts where its values of the searched keys, put into this command, name that very run: all that is not
    searched is the same then.

    Args:
        study: those that it knows already are left out.
        space: of the search.
        store: with the runs.
        exists: see `kdbench.search.space`.
        signature_of: the run that overrides would make.
        objectives, constraints: of the search.
        lock: keeps the processes of a study apart, so that no two of them tell the same run.
    """
    found: dict[str, FrozenTrial] = {}
    known = _known(study)
    for artefact in store.artefacts():
        if artefact.kind == "run" and artefact.signature not in known:
            trial = _trial(artefact.signature, space, store, exists, signature_of, objectives, constraints)
            found |= {} if trial is None else {artefact.signature: trial}
    with lock():  # only now: to compose every run takes long
        known = _known(study)
        added = [trial for signature, trial in found.items() if signature not in known]
        study.add_trials(added)
    return len(added)


def _known(study: Study) -> set[str]:
    return {trial.user_attrs.get(SIGNATURE, "") for trial in study.get_trials(deepcopy=False)}


def _trial(
    signature: str,
    space: Space,
    store: Store,
    exists: Exists,
    signature_of: Callable[[Sequence[str]], str],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
) -> FrozenTrial | None:
    """A finished run as a trial; None of one that the search could not have made."""
    import optuna

    from kdbench.store import read_json

    record = read_json(store.path("run", signature) / "record.json")
    params, overrides = _values(space, record, exists)
    try:
        if params is None or signature_of(overrides) != signature:
            return None
        return optuna.trial.create_trial(
            params=params,
            distributions={key: space.searched[key] for key in params},
            values=[each.value(record) for each in objectives],
            user_attrs={SIGNATURE: signature, LABEL: " ".join(overrides[len(space.fixed) :])},
            constraints={str(each): each.violation(record) for each in constraints},
        )
    except KdbenchError:  # its values do not make a run here
        return None


def _values(space: Space, record: Mapping[str, Any], exists: Exists) -> tuple[dict[str, Any] | None, list[str]]:
    """The searched values that a run has, and the overrides that say so; None where one lies outside the space."""
    params: dict[str, Any] = {}
    overrides = list(space.fixed)
    options: list[str] = list(space.fixed)
    for key, distribution in space.searched.items():
        if key in space.groups:
            value: Any = record["axes"].get(key.lstrip("+"))
        elif exists(options, key):
            value = _at(record["config"], key.lstrip("+"))
        else:
            continue
        if key in space.texts:
            value = next((each for each in space.texts[key] if each == _text(value)), None)
        elif isinstance(value, bool) or not isinstance(value, int | float):
            value = None
        if value is None or not distribution._contains(distribution.to_internal_repr(value)):
            return None, []
        params[key] = value
        overrides.append(space.override(key, value))
        options += overrides[-1:] if key in space.groups else []
    return params, overrides


def _at(config: Mapping[str, Any], key: str) -> Any:
    found: Any = config
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def _text(value: Any) -> str:
    from kdbench.grid import as_text

    return as_text(value)
