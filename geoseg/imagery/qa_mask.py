"""Which pixels of a scene are not to be used, as a person writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geoseg.errors import WorkflowError

FORM = (
    "write `mask: {asset: scl, exclude: [3, 8, 9, 10]}`, or scl:3,8,9,10; in a run also a model, `mask: {model: "
    "cloud-mask}`"
)


@dataclass(frozen=True)
class QaMaskRule:
    """A classification or quality band, and what of it is not used.

    Attributes
    ----------
    asset : str
        Its name among the scene's assets, or its key in ``{band: file}``.
    exclude : tuple of int
        Values of pixels that are not used, such as clouds.
    bits : tuple of int
        Bits, counted from 0: pixels in whose value one of them is set are not used.
    """

    asset: str
    exclude: tuple[int, ...] = ()
    bits: tuple[int, ...] = ()

    @property
    def bit_mask(self) -> int:
        """The bits as one number."""
        return sum(1 << bit for bit in set(self.bits))


def read_qa_mask_rule(given: str | Mapping[str, Any]) -> QaMaskRule:
    """Read what a person wrote: the fields of `QaMaskRule`, or ``asset:value,value``.

    Raises
    ------
    WorkflowError
        It has another form.
    """
    if isinstance(given, str):
        asset, _, values = given.partition(":")
        given = {"asset": asset, "exclude": [word.strip() for word in values.split(",") if word.strip()]}
    unknown = sorted(set(given) - {"asset", "exclude", "bits"})
    if unknown:
        raise WorkflowError(f"mask has an unknown key '{unknown[0]}'; {FORM}.")
    try:
        rule = QaMaskRule(
            str(given["asset"]).strip(),
            tuple(int(value) for value in given.get("exclude") or ()),
            tuple(int(bit) for bit in given.get("bits") or ()),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WorkflowError(f"mask {given!r} cannot be used; {FORM}.") from error
    if not rule.asset or not (rule.exclude or rule.bits):
        raise WorkflowError(f"mask {given!r} names no asset or excludes no values; {FORM}.")
    if not all(0 <= bit < 63 for bit in rule.bits):
        raise WorkflowError(f"mask has the bits {list(rule.bits)}; count them from 0.")
    return rule
