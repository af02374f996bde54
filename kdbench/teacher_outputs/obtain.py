"""From a run's configuration to its teacher's outputs: choose, write what is missing to the store, open."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kdbench.context import Context
from kdbench.model import Model
from kdbench.outputs import Stream, Taps
from kdbench.signature import signature
from kdbench.store import Store
from kdbench.teacher_outputs.choice import Choice, Question, choose
from kdbench.teacher_outputs.fill import fill
from kdbench.teacher_outputs.read import CachedOutputs
from kdbench.teacher_outputs.source import TeacherOutputs
from kdbench.teacher_outputs.stream import name

log = logging.getLogger(__name__)

KIND = "outputs"
SPLIT = "train"
VERSION = 1
"""Of what the files hold."""


def signatures(taps: Taps, about: Mapping[str, Any]) -> dict[Stream, str]:
    """The signature of each stream's artefact; `about` is what `fingerprint` returns."""
    return {stream: signature(KIND, {**about, "stream": name(stream), "version": VERSION}) for stream in taps}


def fingerprint(teacher: str, data: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What determines a teacher's outputs: its signature, that of the data, the split, and two precisions."""
    precisions = {key: settings[key] for key in ("computed_in", "stored_in")}
    return {"teacher": teacher, "data": data, "split": SPLIT, **precisions}


def stored(store: Store, signed: Mapping[Stream, str]) -> set[Stream]:
    """The streams whose artefacts are whole."""
    return {stream for stream, found in signed.items() if store.has(KIND, found)}


def obtain(context: Context, taps: Taps, epochs: float, load: Callable[[], Model]) -> TeacherOutputs:
    """The outputs of a run's teacher over its training rows.

    Args:
        context: the run in the making.
        taps: what its terms read.
        epochs: how often it reads each row.
        load: gives the teacher, which is loaded only where it has to run.
    """
    settings, split = context.cfg.teacher, context.splits[SPLIT]
    shape = context.plan.checked.teacher
    about = fingerprint(context.plan.signatures("teacher")[0], context.plan.signatures("data")[0], settings)
    signed = signatures(taps, about)
    choice = choose(
        settings.outputs,
        Question(
            taps=taps,
            shape=shape,
            lengths=split.lengths,
            precision=settings.stored_in,
            readings=epochs * settings.shared_by,
            stored=stored(context.store, signed),
            max_bytes=settings.max_bytes,
            free_bytes=shutil.disk_usage(context.store.root).free,
            device=context.device,
        ),
    )
    log.info("%s", choice)
    cached = _cached(context, choice, signed, about, load)
    model = load() if choice.live else None
    return TeacherOutputs(taps, model, cached, settings.stored_in, settings.computed_in)


def _cached(
    context: Context,
    choice: Choice,
    signed: Mapping[Stream, str],
    about: Mapping[str, Any],
    load: Callable[[], Model],
) -> CachedOutputs | None:
    if not choice.cached:
        return None
    settings, split = context.cfg.teacher, context.splits[SPLIT]

    def build(partials: Mapping[str, Path]) -> None:
        missing = {stream: partials[signed[stream]] for stream in choice.cached if signed[stream] in partials}
        source = TeacherOutputs(Taps.of(missing), load(), None, "f32", settings.computed_in)
        described = {
            **about,
            "label": f"{settings.model} on {context.task.name}",
            "built_from": [about["teacher"], about["data"]],
        }
        fill(source.to(context.device), split, missing, context.plan.checked.teacher, settings.stored_in,
             context.tokenizer.pad_token_id, context.device, described)  # fmt: skip

    with context.timed("teacher_outputs"):
        folders = context.store.obtain_all(KIND, [signed[stream] for stream in choice.cached], build)
    paths = {stream: folders[signed[stream]] for stream in choice.cached}
    return CachedOutputs(paths, split, context.plan.checked.teacher, settings.stored_in, about)
