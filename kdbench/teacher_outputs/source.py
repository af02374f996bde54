"""Where a term's targets come from: a teacher that runs beside the student, files of its outputs, or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch

from kdbench.data.batch import Batch
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
    """

    def __init__(
        self,
        taps: Taps,
        model: Model | None = None,
        cached: Sequence[CachedOutputs] = (),
        stored_in: Precision = "f32",
        computed_in: Literal["f32", "bf16"] = "f32",
        load: Callable[[Callable[[Model], Model]], Model] | None = None,
    ) -> None:
        self.taps, self.model, self.cached = taps, model, cached
        self.stored_in, self.half = stored_in, computed_in == "bf16"
        read = cached[0].streams if cached else ()
        self.streams = frozenset(stream for stream in taps if stream not in read)
        self.live = Taps.of(self.streams)
        self.load, self.device = load, torch.device("cpu")
        if model is not None:
            self._ready(model)

    def _ready(self, model: Model) -> Model:
        """The model frozen, in evaluation mode, cut after the last layer that it is needed for, and on the device."""
        model.eval().requires_grad_(False)
        model.stop_after(model.shape.layers if self.live.logits else self.live.deepest)
        return model.to(self.device)

    def to(self, device: torch.device | str) -> TeacherOutputs:
        """Move the model, now or when it is loaded."""
        self.device = torch.device(device)
        if self.model is not None:
            self.model.to(device)
        return self

    def __call__(self, batch: Batch, epoch: int = 0) -> ModelOutputs:
        """The outputs for a batch of that epoch, which says which version of the rows the batch is of."""
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
        with torch.no_grad(), torch.autocast(batch.input_ids.device.type, torch.bfloat16, enabled=self.half):
            outputs: ModelOutputs = model(batch, self.live)
        return round_to(outputs, self.live, self.stored_in)
