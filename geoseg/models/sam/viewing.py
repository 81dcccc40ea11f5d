"""Tiles as a network of the SAM family sees them, and masks back as the tile has them.

SAM and SAM-HQ see a tile whose longer side has their size, and nothing beside it; SAM 2 and SAM 3 see it stretched to a
square. The library's image processors do both. It knows sizes and pixels, nothing of prompts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate, pad

from geoseg.models.detections import Mask

CONFIDENCE = 10.0
"""The logit of what is given as a mask, plus and minus: what SAM 2 makes of masks (Ravi et al. 2024)."""


@dataclass(frozen=True, eq=False)
class EncodedTile:
    """One tile and what a network remembers of it.

    Attributes
    ----------
    shape : (int, int)
        Of the tile: y, x, px.
    seen : (int, int)
        What the network sees of its square: y, x, px of the square.
    memory : dict
        Arguments that spare the network another look.
    """

    shape: tuple[int, int]
    seen: tuple[int, int]
    memory: dict[str, Any]

    @property
    def scale(self) -> NDArray[np.float32]:
        """Px of the square per px of the tile: x, y."""
        (height, width), (rows, cols) = self.shape, self.seen
        return np.array([cols / width, rows / height], np.float32)


class Viewer:
    """Looks at tiles with the library's own image processor.

    Parameters
    ----------
    network : Any
        A network of the library that has image embeddings.
    processor : callable
        Makes the image processor that belongs to it.
    """

    def __init__(self, network: Any, processor: Callable[..., Any]) -> None:
        prompts = network.config.prompt_encoder_config
        self.size: int = prompts.image_size
        self._network, self._low = network, 4 * (prompts.image_size // prompts.patch_size)
        self.processor = resizer(processor, self.size)

    def look(self, pixels: torch.Tensor) -> EncodedTile:
        """Take in a tile, scaled pixels, float32 (band, y, x)."""
        seen = self.processor(images=pixels, return_tensors="pt", input_data_format="channels_first")
        remembered = self._network.get_image_embeddings(seen["pixel_values"])
        names = ("image_embeddings", "intermediate_embeddings")  # the second ones are SAM-HQ's
        memory = dict(zip(names, remembered if isinstance(remembered, tuple) else (remembered,), strict=False))
        size = seen.get("reshaped_input_sizes", torch.tensor([[self.size, self.size]]))[0].tolist()
        return EncodedTile((pixels.shape[1], pixels.shape[2]), (size[0], size[1]), memory)

    def shrink(self, mask: Mask, view: EncodedTile) -> torch.Tensor:
        """Take a mask of the tile (y, x) to the logits that the network takes, float32 (1, y, x)."""
        rows, cols = (max(1, round(side * self._low / self.size)) for side in view.seen)
        share = interpolate(torch.from_numpy(mask).float()[None, None], size=(rows, cols), mode="area")[0]
        return pad((2 * share - 1) * CONFIDENCE, (0, self._low - cols, 0, self._low - rows), value=-CONFIDENCE)

    def enlarge(self, logits: torch.Tensor, view: EncodedTile) -> torch.Tensor:
        """Take the network's logits (n, 1, y, x) to the tile's pixels, float32 (n, y, x)."""
        size = {"original_sizes": [view.shape], "reshaped_input_sizes": [view.seen]}
        enlarged: torch.Tensor = self.processor.post_process_masks([logits], **size, binarize=False)[0][:, 0]
        return enlarged

    def natural(self, pixels: torch.Tensor) -> torch.Tensor:
        """Undo the library's normalisation: natural colours, 0 to 1, of scaled pixels (band, y, x)."""
        mean, deviation = (
            torch.tensor(values, device=pixels.device).reshape(-1, 1, 1)
            for values in (self.processor.image_mean, self.processor.image_std)
        )
        return (pixels * deviation + mean).clamp(0, 1)


def resizer(processor: Callable[..., Any], size: int) -> Any:
    """Make an image processor of the library that changes the size of tiles and leaves their values."""
    square = {"height": size, "width": size}
    longest = getattr(processor, "size", {}).get("longest_edge") is not None
    sizes = {"size": {"longest_edge": size}, "pad_size": square} if longest else {"size": square}
    return processor(**sizes, do_rescale=False, do_normalize=False)
