"""A run's teacher outputs: what is missing is written to the store, and all is opened."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from kdbench.context import Context
from kdbench.model import Model
from kdbench.outputs import Stream, Taps
from kdbench.teacher_outputs.fill import fill
from kdbench.teacher_outputs.read import CachedOutputs
from kdbench.teacher_outputs.reading import KIND, SPLIT, Reading
from kdbench.teacher_outputs.resident import Residents
from kdbench.teacher_outputs.source import TeacherOutputs

log = logging.getLogger(__name__)


def obtain(
    context: Context, reading: Reading, load: Callable[[], Model], residents: Residents | None = None
) -> TeacherOutputs:
    """The outputs of a run's teacher over its training rows, from files or live as the settings choose.

    Args:
        context: the run in the making.
        reading: of its stage.
        load: gives the teacher, which is loaded only where it has to run.
        residents: of a team whose live models are not all kept in memory.
    """
    rows = context.side(reading.stage).splits[SPLIT]
    choice = reading.choose(context.store, rows)
    log.info("teacher outputs: %s", choice)
    versions = range(reading.versions(len(rows))) if choice.cached else ()
    cached = [_cached(context, reading, choice.cached, load, version) for version in versions]
    settings = context.cfg.teacher
    lazily = partial(residents.get, reading.teacher, load) if residents is not None and choice.live else None
    model = load() if choice.live and lazily is None else None
    return TeacherOutputs(
        reading.taps,
        model,
        cached,
        settings.stored_in,
        settings.computed_in,
        load=lazily,
        decoder=load().decoder if model is None and reading.taps.decoder_inputs else None,
        substitutes=substitutes(context, reading),
    )


def substitutes(context: Context, reading: Reading) -> Tensor | None:
    """The word that the teacher reads for each word, where it is to read a student's substitutes."""
    if reading.substituted is None or context.vocabulary is None:
        return None
    return torch.from_numpy(context.vocabulary.words[context.vocabulary.rows])


def _cached(
    context: Context, reading: Reading, streams: tuple[Stream, ...], load: Callable[[], Model], version: int
) -> CachedOutputs:
    settings, signed = context.cfg.teacher, reading.signatures(version)
    rows = context.side(reading.stage).splits[SPLIT]
    split = reading.augmentation.variant(rows, version, context.tokenizer)

    def build(partials: Mapping[str, Path]) -> None:
        missing = {stream: partials[signed[stream]] for stream in streams if signed[stream] in partials}
        taps, words = Taps.of(missing), substitutes(context, reading)
        teacher = TeacherOutputs(taps, load(), computed_in=settings.computed_in, substitutes=words)
        teacher.to(context.device)
        about = {**reading.fingerprint(version), "built_from": [reading.teacher, reading.data], "of": reading.label}
        padding_id = context.tokenizer.pad_token_id
        fill(teacher, split, missing, reading.shape, settings.stored_in, padding_id, context.device, about)

    with context.timed("teacher_outputs"):
        folders = context.store.obtain_all(KIND, [signed[stream] for stream in streams], build)
    paths = {stream: folders[signed[stream]] for stream in streams}
    return CachedOutputs(paths, split, reading.shape, settings.stored_in, reading.fingerprint(version))
