"""The group `compat`: what a published release really computes, where it differs from its paper."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from kdbench.error import ImpossibleError

log = logging.getLogger(__name__)

PARTS = ("knowledge", "matching", "projection", "objective")


def released(key: str, term: Mapping[str, Any], compat: Mapping[str, Any], regression: bool) -> dict[str, Any]:
    """A completed term as the chosen release has it.

    Args:
        key: the term's place in the configuration, named in a refusal.
        term: with its parts written out.
        compat: `options`, from a `_target_` to what is set in its place, and `refused`, from a `_target_` and an
            option's value to the reason. An objective inside another is left as it is. `regression` is to options what
            holds for a regression alone.
        regression: whether the task is one.

    Raises:
        ImpossibleError: what the release cannot run.
    """
    changed = dict(term)
    for part in PARTS:
        node = term.get(part)
        if not isinstance(node, Mapping) or "_target_" not in node:
            continue
        for option, reasons in (compat.get("refused") or {}).get(node["_target_"], {}).items():
            if node.get(option) in reasons:
                raise ImpossibleError(
                    f"{key}.{part}.{option}={node[option]} cannot run under the chosen compat, since "
                    f"{reasons[node[option]]}: choose compat=none"
                )
        changed[part] = {**node, **(compat.get("options") or {}).get(node["_target_"], {})}
        if regression and (other := (compat.get("regression") or {}).get(node["_target_"])) is not None:
            changed[part] = dict(other)
            log.warning("%s.%s: on a regression the chosen compat puts %s in its place", key, part, other["_target_"])
    return changed
