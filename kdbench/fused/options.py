"""Which options an objective was given."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor


def changed_options(objective: Callable[..., Tensor], function: Callable[..., Tensor]) -> dict[str, Any] | None:
    """The options by which an objective differs from `function` as it stands; None if it is not that function.

    Args:
        objective: a function, or a partial of one, or a partial of that, as schedules make them: the outermost wins.
        function: the objective that is asked for.
    """
    given: dict[str, Any] = {}
    while isinstance(objective, partial):
        if objective.args:
            return None
        given = {**objective.keywords, **given}
        objective = objective.func
    if objective is not function:
        return None
    defaults = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
    return {name: value for name, value in given.items() if isinstance(value, Tensor) or value != defaults.get(name)}
