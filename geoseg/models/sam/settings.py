"""What an entry may choose about asking a network of the SAM family: plain numbers, nothing of tensors."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SamSettings:
    """Hyperparameters beside those of the library's configuration; most are named as its mask generation names them.

    Attributes
    ----------
    points_per_batch : int
        Prompts that are answered at once.
    points_per_side : int
        Where nothing is asked, this many points in a row, and rows of points, are.
    pred_iou_thresh, stability_score_thresh, stability_score_offset, crops_nms_thresh : float
        Of what these points find, masks are kept whose predicted IoU and whose stability (the IoU of the masks at the
        logits +-offset) are above these thresholds, and of masks whose boxes share more IoU than the last one only the
        best (Kirillov et al. 2023, arXiv:2304.02643, appendix B).
    text_model : str or None
        The folder, or ``hub:NAME``, of a Grounding DINO or CLIPSeg model, which says where the words of a prompt are.
    text_threshold : float or None
        How sure that model must be, 0 to 1; 0.25 for Grounding DINO and 0.5 for CLIPSeg unless given.
    """

    points_per_batch: int = 64
    points_per_side: int = 32
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    crops_nms_thresh: float = 0.7
    text_model: str | None = None
    text_threshold: float | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that ask for nothing."""
        if self.points_per_batch < 1 or self.points_per_side < 1:
            raise ValueError("points_per_batch and points_per_side are counted from 1")
