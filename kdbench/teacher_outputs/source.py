"""Where a term's targets come from: a teacher that runs beside the student, files of its outputs, or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from kdbench.data.batch import Batch
from kdbench.decoder import Decoder
from kdbench.model import Model
from kdbench.outputs import ModelOutputs, Taps
from kdbench.teacher_outputs.read import CachedOutputs
from kdbench.teacher_outputs.stream import Precision, filled, read_of, round_to


class TeacherOutputs:
    """A frozen teacher's outputs for a batch, in float32 rounded to a precision, wherever they come from.

    Args:
        taps: everything that is read.
        model: runs for what is not in files; None where everything is. It is frozen, put into evaluation mode and cut
            after the last layer that it is needed for.
        cached: the files, of each version of the rows; empty where there are none.
        stored_in: the precision of the files, to which live outputs are rounded too: a result depends on the precision
            and not on where outputs came from.
        computed_in: the precision in which the model runs.
        load: gives the model at every call, made ready by the function that it is handed, in the place of `model`.
        decoder: of the teacher, where its vocabulary is read and there is no model: no file has it.
        substitutes: the word that the teacher reads in the place of each word, (V,); None: it reads them as they are.
    """

    def __init__(
        self,
        taps: Taps,
        model: Model | None = None,
        cached: Sequence[CachedOutputs] = (),
        stored_in: Precision = "f32",
        computed_in: Literal["f32", "bf16"] = "f32",
        load: Callable[[Callable[[Model], Model]], Model] | None = None,
        decoder: Decoder | None = None,
        substitutes: Tensor | None = None,
    ) -> None:
        self.taps, self.model, self.cached = taps, model, cached
        self.stored_in, self.half = stored_in, computed_in == "bf16"
        read = cached[0].streams if cached else ()
        self.streams = frozenset(stream for stream in taps if stream not in read)
        self.live = Taps.of(self.streams)
        self.load, self.device, self.substitutes = load, torch.device("cpu"), substitutes
        found = model.decoder if decoder is None and model is not None and taps.decoder_inputs else decoder
        self.decoder = None if found is None else found.to(dtype=torch.float32)
        if model is not None:
            self._ready(model)

    def _ready(self, model: Model) -> Model:
        """The model frozen, in evaluation mode, cut after the last layer that it is needed for, and on the device."""
        model.eval().requires_grad_(False)
        model.stop_after(model.shape.layers if self.live.head else self.live.deepest)
        return model.to(self.device)

    def to(self, device: torch.device | str) -> TeacherOutputs:
        """Move the model, now or when it is loaded."""
        self.device = torch.device(device)
        if self.model is not None:
            self.model.to(device)
        if self.decoder is not None:
            self.decoder = self.decoder.to(device)
        return self

    def __call__(self, batch: Batch, epoch: int = 0) -> ModelOutputs:
        """The outputs for a batch of that epoch, which says which version of the rows the batch is of."""
        return replace(self._read(batch, epoch), words=batch.words, decoder=self.decoder)

    def _read(self, batch: Batch, epoch: int) -> ModelOutputs:
        model = self.model if self.load is None else self.load(self._ready)
        if model is None:
            return self._kept(batch, epoch)
        found = self._run(model, batch)
        if not self.cached:
            return found
        kept = self._kept(batch, epoch)
        both = ((stream, read_of(found if stream in self.streams else kept, stream)) for stream in self.taps)
        return filled(batch.attention_mask, batch.labels, both)

    def _kept(self, batch: Batch, epoch: int) -> ModelOutputs:
        return self.cached[epoch % len(self.cached)](batch)

    def _run(self, model: Model, batch: Batch) -> ModelOutputs:
        if self.substitutes is not None:
            batch = replace(batch, input_ids=self.substitutes.to(batch.input_ids.device)[batch.input_ids])
        with torch.no_grad(), torch.autocast(batch.input_ids.device.type, torch.bfloat16, enabled=self.half):
            outputs: ModelOutputs = model(batch, self.live)
        return round_to(outputs, self.live, self.stored_in)
