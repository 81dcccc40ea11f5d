"""The training loop: steps, a moving average of the weights, and early stopping on a validation score.

It knows a network, batches and a score; it writes nothing and opens nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geoseg.training.losses import segmentation_loss
from geoseg.training.recipe import Recipe

Batch = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.uint8]]


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
        Validation score, higher is better.
    best : float
        Best score so far.
    seconds : float
        Since training began.
    """

    step: int
    loss: float
    score: float
    best: float
    seconds: float


def learning_rate(step: int, recipe: Recipe) -> float:
    """Return the rate of a step: linear warm-up, then ``peak (1 + cos(pi t)) / 2``, t from 0 to 1.

    Source: Loshchilov and Hutter 2017, SGDR, equation 5.
    """
    if step < recipe.warm_up:
        return recipe.learning_rate * (step + 1) / recipe.warm_up
    done = (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)
    return recipe.learning_rate * (1 + math.cos(math.pi * min(1.0, done))) / 2


def follow(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights: ``a <- d a + (1 - d) w`` with ``d = min(decay, (step + 1) / (step + 10))``.

    Counters of batch normalisation are copied.
    """
    decay = min(decay, (step + 1) / (step + 10))
    with torch.no_grad():
        for old, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if old.dtype.is_floating_point:
                old.lerp_(new, 1 - decay)
            else:
                old.copy_(new)


def fit(
    network: nn.Module,
    recipe: Recipe,
    draw: Callable[[int], Batch],
    prepare: Callable[[NDArray[np.float32], NDArray[np.bool_]], Tensor],
    validate: Callable[[nn.Module], float],
    progress: Callable[[Epoch], None],
) -> dict[str, Tensor]:
    """Train ``network`` in place and return the averaged weights of the best epoch.

    Parameters
    ----------
    network : torch.nn.Module
        On its device; float32 (n, band, y, x) -> logits (n, class, y, x).
    recipe : Recipe
        Steps, rates, loss, patience.
    draw : callable
        Batch size -> a batch of digital numbers, masks and labels.
    prepare : callable
        Digital numbers and mask -> what the network sees, on its device.
    validate : callable
        The averaged network in eval mode -> its score, higher is better; NaN counts as the worst.
    progress : callable
        Called once an epoch.
    """
    average = deepcopy(network).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(_groups(network, recipe.weight_decay), lr=recipe.learning_rate)
    weights = {name: tensor.clone() for name, tensor in average.state_dict().items()}
    best, behind, total, since, start = -math.inf, 0, 0.0, 0, time.monotonic()
    for step in range(recipe.steps):
        total, since = total + _step(network, optimizer, recipe, step, draw, prepare), since + 1
        follow(average, network, recipe.ema, step)
        if (step + 1) % recipe.steps_per_epoch and step + 1 < recipe.steps:
            continue
        score = validate(average)
        behind += 1
        if score > best:
            best, behind = score, 0
            weights = {name: tensor.clone() for name, tensor in average.state_dict().items()}
        progress(Epoch(step + 1, total / since, score, best, time.monotonic() - start))
        total, since = 0.0, 0
        if recipe.early_stopping is not None and behind >= recipe.early_stopping:
            break
    return weights


def _step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    step: int,
    draw: Callable[[int], Batch],
    prepare: Callable[[NDArray[np.float32], NDArray[np.bool_]], Tensor],
) -> float:
    """Do one step of the optimizer and return its loss."""
    network.train()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, recipe)
    pixels, mask, labels = draw(recipe.batch_size)
    inputs = prepare(pixels, mask)
    truth = torch.from_numpy(labels).to(inputs.device).long()
    loss = segmentation_loss(
        network(inputs),
        truth,
        cross_entropy=recipe.loss.cross_entropy,
        dice=recipe.loss.dice,
        label_smoothing=recipe.loss.label_smoothing,
        class_weights=_class_weights(recipe, inputs),
    )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    return float(loss.detach())


def _class_weights(recipe: Recipe, like: Tensor) -> Tensor | None:
    """Weights of the classes in the cross entropy, 1 where the recipe names none."""
    named = recipe.loss.class_weights
    if not named:
        return None
    return torch.tensor([named.get(item.name, 1.0) for item in recipe.classes], device=like.device)


def _groups(network: nn.Module, decay: float) -> list[dict[str, object]]:
    """Split the parameters: norms and biases are not decayed."""
    wide = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    narrow = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return [{"params": wide, "weight_decay": decay}, {"params": narrow, "weight_decay": 0.0}]
