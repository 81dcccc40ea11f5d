"""What people write in ``mlm:architecture``, and the class of a library that it means.

It knows words; whether weights fit the class is found out when they are loaded, tensor by tensor.
"""

from __future__ import annotations

import re

LIBRARIES = {"segmentation_models_pytorch": "smp", "torchvision": "torchvision", "transformers": "transformers"}
"""Packages whose class paths stand in ``mlm:architecture``, and the families that they are here."""

WORDS = {
    "unet": "smp.Unet",
    "unet++": "smp.UnetPlusPlus",
    "unetplusplus": "smp.UnetPlusPlus",
    "manet": "smp.MAnet",
    "linknet": "smp.Linknet",
    "fpn": "smp.FPN",
    "pspnet": "smp.PSPNet",
    "pan": "smp.PAN",
    "deeplabv3": "smp.DeepLabV3",
    "deeplabv3+": "smp.DeepLabV3Plus",
    "deeplabv3plus": "smp.DeepLabV3Plus",
    "upernet": "smp.UPerNet",
    "segformer": "transformers.SegformerForSemanticSegmentation",
}
"""Names of architectures in lower case, without spaces and dashes; what follows one, such as an encoder, may be any."""

_SEPARATORS = re.compile(r"[\s_\-()/,]+")


def read_architecture(text: str) -> str:
    """Return ``family.Class`` for a library's class path or for a word of `WORDS`; any other name stays.

    ``"segmentation_models_pytorch.decoders.unet.model.Unet"``, ``"U-Net"`` and ``"unet_resnet34"`` are ``"smp.Unet"``.
    """
    library, dot, _ = text.partition(".")
    if dot and library in LIBRARIES:
        return f"{LIBRARIES[library]}.{text.rpartition('.')[2]}"
    parts = _SEPARATORS.split(text.strip().casefold())
    names = ("".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((WORDS[name] for name in names if name in WORDS), text)


def is_word(text: str) -> bool:
    """Say whether a text names an architecture and no library, whose class has to be guessed."""
    return "." not in text and read_architecture(text) != text
