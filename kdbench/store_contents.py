"""What the artefacts of a store say about themselves: their label, and which others they were built from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kdbench.artefact import Artefact
from kdbench.error import KdbenchError
from kdbench.json_file import read_json
from kdbench.store import Store

RECORDS = ("record.json", "stage.json", "meta.json")


def record(artefact: Artefact) -> Mapping[str, Any] | None:
    """The JSON file in which an artefact describes itself, None where it has none; KdbenchError if unreadable."""
    for name in RECORDS:
        path = artefact.path / name
        if path.is_file():
            value = read_json(path)
            return value if isinstance(value, Mapping) else None
    return None


def label(artefact: Artefact) -> str:
    """What an artefact is, in a few words: its record's `label`, or else a run's axes."""
    try:
        found = record(artefact) or {}
    except (KdbenchError, OSError):
        return ""
    axes = found.get("axes")
    if isinstance(found.get("label"), str):
        return " ".join(found["label"].split())
    return " ".join(f"{name}={value}" for name, value in axes.items()) if isinstance(axes, Mapping) else ""


def sources(found: Mapping[str, Any]) -> set[str]:
    """The signatures that a record names in `stages`, `teacher.signature` and `built_from`."""
    teacher = found.get("teacher")
    named = [found.get("stages"), found.get("built_from")]
    if isinstance(teacher, Mapping):
        named.append(teacher.get("signature"))
    return {text for value in named for text in _strings(value)}


def unused(store: Store, artefacts: Sequence[Artefact]) -> list[Artefact]:
    """The whole artefacts from which no run of the store was built, neither directly nor through another artefact.

    Runs themselves are never unused. Refused where the answer cannot be known: a run that is being computed has no
    record yet, and a record may be damaged.
    """
    for artefact in artefacts:
        if artefact.state == "partial" and store.held(artefact.kind, artefact.signature):
            raise KdbenchError(
                f"the {artefact.kind} {artefact.signature} is being computed and what it uses is not known yet: "
                "repeat `prune --unused` when it is finished"
            )
        if artefact.kind == "run" and artefact.state == "damaged":
            raise KdbenchError(
                f"the run {artefact.signature} is damaged, so what it was built from is not known: "
                "run `kdbench-store prune --damaged` first"
            )
    whole = [artefact for artefact in artefacts if artefact.complete]
    built_from = {artefact.signature: sources(record(artefact) or {}) for artefact in whole}
    used = {artefact.signature for artefact in whole if artefact.kind == "run"}
    waiting = list(used)
    while waiting:
        new = built_from.get(waiting.pop(), set()) - used
        used |= new
        waiting.extend(new)
    return [artefact for artefact in whole if artefact.signature not in used]


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _strings(item)
