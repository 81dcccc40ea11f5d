"""What GDAL reports while it opens and reads a file without failing, and which of it means that the file is damaged.

GDAL decodes a damaged tile to garbage and ignores a damaged tag with no more than a warning. rasterio hands such
messages to Python's logging; here they are collected as they come, and end the read.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from rasterio.errors import RasterioIOError

from geoseg.raster.repeats import note_repeated

_CHANNELS = [logging.getLogger(f"rasterio.{name}") for name in ("_env", "_err")]
"""Where rasterio logs what GDAL reports outside of its own checks and within them."""

_log = logging.getLogger(__name__)

_TAGS = (
    "GeoPixelScale|GeoTiePoints|GeoTransformationMatrix|GeoKeyDirectory|GeoDoubleParams|GeoASCIIParams|"
    "GDALNoDataValue|GDALMetadata|PhotometricInterpretation|Predictor|Compression|SampleFormat|ExtraSamples|"
    "BitsPerSample|SamplesPerPixel|PlanarConfig|FillOrder|ColorMap|JPEGTables|(?:Tile|Strip)(?:Offsets|ByteCounts)"
)
"""Tags of a TIFF that decide where it lies or what its pixels are, as libtiff calls them."""

_DAMAGE = (
    rf'"(?:{_TAGS})"[^;]*; (?:tag ignored|value incorrectly truncated)|Null count for "(?:{_TAGS})"'
    r"|tags are not sorted in ascending order|tags apparently corrupt"
    r"|\bcorrupt|\bdamaged|premature end|extraneous bytes|Discarding \d+ bytes|\bCRC error|checksum"
    r"|Invalid SOS|Inconsistent progression"
    r"|segment too long|Failed to read directory"
    r"|HTTP response code on \S+: (?:0|5\d\d)$"  # a mask beside a file counts as missing when nothing answers
)
"""Warnings that mean damage, in capitals or not; compiled where GDAL has said something, as it takes a while."""

_HARMLESS = re.compile(r'"(?:GDALMetadata|GeoASCIIParams)" contains null byte|^PROJ: |HTTP error code')
"""Texts that end at their first null byte are whole; PROJ's and a server's errors concern no file."""

_REPEATED = re.compile(r"HTTP error code: \d+ - (\S+)\. Retrying again in")
"""What GDAL says when it asks a server again."""

_FAILURE = re.compile(r"GDAL signalled an error: err_no=\d+, msg=(['\"])(.*)\1$", re.DOTALL)
"""How rasterio logs an error after which GDAL went on."""

_WARNING = re.compile(r"CPLE_\w+(?: in |:)", re.DOTALL)


_ERROR = "error: "
"""How a message begins that GDAL calls an error, and none of the warnings."""


class DamageError(RasterioIOError):  # type: ignore[misc]  # rasterio has no types
    """GDAL read on, but what it reported means damage."""


class _Heard(threading.local):
    """The messages of a thread, of each block that listens, the innermost last."""

    def __init__(self) -> None:
        self.blocks: list[list[str]] = []


_heard = _Heard()
_everyone: list[list[str]] = []
"""The messages of all blocks that listen, in all threads."""


class _Collector(logging.Filter):
    """Take messages off a channel of rasterio; logs stay as they were."""

    def __init__(self, channel: logging.Logger) -> None:
        super().__init__()
        self._channel, self._level = channel, channel.level

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.INFO and (message := _message(record)):
            if repeated := _REPEATED.search(message):
                note_repeated(repeated[1])
            if _heard.blocks:
                _heard.blocks[-1].append(message)
            elif isinstance(threading.current_thread(), threading._DummyThread):  # one of GDAL's own
                for messages in _everyone:
                    messages.append(message)
        parent = self._channel.parent or self._channel
        return record.levelno >= (self._level or parent.getEffectiveLevel())


@cache
def _listen() -> None:
    """Have rasterio log errors after which GDAL went on: at INFO, below the level that is usual."""
    for channel in _CHANNELS:
        channel.addFilter(_Collector(channel))
        channel.setLevel(min(logging.INFO, channel.getEffectiveLevel()))


@contextmanager
def heeding() -> Iterator[list[str]]:
    """Collect what GDAL reports in this block, and end it with an error where that means damage.

    Yields
    ------
    list of str
        The messages, filled as they come; after the block those that are no damage.

    Raises
    ------
    DamageError
        With GDAL's words.
    """
    _listen()
    messages: list[str] = []
    _heard.blocks.append(messages)
    _everyone.append(messages)
    try:
        yield messages
    finally:
        _heard.blocks.pop()
        _everyone[:] = [other for other in _everyone if other is not messages]
    damage = next(filter(is_damage, messages), None)
    if damage is not None:
        raise DamageError(damage.removeprefix(_ERROR))
    if _heard.blocks:
        _heard.blocks[-1].extend(messages)
    else:
        for message in messages:
            _log.info("%s", message)


def is_damage(message: str) -> bool:
    """Say whether a message means damage: an error, or one of the warnings that cost pixels or place."""
    text = message.removeprefix(_ERROR)
    return not _HARMLESS.search(text) and (text != message or re.search(_DAMAGE, text, re.IGNORECASE) is not None)


def _message(record: logging.LogRecord) -> str:
    """GDAL's words on one line; empty for what is no message of GDAL."""
    text = record.getMessage()
    if error := _FAILURE.match(text):
        return _ERROR + " ".join(error[2].replace("\\n", " ").split())
    if warning := _WARNING.match(text):
        return " ".join(text[warning.end() :].split())
    return ""
