"""What is known after each epoch, written down while a run goes on: CSV always, TensorBoard when it is wanted.

It knows epochs and files.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from geoseg.errors import TrainingError
from geoseg.files import write_file
from geoseg.training.loop import Epoch

NAME = "log.csv"


class Log:
    """The log of a run; use it as a context.

    Parameters
    ----------
    folder : Path
        Receives ``log.csv``, and ``tensorboard/``.
    tensorboard : bool
        Whether TensorBoard is to read along.

    Raises
    ------
    TrainingError
        TensorBoard is wanted and not installed.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = False) -> None:
        self._path, self._epochs, self._board = folder / NAME, list[Epoch](), None
        if tensorboard:
            self._board = _open_board(folder / "tensorboard")

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._board is not None:
            self._board.close()

    def begin(self, epochs: Sequence[Epoch]) -> None:
        """Take over the epochs of an interrupted run."""
        self._epochs = list(epochs)

    def add(self, epoch: Epoch) -> None:
        """Write one more epoch; the file is written anew."""
        self._epochs.append(epoch)
        write_file(self._path, self._write)
        if self._board is not None:
            for name in ("loss", "score", "best"):
                self._board.add_scalar(name, getattr(epoch, name), epoch.step)
            self._board.flush()

    def _write(self, path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["step", "loss", "score", "best", "seconds"])
            for item in self._epochs:
                figures = (f"{item.loss:.4f}", f"{item.score:.4f}", f"{item.best:.4f}", f"{item.seconds:.0f}")
                writer.writerow([item.step, *figures])


def _open_board(folder: Path) -> Any:
    if find_spec("tensorboard") is None:
        raise TrainingError("tensorboard is not installed; `pip install tensorboard`, or set tensorboard: false")
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))
