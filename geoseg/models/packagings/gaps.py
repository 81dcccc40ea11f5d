"""What a packaging does not tell and a person says: scaling, classes, bands and resolution of its written entry.

It reads what is written on the command line; which gaps there are is the packaging's matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from geoseg.errors import CatalogError
from geoseg.models.background import is_background_name
from geoseg.models.packagings.contents import BYTES, Classes, Contents, scaled
from geoseg.models.stac import Json

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue from 0 to 1, by which most published encoders were trained."""

WORDS: dict[str, Callable[[], list[Json]]] = {
    "none": list,
    "imagenet": lambda: scaled(1 / BYTES, MEAN, DEVIATION),
}
"""Scalings that have a name."""


@dataclass(frozen=True)
class Gaps:
    """What a person says of a model that its packaging does not; None leaves a gap.

    Attributes
    ----------
    scaling : str or None
        ``"none"``, ``"imagenet"``, a number by which pixels are divided, or ``"minimum,maximum"``.
    classes : sequence of str
        Names of the network's classes, in its order.
    bands : sequence of str
        Names of its bands, in its order.
    resolution : float or None
        Metres per pixel that it was trained for.
    """

    scaling: str | None = None
    classes: Sequence[str] = ()
    bands: Sequence[str] = ()
    resolution: float | None = None

    def fill(self, contents: Contents) -> Contents:
        """Return what a packaging tells with what is said besides.

        Raises
        ------
        CatalogError
            A value cannot be used, or does not fit the network.
        """
        if self.bands and len(self.bands) != contents.bands:
            raise CatalogError(f"bands has {len(self.bands)} names and the network {contents.bands}; name each once.")
        if self.resolution is not None and not 0 < self.resolution < math.inf:
            raise CatalogError(f"resolution is {self.resolution:g}; give metres per pixel, such as 10.")
        kept = {key: value for key, value in contents.properties.items() if not self.classes or key != "mlm:output"}
        said = [word for word, value in (("classes", self.classes), ("resolution", self.resolution)) if value]
        return replace(
            contents,
            scaling=contents.scaling if self.scaling is None else _scaling(self.scaling, contents.bands),
            classes=_classes(self.classes, contents) if self.classes else contents.classes,
            named_bands=self.bands or contents.named_bands,
            properties={**kept, **({} if self.resolution is None else {"gsd": self.resolution})},
            unsaid=[word for word in contents.unsaid if word not in said],
        )


def _scaling(text: str, bands: int) -> list[Json]:
    """Entries of ``value_scaling``."""
    if text == "imagenet" and bands != len(MEAN):
        raise CatalogError(
            f"scaling imagenet is for red, green and blue, and the network has {bands} bands; give a number or limits."
        )
    if text in WORDS:
        return WORDS[text]()
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and 0 < numbers[0] < math.inf:
        return [{"type": "scale", "value": numbers[0]}]
    if len(numbers) == 2 and -math.inf < numbers[0] < numbers[1] < math.inf:
        return [{"type": "min-max", "minimum": numbers[0], "maximum": numbers[1]}]
    raise CatalogError(
        f"scaling is '{text}'; give a number that divides pixels (255), minimum,maximum (0,3000), imagenet or none."
    )


def _classes(names: Sequence[str], contents: Contents) -> Classes:
    """Values and names: of a single score the class, or background and the class; else numbered as the packaging's."""
    fitting = (1, 2) if contents.scores == 1 else (len(contents.classes) if contents.scores < 0 else contents.scores,)
    if len(names) not in fitting or len(set(names)) != len(names):
        wanted = " or ".join(str(count) for count in fitting)
        raise CatalogError(f"classes has the names {', '.join(names)} and the network {wanted}; name each once.")
    if contents.scores == 1 and len(names) == 2:
        if not is_background_name(names[0]):
            raise CatalogError(
                f"classes has two names for one score and the first is '{names[0]}'; name it background, or give one."
            )
        return list(enumerate(names))
    first = contents.classes[0][0] if len(contents.classes) == len(names) else 1
    return list(enumerate(names, first))
