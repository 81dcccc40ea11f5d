"""From words to prompts: models that say where in a tile is what words name, for networks that know no words.

Grounding DINO (Liu et al. 2023, arXiv:2303.05499) gives boxes. CLIPSeg (Lüddecke and Ecker 2022, arXiv:2112.10003)
gives a map of how likely each pixel is meant: each connected part of what is likely is a box and a mask. They see
natural colours and scale them by their own processors. It knows these two models, nothing of what is asked with what
they find.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import transformers
from scipy import ndimage
from torch.nn.functional import interpolate

from geoseg.errors import ModelError, WeightsError
from geoseg.models.detections import UNPROMPTED
from geoseg.models.prompts import Prompt
from geoseg.models.sam.opening import open_folder, open_words, read_configuration
from geoseg.models.sam.segmenting import Finder
from geoseg.models.sam.settings import SamSettings
from geoseg.models.spec import ModelSpec
from geoseg.models.weights import resolve_folder


class BoxFinder:
    """Grounding DINO: a box around each object that words name.

    Parameters
    ----------
    network, processor
        The library's.
    threshold : float or None
        How sure it must be; the library's 0.25 by default.
    """

    def __init__(self, network: Any, processor: Any, threshold: float | None) -> None:
        self._network, self._processor = network, processor
        self._threshold = 0.25 if threshold is None else threshold

    def __call__(self, colours: torch.Tensor, text: str) -> list[Prompt]:
        """Find boxes; see `geoseg.models.sam.segmenting.Finder`."""
        phrase = text.strip().lower().rstrip(".") + "."  # as it was trained
        asked = _encode(self._processor, colours, phrase)
        found = self._processor.post_process_grounded_object_detection(
            self._network(**asked),
            asked["input_ids"],
            threshold=self._threshold,
            text_threshold=self._threshold,
            target_sizes=[tuple(colours.shape[1:])],
        )[0]
        height, width = colours.shape[1:]
        boxes = found["boxes"].float().cpu().numpy().clip(0, [width, height, width, height])
        return [Prompt(UNPROMPTED, box=tuple(box)) for box in boxes.tolist() if box[0] < box[2] and box[1] < box[3]]


class MapFinder:
    """CLIPSeg: a box and a mask of each connected part of what words name.

    Parameters
    ----------
    network, processor
        The library's.
    threshold : float or None
        How likely its pixels must be; 0.5 by default.
    """

    def __init__(self, network: Any, processor: Any, threshold: float | None) -> None:
        self._network, self._processor = network, processor
        self._threshold = 0.5 if threshold is None else threshold

    def __call__(self, colours: torch.Tensor, text: str) -> list[Prompt]:
        """Find parts; see `geoseg.models.sam.segmenting.Finder`."""
        logits = self._network(**_encode(self._processor, colours, text)).logits.float()
        chances = logits.reshape(1, 1, *logits.shape[-2:]).sigmoid()
        chances = interpolate(chances, size=colours.shape[1:], mode="bilinear", align_corners=False)[0, 0]
        parts, _ = ndimage.label((chances > self._threshold).cpu().numpy())
        return [
            Prompt(
                UNPROMPTED,
                box=(float(cols.start), float(rows.start), float(cols.stop), float(rows.stop)),
                mask=parts == number,
            )
            for number, (rows, cols) in enumerate(ndimage.find_objects(parts), 1)
        ]


FINDERS: dict[str, Callable[..., Finder]] = {
    "GroundingDinoForObjectDetection": BoxFinder,
    "CLIPSegForImageSegmentation": MapFinder,
}
"""What understands words, by the library's name of the class."""


def open_finder(spec: ModelSpec, settings: SamSettings, device: torch.device) -> Finder:
    """Open the model that understands words.

    Raises
    ------
    ModelError
        The spec names none.
    WeightsError
        It is not there, damaged, or of another class.
    """
    if settings.text_model is None:
        raise ModelError(
            f"model '{spec.name}' understands no words; set its hyperparameter text_model to the folder or hub:NAME of "
            "a Grounding DINO or CLIPSeg model, or use a model of transformers.Sam3Model."
        )
    folder = resolve_folder(replace(spec, weights=settings.text_model, checksum=None))
    name = next(iter(read_configuration(folder).get("architectures") or ()), "")
    if name not in FINDERS:
        raise WeightsError(
            f"text_model '{settings.text_model}' of model '{spec.name}' holds a network of the class '{name}', which "
            f"does not turn words into places; give one of {', '.join(FINDERS)}."
        )
    network = open_folder(getattr(transformers, name), folder, device)
    return FINDERS[name](network, open_words(transformers.AutoProcessor, folder), settings.text_threshold)


def _encode(processor: Any, colours: torch.Tensor, text: str) -> Any:
    """What a network takes, of natural colours (3, y, x) and words."""
    encoded = processor(
        images=colours, text=text, return_tensors="pt", do_rescale=False, input_data_format="channels_first"
    )
    return encoded.to(colours.device)
