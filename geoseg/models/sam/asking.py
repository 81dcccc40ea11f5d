"""From prompts of a tile to its detections.

Strategy. A network looks at a tile once and is asked many times. Prompts of one form (as many points, a box or none, a
mask or none) are asked together and never padded to a common form: padding is seen by the network, so what is found
for an object would depend on what else is asked. A single point may mean a part or the whole, so the best of three
masks answers it; everything else has one answer (Kirillov et al. 2023, arXiv:2304.02643, section 3).

It knows the library's arguments for prompts; not where prompts are from, nor anything of files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, groupby
from typing import Any

import numpy as np
import torch

from geoseg.errors import ModelError
from geoseg.models.detections import Detections, Mask, bounding_window
from geoseg.models.prompts import Box, Prompt
from geoseg.models.sam.settings import SamSettings
from geoseg.models.sam.viewing import EncodedTile, Viewer

CENTRE = 0.5
"""What the library adds to positions: it counts from the centre of the first pixel, geoseg from the tile's corner."""

Form = tuple[int, bool, bool]
"""How many points a prompt has, and whether it has a box and a mask."""

AMBIGUOUS: Form = (1, False, False)
"""The form that may mean several objects."""


class Asker:
    """Asks a network of the family for objects.

    Parameters
    ----------
    network : Any
        One of the library's with image embeddings, on its device.
    viewer : Viewer
        Looks at tiles for it.
    settings : SamSettings
        How much is asked at once, and what is kept where everything is asked for.
    """

    def __init__(self, network: Any, viewer: Viewer, settings: SamSettings) -> None:
        self._network, self._viewer, self._settings = network, viewer, settings

    def answer(self, view: EncodedTile, prompts: Sequence[Prompt]) -> Detections:
        """Find the object of each prompt; its score is the IoU that the network predicts.

        Raises
        ------
        ModelError
            A prompt marks nothing.
        """
        most = self._settings.points_per_batch
        ordered = sorted((_boxed(prompt) for prompt in prompts), key=_form)
        groups = [list(group) for _, group in groupby(ordered, key=_form)]
        batches = [group[start : start + most] for group in groups for start in range(0, len(group), most)]
        return join([self._answer_alike(view, batch) for batch in batches])

    def everything(self, view: EncodedTile) -> Detections:
        """Ask at points on a grid, and keep what the network is sure of, each object once.

        The filters are those of the library's mask generation, which are those of Kirillov et al. 2023, appendix B.
        """
        settings = self._settings
        points = torch.from_numpy(_grid(settings.points_per_side, view)).to(self._network.device)
        sure = [self._sure(view, batch) for batch in points.split(settings.points_per_batch)]
        masks = list(chain.from_iterable(item[0] for item in sure))
        scores, boxes = torch.cat([item[1] for item in sure]), torch.cat([item[2] for item in sure])
        post_process = self._viewer.processor.post_process_for_mask_generation
        found, best, *_ = post_process(masks, scores, boxes, settings.crops_nms_thresh)
        return detections((mask.numpy() for mask in found), best)

    def _answer_alike(self, view: EncodedTile, prompts: Sequence[Prompt]) -> Detections:
        """Ask for prompts of one form at once."""
        form = _form(prompts[0])
        logits, scores = self._ask(*self._arguments(view, prompts), several=form == AMBIGUOUS)
        rows, best = torch.arange(len(scores)), scores.argmax(1).cpu()
        masks = self._viewer.enlarge(logits[rows, best][:, None], view) > 0
        return detections(masks.cpu().numpy(), scores[rows, best], [prompt.id for prompt in prompts])

    def _sure(self, view: EncodedTile, points: torch.Tensor) -> tuple[list[Any], torch.Tensor, torch.Tensor]:
        """Masks (as runs), scores and boxes of what points (point, 2) of the network's square find for sure."""
        settings, (height, width) = self._settings, view.shape
        labels = torch.ones(1, len(points), 1, dtype=torch.int64, device=points.device)
        logits, scores = self._ask(view.memory, {"input_points": points[None, :, None], "input_labels": labels})
        least = settings.pred_iou_thresh or -torch.inf  # 0 keeps all, as in the library
        good = scores > least  # before masks are made larger, which takes most of the time
        masks = self._viewer.enlarge(logits[good][:, None], view).cpu()
        sure: tuple[list[Any], torch.Tensor, torch.Tensor] = self._viewer.processor.filter_masks(
            masks[:, None],
            scores[good][:, None],
            view.shape,
            [0, 0, width, height],
            pred_iou_thresh=settings.pred_iou_thresh,
            stability_score_thresh=settings.stability_score_thresh,
            stability_score_offset=settings.stability_score_offset,
        )
        return sure

    def _ask(
        self, memory: dict[str, Any], prompts: dict[str, torch.Tensor], *, several: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (prompt, answer, y, x) at the network's own size, and predicted IoUs (prompt, answer)."""
        found = self._network(**memory, **prompts, multimask_output=several)
        scores = found.iou_scores.flatten(0, 1).float()
        if scores.isnan().any():
            raise ModelError(
                "the network of SAM gave masks a score that is not a number; check its weights and scaling."
            )
        return found.pred_masks.flatten(0, 1).float(), scores

    def _arguments(
        self, view: EncodedTile, prompts: Sequence[Prompt]
    ) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """The library's arguments for prompts of one form.

        It takes many points and boxes of one image, but one mask of each: prompts with masks are as many images.
        """
        points, boxed, masked = _form(prompts[0])
        axis = 1 if masked else 0
        arrays: dict[str, Any] = {}
        if points:
            arrays["input_points"] = np.stack([prompt.points for prompt in prompts]) * view.scale - CENTRE
            arrays["input_labels"] = np.stack([prompt.positive for prompt in prompts]).astype(np.int64)
        if boxed:
            corners = np.array([prompt.box for prompt in prompts], np.float32)
            arrays["input_boxes"] = corners * np.tile(view.scale, 2) - CENTRE
        device = self._network.device
        asked = {name: torch.from_numpy(array).unsqueeze(axis).to(device) for name, array in arrays.items()}
        if not masked:
            return view.memory, asked
        masks = [self._viewer.shrink(prompt.mask, view) for prompt in prompts if prompt.mask is not None]
        return _repeat(view.memory, len(prompts)), asked | {"input_masks": torch.stack(masks).to(device)}


def detections(masks: Iterable[Mask], scores: torch.Tensor, prompts: Sequence[int] | None = None) -> Detections:
    """Make detections of the only class of masks of the tile and predicted IoUs, which may be a little above 1."""
    found = scores.float().clamp(0, 1).cpu().numpy()
    return Detections.of(masks, np.zeros(len(found), np.int64), found, prompts)


def join(parts: Sequence[Detections]) -> Detections:
    """Put detections of one tile one behind the other."""
    parts = [Detections.none(), *parts]
    return Detections(
        tuple(chain.from_iterable(part.windows for part in parts)),
        tuple(chain.from_iterable(part.masks for part in parts)),
        np.concatenate([part.classes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.prompts for part in parts]),
    )


def _form(prompt: Prompt) -> Form:
    return len(prompt.points), prompt.box is not None, prompt.mask is not None


def _boxed(prompt: Prompt) -> Prompt:
    """A prompt with a box where it has a mask only: networks learnt to improve masks beside other prompts."""
    if len(prompt.points) or prompt.box is not None:
        return prompt
    if prompt.mask is None or not prompt.mask.any():
        raise ModelError(f"prompt {prompt.id} marks nothing; give it a point, a box or a mask with pixels.")
    window = bounding_window(prompt.mask)
    box: Box = (window.x, window.y, window.right, window.bottom)
    return Prompt(prompt.id, box=box, mask=prompt.mask)


def _grid(side: int, view: EncodedTile) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Points (point, 2): x, y in the network's square, in the middles of ``side`` x ``side`` cells of what it sees.

    As the library has them: nothing is taken off for the centres of pixels.
    """
    y, x = (np.linspace(0.5 / side, 1 - 0.5 / side, side) * length for length in view.seen)
    return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2).astype(np.float32)


def _repeat(memory: dict[str, Any], count: int) -> dict[str, Any]:
    """What a network remembers of a tile, as of ``count`` equal tiles."""
    return {
        name: [item.expand(count, *item.shape[1:]) for item in part]
        if isinstance(part, list | tuple)
        else part.expand(count, *part.shape[1:])
        for name, part in memory.items()
    }
