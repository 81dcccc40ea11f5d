"""What the adapters of transformers share: how the library is asked to load, and what it says of weights.

It knows classes of the library and paths; nothing of what networks predict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers

from geoseg.errors import WeightsError

logging: Any = transformers.utils.logging

LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""How the library is asked for anything: it neither fetches nor runs what it finds."""

LOADING: dict[str, Any] = {"dtype": torch.float32, "ignore_mismatched_sizes": True, "output_loading_info": True}
"""How it is asked for networks: whatever does not fit is reported, and refused here."""


def load_network(kind: Any, path: Path, name: str, *place: Any, refuse_unknown: bool = False, **options: Any) -> Any:
    """Let the library open a network, and refuse weights that do not fit; it would fill what is missing at random.

    Parameters
    ----------
    kind : type
        A class of the library.
    path : Path
        Where the weights are from.
    name : str
        What is opened, for errors.
    *place, **options
        Given to the class' ``from_pretrained``.
    refuse_unknown : bool
        Whether weights may hold no other tensors; folders of older versions do.

    Raises
    ------
    WeightsError
        The weights cannot be opened, or do not fit.
    """
    with opening(path, name):
        network, report = kind.from_pretrained(*place, **options, **LOADING)
    _check_report(report, path, name, refuse_unknown)
    return network


@contextmanager
def opening(path: Path, name: str) -> Iterator[None]:
    """Keep the library quiet, and turn whatever it raises about files into one sentence."""
    level, showing = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise WeightsError(
            f"weights '{path}' cannot be opened by transformers as {name} ({reason}); correct mlm:hyperparameters, or "
            "save them again with save_pretrained, and with them tokenizer and processor."
        ) from error
    finally:
        logging.set_verbosity(level)
        if showing:
            logging.enable_progress_bar()


def _check_report(report: Mapping[str, Any], path: Path, name: str, refuse_unknown: bool) -> None:
    missing, unknown = sorted(report["missing_keys"]), sorted(report["unexpected_keys"]) if refuse_unknown else []
    if missing or unknown:
        found = f"lack {missing[0]}" if missing else f"have {unknown[0]}"
        raise WeightsError(
            f"weights '{path}' do not fit {name} ({len(missing)} tensors missing, {len(unknown)} unknown; they "
            f"{found}); correct mlm:architecture and mlm:hyperparameters, or give others with --weights."
        )
    for tensor, saved, expected in sorted(report["mismatched_keys"]):
        raise WeightsError(
            f"weights '{path}' do not fit {name}: {tensor} has shape {tuple(saved)} where {tuple(expected)} is "
            "expected; correct its bands, classes or mlm:hyperparameters, or give others with --weights."
        )
