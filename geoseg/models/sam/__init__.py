"""Adapter for the SAM family: objects of points, boxes, masks and words, or everything where nothing is asked.

It knows which of the library's classes there are and what an entry may say of them. `viewing` and `asking` turn prompts
into masks, `words` turns words into prompts, and `concepts` is SAM 3's own way with words.

An entry scales pixels as the library would: z-score with the mean and deviation of ImageNet (times 255, for pixels of
8 bits), for SAM 3 with 0.5 and 0.5. Whatever the sensor is, scaled pixels then stand for natural colours, those of the
library's statistics, which a model that understands words is shown.
"""

from __future__ import annotations

from functools import partial

import torch
import transformers

from geoseg.errors import ModelError
from geoseg.models import fitting
from geoseg.models.running import Network
from geoseg.models.sam.asking import Asker
from geoseg.models.sam.concepts import Concepts
from geoseg.models.sam.opening import open_weights, open_words
from geoseg.models.sam.segmenting import Segmenter
from geoseg.models.sam.settings import SamSettings
from geoseg.models.sam.viewing import Viewer, resizer
from geoseg.models.sam.words import open_finder
from geoseg.models.spec import ModelSpec
from geoseg.models.weights import resolve_folder

TASKS = ("instance-segmentation",)
"""What these networks can do."""

CONCEPTS = "transformers.Sam3Model"
"""The architecture that understands words by itself, and nothing else."""

ARCHITECTURES = {
    "SamModel": transformers.SamImageProcessor,
    "SamHQModel": transformers.SamImageProcessor,
    "Sam2Model": transformers.Sam2ImageProcessor,
    "Sam3TrackerModel": transformers.Sam3ImageProcessor,
    "Sam3Model": transformers.Sam3ImageProcessor,
}
"""The names of networks after ``transformers.``, and what takes tiles to their size."""

TYPES = {
    "SamModel": ("sam",),
    "SamHQModel": ("sam_hq",),
    "Sam2Model": ("sam2", "sam2_video"),
    "Sam3TrackerModel": ("sam3_tracker", "sam3_tracker_video", "sam3_video"),
    "Sam3Model": ("sam3", "sam3_video"),
}
"""Folders that each can open, by the type that they say: published ones hold networks for films, and these in them."""

PREFIXES = ("points_", "pred_iou", "stability_", "crops_", "text_model", "text_threshold")
"""How hyperparameters begin that can only be meant for `SamSettings`."""


def open_network(spec: ModelSpec, device: torch.device) -> Network:
    """Open the network of a spec: from scaled pixels and the prompts of each tile to the detections of each tile.

    Weights are a folder that the library saved, here or on the hub, or one file; then hyperparameters also are those
    of the library's configuration.

    Raises
    ------
    ModelError
        The architecture or a hyperparameter does not exist, or the spec has not three bands and one class.
    WeightsError
        The weights are missing, damaged, unsafe, or do not fit the network.
    """
    processor = fitting.find_architecture(spec, ARCHITECTURES)
    name = spec.architecture.partition(".")[2]
    settings = _settings(spec)
    if len(spec.bands) != 3 or len(spec.classes) != 1:
        raise ModelError(
            f"model '{spec.name}' has {len(spec.bands)} bands and {len(spec.classes)} classes, but {spec.architecture} "
            "sees red, green and blue and finds objects of one class; describe these in its entry."
        )
    network = open_weights(getattr(transformers, name), TYPES[name], spec, device)
    if spec.architecture == CONCEPTS:
        words = open_words(transformers.AutoTokenizer, resolve_folder(spec))
        return Concepts(spec, network, transformers.Sam3Processor(resizer(processor, network.config.image_size), words))
    viewer = Viewer(network, processor)
    return Segmenter(viewer, Asker(network, viewer, settings), partial(open_finder, spec, settings, device))


def _settings(spec: ModelSpec) -> SamSettings:
    """What the hyperparameters choose."""
    fitting.check_hyperparameters(spec, SamSettings, PREFIXES)
    chosen = {name: value for name, value in spec.hyperparameters if name in SamSettings.__dataclass_fields__}
    try:
        return SamSettings(**chosen)
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"model '{spec.name}' cannot be asked with {chosen}: {error}; correct mlm:hyperparameters in its entry."
        ) from error
