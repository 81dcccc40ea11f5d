"""The training loop: steps, a moving average of the weights, and early stopping on a validation score.

It knows a network, batches, a goal and a score; it writes nothing and opens nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from geoseg.models.running import inner_type
from geoseg.training.encoders import encoder_of
from geoseg.training.goals import Goal
from geoseg.training.loading import TrainingBatch
from geoseg.training.recipe import Recipe


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch; one row of the training log.

    Attributes
    ----------
    step : int
        Steps done so far.
    loss : float
        Mean training loss since the epoch before.
    score : float
        Validation score, higher is better; NaN where nothing is held out.
    best : float
        Best score so far.
    seconds : float
        Since training began.
    fold : str
        Name of the fold that is held out, in a cross-validation.
    """

    step: int
    loss: float
    score: float
    best: float
    seconds: float
    fold: str = ""


def learning_rate(step: int, recipe: Recipe) -> float:
    """Return the rate of a step: linear warm-up, then ``peak (1 + cos(pi t)) / 2``, t from 0 to 1 at ``decay_steps``.

    Source: Loshchilov and Hutter 2017, SGDR, equation 5.
    """
    if step < recipe.warm_up:
        return recipe.learning_rate * (step + 1) / recipe.warm_up
    last = recipe.steps if recipe.decay_steps is None else recipe.decay_steps
    done = (step - recipe.warm_up) / max(1, last - recipe.warm_up)
    return recipe.learning_rate * (1 + math.cos(math.pi * min(1.0, done))) / 2


def follow(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights: ``a <- d a + (1 - d) w`` with ``d = min(decay, (step + 1) / (step + 10))``.

    Counters of batch normalisation are copied.
    """
    decay = min(decay, (step + 1) / (step + 10))
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    moving = [pair for pair in pairs if pair[0].dtype.is_floating_point]
    get_ema_multi_avg_fn(decay)([old for old, _ in moving], [new for _, new in moving], 0)
    for old, new in pairs:
        if not old.dtype.is_floating_point:
            old.copy_(new)


@dataclass
class TrainingState:
    """A network that is being trained: what changes from step to step.

    Parameters
    ----------
    network : torch.nn.Module
        On its device.
    recipe : Recipe
        Steps, rates, precision, patience.
    goal : Goal
        How wrong an answer is.
    prepare : callable
        Digital numbers and mask -> what the network sees, on its device.
    """

    network: nn.Module
    recipe: Recipe
    goal: Goal
    prepare: Callable[[NDArray[np.float32], NDArray[np.bool_]], Tensor]
    step: int = 0
    best: float = -math.inf
    behind: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Begin with the averaged weights equal to the network's."""
        self.average = deepcopy(self.network).eval().requires_grad_(False)
        self._frozen = encoder_of(self.network, self.recipe, "freeze_encoder") if self.recipe.freeze_encoder else None
        if self._frozen is not None:
            self._frozen.requires_grad_(False)
        groups = _groups(self.network, self.recipe.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=self.recipe.learning_rate)
        self.kept = _copied(self.average)
        self._device = next(self.network.parameters()).device
        self._dtype = inner_type(self.recipe.precision, self._device)
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=self._dtype is torch.float16)

    def advance(self, batch: TrainingBatch) -> float:
        """Do one step of the optimizer and return its loss."""
        self.network.train()
        if self._frozen is not None:
            self._frozen.eval()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.recipe)
        inputs = self.prepare(batch.pixels.numpy(), batch.mask.numpy())
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype is not torch.float32):
            loss = self.goal.loss(self.network, inputs, batch.targets)
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        follow(self.average, self.network, self.recipe.ema, self.step)
        self.step += 1
        return float(loss.detach())

    def keep(self, score: float | None) -> None:
        """Keep the averaged weights when they are the best so far, or without a score; NaN counts as the worst."""
        if score is None:
            self.kept = _copied(self.average)
            return
        self.behind += 1
        if score > self.best:
            self.best, self.behind, self.kept = score, 0, _copied(self.average)

    @property
    def is_done(self) -> bool:
        """Whether all steps are done, or no epoch has been better for long enough."""
        patience = self.recipe.early_stopping
        return self.step >= self.recipe.steps or (patience is not None and self.behind >= patience)

    def state(self) -> dict[str, Any]:
        """All that is needed to go on from here, for `Checkpoints`."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "kept": self.kept,
            **{name: getattr(self, name) for name in ("step", "best", "behind", "seconds")},
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self.kept = {name: tensor.to(self._device) for name, tensor in state["kept"].items()}
        for name in ("step", "best", "behind", "seconds"):
            setattr(self, name, state[name])


def fit(
    fitting: TrainingState,
    batches: Iterable[TrainingBatch],
    validate: Callable[[nn.Module], float] | None,
    progress: Callable[[Epoch], None],
    told: Callable[[int], None] = lambda _: None,
) -> dict[str, Tensor]:
    """Train until it is done and return the averaged weights of the best epoch, or of the last without validation.

    Parameters
    ----------
    fitting : TrainingState
        At its beginning, or where it was left.
    batches : iterable of TrainingBatch
        From the step that is next.
    validate : callable, optional
        The averaged network in evaluation mode -> its score, higher is better.
    progress : callable
        Called once an epoch, after the weights were kept.
    told : callable
        Called with the steps that are done after each of them.
    """
    recipe, losses = fitting.recipe, list[float]()
    since = time.monotonic() - fitting.seconds
    for batch in batches:
        if fitting.is_done:
            break
        losses.append(fitting.advance(batch))
        told(fitting.step)
        if fitting.step % recipe.steps_per_epoch and fitting.step < recipe.steps:
            continue
        score = None if validate is None else validate(fitting.average)
        fitting.keep(score)
        fitting.seconds = time.monotonic() - since
        shown = (math.nan, math.nan) if score is None else (score, fitting.best)
        progress(Epoch(fitting.step, sum(losses) / len(losses), *shown, fitting.seconds))
        losses.clear()
    return fitting.kept


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def _groups(network: nn.Module, decay: float) -> list[dict[str, object]]:
    """Split the parameters: norms and biases are not decayed."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    wide = [parameter for parameter in trained if parameter.ndim > 1]
    narrow = [parameter for parameter in trained if parameter.ndim <= 1]
    return [{"params": wide, "weight_decay": decay}, {"params": narrow, "weight_decay": 0.0}]
