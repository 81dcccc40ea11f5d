"""The folder of a training run: how it is made, and weights in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import safetensors.torch
from torch import Tensor

from geoseg.errors import OutputError
from geoseg.files import write_file


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make a folder; folders that were made for it go again where training ends in an error and has left nothing."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror
        raise OutputError(f"output folder {folder} cannot be made ({reason}); name one that can be written") from error
    try:
        yield
    except BaseException:
        with suppress(OSError):  # not empty
            for path in new:
                path.rmdir()
        raise


def write_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Write weights as safetensors, float32."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    content = safetensors.torch.save(tensors, metadata={"format": "pt"})
    write_file(path, lambda unfinished: unfinished.write_bytes(content))
