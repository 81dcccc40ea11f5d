"""How fast a run goes, and how long it will take."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

LOOK_BACK = 20.0
"""Seconds that count as now."""

LEAST = 8
"""Blocks that count as now, however long they took."""


class Pace:
    """Pixels over time.

    Parameters
    ----------
    start : float
        When the work began, s.
    """

    def __init__(self, start: float) -> None:
        self.start, self.last, self.pixels = start, start, 0
        self._recent: deque[tuple[float, int]] = deque()
        self._since = start

    def add(self, time: float, pixels: int) -> None:
        """So many pixels are done."""
        self.pixels += pixels
        self.last = time
        self._recent.append((time, pixels))
        while len(self._recent) > LEAST and self._recent[0][0] < time - LOOK_BACK:
            self._since = self._recent.popleft()[0]

    def now(self, time: float) -> float:
        """Pixels a second of late; it falls while nothing comes."""
        elapsed = time - self._since
        return sum(pixels for _, pixels in self._recent) / elapsed if elapsed > 0 else 0.0

    def mean(self, time: float) -> float:
        """Pixels a second since the work began."""
        elapsed = time - self.start
        return self.pixels / elapsed if elapsed > 0 else 0.0


@dataclass
class StageProgress:
    """What there is to do in one stage.

    Attributes
    ----------
    total : int
        Tasks.
    done, kept, failed : int
        Tasks that ran now, whose results were there already, and that have failed.
    seconds : float
        What those that are done took on workers.
    """

    total: int
    done: int = 0
    kept: int = 0
    failed: int = 0
    seconds: float = 0.0

    @property
    def left(self) -> int:
        """Tasks that nothing has become of yet."""
        return max(0, self.total - self.done - self.kept - self.failed)

    @property
    def mean(self) -> float | None:
        """Seconds of a task; None before the first."""
        return self.seconds / self.done if self.done else None


def seconds_left(stages: Mapping[str, StageProgress], elapsed: float, estimate: float | None) -> float | None:
    """How long the rest takes, if it goes on as it went.

    What is left of each stage costs what its tasks have cost so far, divided by the workers that were busy on average.
    A stage that has not begun costs nothing yet: in a run the passes of the network outweigh all others.

    Parameters
    ----------
    stages : mapping of str to Work
        In order.
    elapsed : float
        Since the blocks began, s.
    estimate : float, optional
        What the plan says of the whole, s; it counts until the first task is done or the time is over.

    Returns
    -------
    float or None
        Seconds; None when nothing is known.
    """
    spent = sum(work.seconds for work in stages.values())
    if spent == 0 or elapsed <= 0:
        first = next(iter(stages.values()), None)
        if estimate is None or first is None or first.total == 0:
            return None
        rest = estimate * first.left / first.total - elapsed
        return rest if rest > 0 else None
    return sum((work.mean or 0.0) * work.left for work in stages.values()) * elapsed / spent


def share_done(stages: Mapping[str, StageProgress]) -> float:
    """What part of the work is done, 0 to 1, each task weighed by what it costs; a failed one counts as done."""
    weights = {stage: work.mean for stage, work in stages.items()}
    if not any(weights.values()):
        weights = dict.fromkeys(list(stages)[:1], 1.0) if any(work.left for work in stages.values()) else {}
        if not weights:
            return 1.0
    total = sum((weights.get(stage) or 0.0) * work.total for stage, work in stages.items())
    left = sum((weights.get(stage) or 0.0) * work.left for stage, work in stages.items())
    return 1.0 - left / total if total else 0.0
