"""Where a training run stands, on disk, so that the same command continues one that was interrupted.

It knows tensors and numbers by name, not what they mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from geoseg.errors import TrainingError
from geoseg.files import write_file
from geoseg.training.recipe import Recipe

NAME = "state.pt"

SPEECH = {"title", "description", "license", "provenance", "failures", "picture", "data", "output"}
WAYS = {"tensorboard", "loaders", "overwrite", "export", "workers", "scheduler"}
"""Keys of a recipe that do not decide weights: what it says, and how it works."""


@dataclass(frozen=True)
class Checkpoints:
    """The file that holds the state of a run.

    Attributes
    ----------
    path : Path
        It.
    digest : str
        Of the recipe: a run is continued only by the recipe that began it.
    content : str
        Of the images and labels, as `content_of` gives it: and only on those that it began with.
    """

    path: Path
    digest: str
    content: str = ""

    @classmethod
    def of(cls, folder: Path, recipe: Recipe) -> Checkpoints:
        """The checkpoints of a recipe in the folder of its entry."""
        kept = recipe.model_dump_json(exclude=SPEECH | WAYS)
        return cls(folder / NAME, sha256(kept.encode()).hexdigest())

    def check(self, file: str, digest: object, content: object) -> None:
        """Refuse a file of the run that another recipe, or other images or labels, have left.

        Raises
        ------
        TrainingError
            Says which.
        """
        other = "another recipe" if digest != self.digest else "other images or labels"
        if (digest, content) != (self.digest, self.content):
            raise TrainingError(
                f"{file} was left by a run of {other}; give --overwrite to start anew, or another --output."
            )

    def write(self, state: dict[str, Any]) -> None:
        """Write a state, and where the network's chance stands; until it is whole the one before stays.

        Raises
        ------
        OutputError
            The disk is full or refuses.
        """
        content = {**state, "chance": torch.get_rng_state(), "digest": self.digest, "content": self.content}

        def save(path: Path) -> None:
            with path.open("wb") as file:  # torch's own files hide what the disk says
                torch.save(content, file)

        write_file(self.path, save)

    def read(self) -> dict[str, Any] | None:
        """Read the state, and put chance back where it stood; None when there is none.

        Raises
        ------
        TrainingError
            The file is damaged, or of another recipe or other data.
        """
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            digest, content, chance = state.pop("digest"), state.pop("content", ""), state.pop("chance")
        except Exception as error:
            raise TrainingError(
                f"{self.path} cannot be read ({error}); give --overwrite to train from the start."
            ) from error
        self.check(str(self.path), digest, content)
        torch.set_rng_state(chance)
        return state

    def remove(self) -> None:
        """Forget the state: the run is done."""
        self.path.unlink(missing_ok=True)
