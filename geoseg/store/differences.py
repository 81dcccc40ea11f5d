"""What two fingerprints differ in, in words: why a folder holds another run."""

from __future__ import annotations

import json
from typing import Any

_NAMED = 20  # files that a sentence names

GRID = "shape", "transform", "mosaic", "exclude", "bits", "layers"
"""What a fingerprint says of a raster besides how each of its files is read."""


def without_imagery(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """A fingerprint without its inputs and its region, of which each block knows its part."""
    others = {key: value for key, value in fingerprint.items() if key not in ("inputs", "parts", "region")}
    return others | {"raster": {key: fingerprint["raster"].get(key) for key in GRID}}


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Say in words what two fingerprints differ in, one phrase a key, and a phrase for each file.

    Parameters
    ----------
    before, now : dict
        Nested dicts of JSON values; lists of dicts that have a ``name`` are files, whose names do not count.
    """
    changed: list[str] = []
    for key in sorted({*before, *now} - {"parts"}):  # inputs say it by name, unless they are the same
        old, new = before.get(key), now.get(key)
        if isinstance(old, list) and isinstance(new, list) and _are_files(old) and _are_files(new):
            changed += _file_differences(old, new)
        elif old == new:
            continue
        elif key == "region":
            changed.append("region is another one")
        elif isinstance(old, dict) and isinstance(new, dict):
            changed += [f"{key} {phrase}" for phrase in differences(old, new)]
        else:
            changed.append(f"{key} ({_short(old)} before, {_short(new)} now)")
    is_regrouped = not changed and {"parts"} <= before.keys() & now.keys() and before["parts"] != now["parts"]
    return ["inputs belong to other dates or bands"] if is_regrouped else changed


def _are_files(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(item, dict) and "name" in item for item in value)


def _file_differences(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[str]:
    """What became of files, each by its name; nothing when their content is the same in the same order."""
    old, new = ([json.dumps({**item, "name": None}, sort_keys=True) for item in items] for items in (before, now))
    if old == new:
        return []
    gone = [item["name"] for item, content in zip(before, old, strict=True) if content not in set(new)]
    come = [item["name"] for item, content in zip(now, new, strict=True) if content not in set(old)]
    changed = [name for name in gone if name in come]
    phrases = [f"input {name} has another content" for name in changed]
    phrases += [f"input {name} is gone" for name in gone if name not in changed]
    phrases += [f"input {name} is new" for name in come if name not in changed]
    more = len(phrases) - _NAMED
    return [*phrases[:_NAMED], *([f"{more:,} more inputs"] if more > 0 else [])] or ["inputs are in another order"]


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
