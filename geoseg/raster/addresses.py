"""Addresses without what opens them: signatures, tokens and passwords belong in no file and in no identity.

It knows text only, so it can be used on an address, on a sentence that holds one, and on a whole document.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

_QUERY = re.compile(r"""\?[^?\s"'<>\\]*""")
_LOGIN = re.compile(r"""\b(https?|ftps?)://[^/\s"'<>?]+@""", re.IGNORECASE)
_PASSWORD = re.compile(r"""(?<=://)([^/\s:@"'<>?]*):[^/\s"'<>?]*@""")
"""Names without a password stay where they are part of the place: of a container of Azure, or of a user over SSH."""

_SECRETS = frozenset(
    [
        "sig",
        "signature",
        "expires",
        "policy",
        "key-pair-id",
        "awsaccesskeyid",
        "googleaccessid",
        "token",
        "access_token",
        "sas",
        "apikey",
        "api_key",
        "api-key",
        "key",
        "subscription-key",
        "ocp-apim-subscription-key",
        "authorization",
    ]
)
_FAMILIES = "x-amz-", "x-goog-", "x-oss-", "x-cos-", "header."
_AZURE = frozenset(
    [
        "sv",
        "se",
        "sr",
        "sp",
        "st",
        "ss",
        "srt",
        "si",
        "sip",
        "spr",
        "skoid",
        "sktid",
        "skt",
        "ske",
        "sks",
        "skv",
        "saoid",
        "suoid",
        "scid",
    ]
)
"""Parameters of an Azure signature; words as short as these may mean something else where there is no ``sig``."""


_TILES = re.compile(r"\{(z|q|bbox-epsg-3857)\}")
_CAPABILITIES = re.compile(r"WMTS:|https?://.*(WMTSCapabilities\.xml|[?&]service=wmts\b)", re.IGNORECASE)


def is_tile_template(text: object) -> bool:
    """Say whether an input is the address of tiles, with variables for zoom and place."""
    return isinstance(text, str) and text.startswith(("http://", "https://")) and _TILES.search(text) is not None


def is_wmts(text: object) -> bool:
    """Say whether an input is a WMTS, by the address of its capabilities or as GDAL names one."""
    return isinstance(text, str) and _CAPABILITIES.match(text) is not None


def unsigned(text: str) -> str:
    """Remove signatures, tokens and passwords from every address in a text; what else a query says stays.

    Parameters
    ----------
    text : str
        An address, a sentence or a document.
    """
    plain = _QUERY.sub(lambda query: _without_secrets(query[0]), text)
    return _PASSWORD.sub(r"\1@", _LOGIN.sub(r"\1://", plain))


def real_address(path: str) -> str:
    """The unsigned address of a file that GDAL reads over HTTP, whatever prefix and options GDAL wants before it.

    Parameters
    ----------
    path : str
        Such as ``/vsicurl/https://host/a.tif``, or ``/vsicurl?pc_url_signing=yes&url=https://host/a.tif``.
    """
    encoded = re.match(r"/vsicurl\?(?:.*&)?url=(https?%3A[^&]+)", path, re.IGNORECASE)
    plain = re.match(r"/vsicurl\?(?:.*?&)?url=(https?:.+)", path)
    inner = unquote(encoded[1]) if encoded else plain[1] if plain else path.removeprefix("/vsicurl/")
    return unsigned(inner)


def _without_secrets(query: str) -> str:
    parts = query[1:].split("&")
    names = [part.partition("=")[0].removeprefix("amp;").lower() for part in parts]
    secrets = _SECRETS | _AZURE if "sig" in names else _SECRETS
    kept = [
        part
        for part, name in zip(parts, names, strict=True)
        if "=" not in part or not (name in secrets or name.startswith(_FAMILIES))
    ]
    return f"?{'&'.join(kept)}" if kept else ""
