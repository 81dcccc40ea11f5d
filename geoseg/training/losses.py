"""What a network is asked to minimise, on labelled pixels only.

It knows scores and targets, nothing of files or of the training loop. Terms on probabilities are the same for classes
that exclude each other (softmax) and for objects and boundaries that do not (sigmoid).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn import functional

from geoseg.evaluation import IGNORE
from geoseg.training.recipe_parts import Loss


def soft_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Return one minus the mean soft Dice coefficient of the classes in the batch.

    ``1 - mean_c 2 sum(p_c t_c) / (sum(p_c) + sum(t_c))`` over labelled pixels and over the classes that occur among
    them (Milletari et al. 2016, V-Net, section 3). It is 0 when no pixel is labelled.

    Parameters
    ----------
    logits : Tensor
        float32, shape (n, class, y, x).
    labels : Tensor
        int64, shape (n, y, x), 255 = ignored.
    """
    known = labels != IGNORE
    return dice_of(logits.softmax(1), one_hot(labels, logits.shape[1]), known)


def dice_of(probabilities: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Soft Dice as in `soft_dice`, of probabilities and targets (n, class, y, x) where ``known`` (n, y, x)."""
    probabilities, truth = probabilities * known[:, None], targets * known[:, None]
    both = (probabilities * truth).sum((0, 2, 3))
    size = probabilities.sum((0, 2, 3)) + truth.sum((0, 2, 3))
    occurs = truth.sum((0, 2, 3)) > 0
    if not bool(occurs.any()):
        return probabilities.sum() * 0
    return 1 - (2 * both[occurs] / size[occurs]).mean()


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Labels (n, y, x) as float32 targets (n, class, y, x); 0 everywhere where there is no label."""
    known = labels != IGNORE
    truth = functional.one_hot(labels.where(known, labels.new_zeros(())), classes).movedim(-1, 1)
    return (truth * known[:, None]).float()


def focal_of(entropy: Tensor, probability: Tensor, exponent: float) -> Tensor:
    """``(1 - p)^g * -log p``, p the probability of what is true (Lin et al. 2017, RetinaNet, equation 4)."""
    return (1 - probability).clamp_min(0) ** exponent * entropy


def boundary_of(probabilities: Tensor, distances: Tensor, known: Tensor) -> Tensor:
    """Mean over labelled pixels of ``sum_c p_c d_c`` (Kervadec et al. 2019, Boundary loss, equation 5).

    Parameters
    ----------
    probabilities : Tensor
        float32, shape (n, class, y, x).
    distances : Tensor
        float32, the same shape: as `signed_distances` gives them.
    known : Tensor
        bool, shape (n, y, x).
    """
    return ((probabilities * distances).sum(1) * known).sum() / known.sum().clamp_min(1)


def signed_distances(targets: NDArray[np.bool_]) -> NDArray[np.float32]:
    """How far a pixel lies from the other side of a class, negative inside of it, as a part of the window's side.

    Parameters
    ----------
    targets : NDArray
        bool, shape (n, class, y, x).

    Returns
    -------
    NDArray
        float32, the same shape; 0 of a class that fills a window or is not in it.
    """
    found: NDArray[np.float32] = np.zeros(targets.shape, np.float32)
    for place in np.ndindex(targets.shape[:2]):
        inside = targets[place]
        if inside.any() and not inside.all():
            found[place] = distance_transform_edt(~inside) - distance_transform_edt(inside)
    return found / np.float32(max(targets.shape[2:]))


def segmentation_loss(
    logits: Tensor, labels: Tensor, loss: Loss | None = None, class_weights: Tensor | None = None
) -> Tensor:
    """Return the sum of the loss's terms over labelled pixels, of classes that exclude each other.

    Parameters
    ----------
    logits : Tensor
        float32, shape (n, class, y, x).
    labels : Tensor
        int64, shape (n, y, x), 255 = ignored.
    loss : Loss, optional
        Weights of the terms.
    class_weights : Tensor, optional
        float32, shape (class,): weight of each class in the cross entropy and in the focal loss.
    """
    loss, known = loss or Loss(), labels != IGNORE
    if not bool(known.any()):
        return logits.sum() * 0
    total = logits.new_zeros(())
    if loss.cross_entropy:
        total = total + loss.cross_entropy * functional.cross_entropy(
            logits, labels, weight=class_weights, ignore_index=IGNORE, label_smoothing=loss.label_smoothing
        )
    if loss.dice:
        total = total + loss.dice * soft_dice(logits, labels)
    if loss.focal:
        plain = functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
        weights = 1.0 if class_weights is None else class_weights[labels.where(known, labels.new_zeros(()))]
        focal = focal_of(plain, torch.exp(-plain), loss.focal_exponent) * weights
        total = total + loss.focal * focal[known].mean()
    if loss.boundary:
        truth = one_hot(labels, logits.shape[1])
        distances = torch.from_numpy(signed_distances(truth.cpu().numpy() > 0)).to(logits.device)
        total = total + loss.boundary * boundary_of(logits.softmax(1), distances, known)
    return total


def object_loss(logits: Tensor, targets: Tensor, known: Tensor, loss: Loss, weights: Tensor) -> Tensor:
    """Return the sum of the loss's terms over labelled pixels, of objects and boundaries that may lie over each other.

    Parameters
    ----------
    logits, targets : Tensor
        float32, shape (n, channel, y, x).
    known : Tensor
        bool, shape (n, y, x).
    loss : Loss
        Weights of the terms; ``edges`` is that of the last channel.
    weights : Tensor
        float32, shape (channel,): of each channel in the cross entropy and in the focal loss.
    """
    if not bool(known.any()):
        return logits.sum() * 0
    total, inside = logits.new_zeros(()), known[:, None]
    smoothed = targets * (1 - loss.label_smoothing) + loss.label_smoothing / 2
    factor = weights[:, None, None] * inside
    many = inside.sum() * weights.numel()
    if loss.cross_entropy:
        entropy = functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
        total = total + loss.cross_entropy * (entropy * factor).sum() / many
    probabilities = logits.sigmoid()
    if loss.dice:
        dice = [dice_of(probabilities[:, [c]], targets[:, [c]], known) for c in range(logits.shape[1])]
        total = total + loss.dice * (torch.stack(dice) * weights).sum() / weights.numel()
    if loss.focal:
        entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        true = torch.where(targets > 0, probabilities, 1 - probabilities)
        total = total + loss.focal * (focal_of(entropy, true, loss.focal_exponent) * factor).sum() / many
    if loss.boundary:
        distances = torch.from_numpy(signed_distances(targets[:, :-1].cpu().numpy() > 0)).to(logits.device)
        total = total + loss.boundary * boundary_of(probabilities[:, :-1], distances, known)
    return total
