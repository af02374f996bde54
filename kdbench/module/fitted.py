"""What teacher and student share as LightningModules: one optimizer step, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from kdbench.data.batch import Batch
from kdbench.error import KdbenchError
from kdbench.model import Model
from kdbench.module.training import Training

LearningRate = Callable[[int, int], float]


class Fitted(pl.LightningModule):
    """A model in training: manual optimisation, with accumulation, clipping and the learning rate in one place.

    The loss of a batch is a mean over its rows, so cutting it into micro-batches changes no gradient. Losses stay on
    the device and are read every `log_every_steps` steps.

    Args:
        model: what is trained and kept.
        optimizer: called with parameter groups.
        lr_schedule: (step, steps) -> factor of the optimizer's learning rate.
        training: the settings.
        steps: optimizer steps in all.
    """

    names: tuple[str, ...] = ("loss",)
    """The names of the losses that `losses` returns."""

    settings_of: str = ""
    """What stands before `optimizer` and `training` in the configuration's keys."""

    def __init__(
        self,
        model: Model,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        lr_schedule: LearningRate,
        training: Training,
        steps: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self._make_optimizer, self._factor, self.settings, self.steps = optimizer, lr_schedule, training, steps
        self.done = 0  # optimizer steps so far, over all attempts
        self.history: list[dict[str, float]] = []
        self._sums: Tensor | None = None
        self._since = 0

    def losses(self, batch: Batch, micro_batch: int = 0) -> Tensor:
        """The weighted losses of a batch, (number of names,), each a mean over the rows.

        Args:
            batch: on the module's device.
            micro_batch: its number inside the step.
        """
        raise NotImplementedError

    def on_step(self) -> None:
        """Called after every optimizer step, before it is counted."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        self._trained = trained
        # Biases and norms are not decayed (Devlin et al. 2019): they are the parameters with one axis.
        matrices = [parameter for parameter in trained if parameter.ndim > 1]
        vectors = [parameter for parameter in trained if parameter.ndim <= 1]
        optimizer = self._make_optimizer([{"params": matrices}, {"params": vectors, "weight_decay": 0.0}])
        self._peaks = [group["lr"] for group in optimizer.param_groups]
        return optimizer

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        # The optimizer itself, not Lightning's wrapper: of what that adds (hooks, a loss scaler) nothing is used here.
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        parts = [batch] if self.settings.accumulate == 1 else batch.split(self.settings.accumulate)
        total: Tensor | None = None
        for number, part in enumerate(parts):
            losses = self.losses(part, number)
            if part is not batch:
                losses = losses * (len(part) / len(batch))
            # Not `manual_backward`: its hooks cost as much as the rest together, and serve fp16 and DDP, which are
            # not offered.
            torch.autograd.backward(losses.sum())
            total = losses.detach() if total is None else total + losses.detach()
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._trained, self.settings.clip_norm)
        factor = self._factor(self.done, self.steps)
        for group, peak in zip(optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        optimizer.step()
        optimizer.zero_grad()
        self.on_step()
        self.done += 1
        assert total is not None
        self._sums = total if self._sums is None else self._sums + total
        self._since += 1
        if self.done % self.settings.log_every_steps == 0 or self.done == self.steps:
            self.read_losses()

    def read_losses(self) -> None:
        """Read the mean losses since the last reading into the history and the loggers.

        Raises:
            KdbenchError: a loss that is not finite.
        """
        if self._sums is None:
            return
        values = [value / self._since for value in self._sums.tolist()]
        means = dict(zip(self.names, values, strict=True))
        for name, value in means.items():
            if not torch.isfinite(torch.tensor(value)):
                raise KdbenchError(
                    f"the loss '{name}' became {value} between step {self.done - self._since} and {self.done}: lower "
                    f"{self.settings_of}optimizer.lr or {self.settings_of}training.clip_norm, or the term's weight"
                )
        entry = {"train/loss": sum(values), **{f"train/term/{name}": value for name, value in means.items()}}
        self.note(entry)
        self._sums, self._since = None, 0

    def note(self, entry: dict[str, float]) -> None:
        """Keep numbers in the history, at this step, and hand them to the loggers."""
        self.history.append({"step": self.done, **entry})
        for logger in self.loggers:
            logger.log_metrics(entry, step=self.done)

    def state(self) -> dict[str, Any]:
        """What a resumed training needs, as tensors and plain values: it loads with `weights_only=True`."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        return {
            "done": self.done,
            "weights": self.state_dict(),
            "optimizer": optimizer.state_dict(),
            "history": self.history,
            "sums": self._sums,
            "since": self._since,
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        self.load_state_dict(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
        self.done, self.history = state["done"], state["history"]
        self._sums, self._since = state["sums"], state["since"]
        torch.set_rng_state(state["random"].cpu())
        if state["random_cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["random_cuda"])

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch if device.type == "cpu" else batch.to(device)
