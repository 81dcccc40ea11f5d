"""What the network is asked to minimise, on labelled pixels only.

It knows logits and labels, nothing of files or of the training loop.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from geoseg.evaluation import IGNORE


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
    truth = functional.one_hot(labels.where(known, labels.new_zeros(())), logits.shape[1]).movedim(-1, 1)
    truth = truth * known[:, None]
    probabilities = logits.softmax(1) * known[:, None]
    both = (probabilities * truth).sum((0, 2, 3))
    size = probabilities.sum((0, 2, 3)) + truth.sum((0, 2, 3))
    occurs = truth.sum((0, 2, 3)) > 0
    if not bool(occurs.any()):
        return logits.sum() * 0
    return 1 - (2 * both[occurs] / size[occurs]).mean()


def segmentation_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    cross_entropy: float = 1.0,
    dice: float = 1.0,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Return ``cross_entropy * CE + dice * soft_dice`` over labelled pixels.

    Parameters
    ----------
    logits : Tensor
        float32, shape (n, class, y, x).
    labels : Tensor
        int64, shape (n, y, x), 255 = ignored.
    cross_entropy, dice : float
        Weights of the two terms.
    label_smoothing : float
        Share of probability spread over all classes in the cross entropy, 0 to 1.
    class_weights : Tensor, optional
        float32, shape (class,): weight of each class in the cross entropy.
    """
    if not bool((labels != IGNORE).any()):
        return logits.sum() * 0
    total = logits.new_zeros(())
    if cross_entropy:
        total = total + cross_entropy * functional.cross_entropy(
            logits, labels, weight=class_weights, ignore_index=IGNORE, label_smoothing=label_smoothing
        )
    if dice:
        total = total + dice * soft_dice(logits, labels)
    return total
