"""Classes of prediction and truth matched: by name where both have names, else by value.

It knows values and names, and turns values of pixels into indices that both sides share; indices are given out in the
order in which classes are first seen, so that the classes need not be known beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError, nearest
from geoseg.evaluation.classes import IGNORE

TRUTH, PREDICTION = 0, 1
"""Positions of the sides."""

OTHER = "other"
"""All classes that were not asked for."""

CAPACITY = IGNORE
"""Classes that there may be."""

_VALUES = 2**16  # values of classes are below
_UNSEEN = -1

Key = int | str
"""What a class is known by on both sides."""


class Naming:
    """Indices of classes.

    Parameters
    ----------
    truth, prediction : mapping of int to str
        Names of values, as each side has them; empty where it has none.
    classes : sequence of str or int, or mapping of int to str, optional
        The only classes that are evaluated, by value or name, or names for values of sides that have none; every other
        class becomes one, ``"other"``.
    ignore : sequence of str or int
        Truth that is no class, by value or name.

    Attributes
    ----------
    by_name : bool
        Whether classes are known by name; names that differ in nothing but capitals are one.
    notes : tuple of str
        What a person should know of it.

    Raises
    ------
    EvaluationError
        A name is not known.
    """

    def __init__(
        self,
        truth: Mapping[int, str],
        prediction: Mapping[int, str],
        classes: Sequence[str | int] | Mapping[int, str] | None = None,
        ignore: Sequence[str | int] = (),
    ) -> None:
        given = dict(classes) if isinstance(classes, Mapping) else {}
        names, spelled = _respelled(truth, prediction)
        self._names = tuple(dict(item) or given for item in (truth, names))
        self._spelled = spelled
        self.by_name = all(self._names)
        self._tables = tuple(np.full(_VALUES, _UNSEEN, np.int16) for _ in self._names)
        self._values: dict[Key, int] = {}
        self._keys: list[Key] = []
        self._wanted = None if classes is None else {self.key(entry) for entry in classes}
        self._ignored = {self.key(entry) for entry in ignore}
        self._beyond = [entry for entry in ignore if isinstance(entry, int) and not 0 <= entry < _VALUES]
        for number, names in enumerate(self._names):
            for value in sorted(names):
                self._values.setdefault(self._key(number, value), value)

    def indices(self, side: int, values: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
        """Class indices of values.

        Parameters
        ----------
        side : int
            `TRUTH` or `PREDICTION`.
        values : NDArray
            Integers, any shape.
        mask : NDArray, optional
            Bool, the same shape: True = the value counts.

        Returns
        -------
        NDArray
            uint8, the same shape, 255 = no class.

        Raises
        ------
        EvaluationError
            A value cannot be that of a class, or there are too many.
        """
        if self._beyond:
            known = ~np.isin(values, self._beyond)
            mask = known if mask is None else mask & known
        values = values if mask is None else np.where(mask, values, 0)
        lowest, highest = int(values.min(initial=0)), int(values.max(initial=0))
        if lowest < 0 or highest >= _VALUES:
            value = lowest if lowest < 0 else highest
            remedy = "give codes of classes smaller numbers"
            if lowest < 0:
                remedy = f"declare it as nodata (in geoseg evaluate, leave it out with --ignore {value})"
            raise EvaluationError(
                f"the value {value} is not a class (0 to 65,535); {remedy}, or evaluate object ids with --task instance"
            )
        table = self._tables[side]
        found = table[values]
        unseen = found == _UNSEEN
        if mask is not None:
            unseen &= mask
        if unseen.any():
            for value in np.unique(values[unseen]).tolist():
                table[value] = self._index(side, value)
            found = table[values]
        result: NDArray[np.uint8] = found.astype(np.uint8)
        if mask is not None:
            result[~mask] = IGNORE
        return result

    def in_order(self) -> list[int]:
        """Indices of the classes that were seen or asked for, by value; "other" is the last."""
        for key in sorted(self._wanted or (), key=str):
            self._place(key)
        return sorted(range(len(self._keys)), key=lambda index: (self.is_other(index), self._value(index)))

    def key(self, entry: str | int) -> Key:
        """The class that a person means by a value of the truth, or by a name."""
        if isinstance(entry, int):
            return self._key(TRUTH, entry)
        for names in self._names:
            for value, name in names.items():
                if name == entry:
                    return entry if self.by_name else value
        if isinstance(entry, str) and entry in self._spelled:
            return self.key(self._spelled[entry])
        known = sorted({name for names in self._names for name in names.values()})
        raise EvaluationError(f"no class is called '{entry}'; {nearest(entry, known)}, or give its value")

    def key_at(self, index: int) -> Key:
        """What a class is known by."""
        return self._keys[index]

    def name(self, index: int) -> str:
        """What a class is called: its name on either side, else its value."""
        return self._called(self._keys[index])

    def value(self, index: int) -> int | None:
        """The value of a class in the truth, or else in the prediction; None where several are one class."""
        return None if self.is_other(index) else self._value(index)

    def is_other(self, index: int) -> bool:
        """Whether an index stands for all classes that were not asked for."""
        return self._wanted is not None and self._keys[index] == OTHER and OTHER not in self._wanted

    def values(self, side: int) -> dict[int, int]:
        """The value of each class that a side has, by its index; of several values of a class the lowest."""
        seen = np.flatnonzero((self._tables[side] != _UNSEEN) & (self._tables[side] != IGNORE)).tolist()
        return {int(self._tables[side][value]): value for value in reversed(seen)}

    def unmatched(self, side: int) -> tuple[str, ...]:
        """Classes of a side that the other side, which names its own, does not have."""
        mine, others = ({self._key(number, value) for value in self._known(number)} for number in (side, 1 - side))
        return tuple(map(self._called, sorted(mine - others, key=str))) if self._names[1 - side] else ()

    def share(self, first: Iterable[int], second: Iterable[int]) -> bool:
        """Whether values of the truth and of the prediction have a class in common."""
        keys = [{self._key(side, value) for value in values} for side, values in enumerate((first, second))]
        return bool(keys[TRUTH] & keys[PREDICTION])

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know."""
        notes = [f"the class '{name}' of the prediction is the truth's '{own}'" for name, own in self._spelled.items()]
        if self.by_name and not set(self._names[TRUTH].values()) & set(self._names[PREDICTION].values()):
            one, other = (", ".join(sorted(set(names.values()))[:5]) for names in self._names)
            notes.append(f"no class name occurs in both inputs: the truth has {one}, the prediction {other}")
        return tuple(notes)

    def _called(self, key: Key) -> str:
        if isinstance(key, str):
            return key
        return next((names[key] for names in self._names if key in names), str(key))

    def _known(self, side: int) -> set[int]:
        """Values that have a name on a side, or were seen there."""
        return {*self._names[side], *np.flatnonzero(self._tables[side] != _UNSEEN).tolist()}

    def _value(self, index: int) -> int:
        key = self._keys[index]
        return key if isinstance(key, int) else self._values.get(key, _VALUES)

    def _index(self, side: int, value: int) -> int:
        """The index of a value that was not seen before."""
        key = self._key(side, value)
        self._values.setdefault(key, value)
        if side == TRUTH and key in self._ignored:
            return IGNORE
        return self._place(key if self._wanted is None or key in self._wanted else OTHER)

    def _place(self, key: Key) -> int:
        """The index of a class, a new one where it has none."""
        if key not in self._keys:
            if len(self._keys) == CAPACITY:
                raise EvaluationError(
                    f"there are more than {CAPACITY} classes; evaluate object ids with the task 'instance'"
                )
            self._keys.append(key)
        return self._keys.index(key)

    def _key(self, side: int, value: int) -> Key:
        return self._names[side].get(value, str(value)) if self.by_name else value


def _respelled(truth: Mapping[int, str], prediction: Mapping[int, str]) -> tuple[dict[int, str], dict[str, str]]:
    """Names of the prediction as the truth spells them, and those that it spells otherwise."""
    own = {name: name.strip().casefold() for name in {*truth.values()}}
    theirs = {name: name.strip().casefold() for name in {*prediction.values()}}
    spelled = {}
    for name, folded in theirs.items():
        alike = [other for other, key in own.items() if key == folded]
        if name not in own and len(alike) == 1 and list(theirs.values()).count(folded) == 1:
            spelled[name] = alike[0]
    return {value: spelled.get(name, name) for value, name in prediction.items()}, dict(sorted(spelled.items()))
