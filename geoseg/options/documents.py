"""Read YAML that a person has written: a mapping whose keys are words, each of them once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from geoseg.errors import WorkflowError

MOST_REPEATED = 100_000
"""Values that aliases (``*name``) of a file may add to those that are written out."""

_MERGE = "tag:yaml.org,2002:merge"


def read_document(path: Path, example: str) -> dict[str, Any]:
    """Read a file of YAML.

    Parameters
    ----------
    path : Path
        A file that exists.
    example : str
        A file or page that shows the form, for what is said when it cannot be used.

    Raises
    ------
    WorkflowError
        It is not YAML or not a mapping, a key stands twice or is not text, or its aliases repeat too much.
    """
    remedy = f"see {example} for the form"
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except _RepeatedKeyError as error:
        raise WorkflowError(f"{path} has {error}; keep one of them.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        line = f" at line {place.line + 1}" if place else ""
        raise WorkflowError(f"{path} is not YAML{line}; {remedy}.") from error
    except OSError as error:
        raise WorkflowError(f"{path} cannot be read ({error.strerror}); name a YAML file.") from error
    if not isinstance(content, dict):
        raise WorkflowError(f"{path} holds no keys; {remedy}.")
    _check_size(content, len(text) + MOST_REPEATED, path)
    for key in content:
        if not isinstance(key, str):
            raise WorkflowError(f"{path} has the key {key!r}, and keys are words; {remedy}.")
    return content


class _RepeatedKeyError(yaml.YAMLError):
    """A key stands twice in one mapping."""


class _Loader(yaml.SafeLoader):
    """PyYAML's refuses no key that stands twice, which YAML forbids (1.2.2, section 3.2.1.1), and takes the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping, in which only merge keys (``<<``) may be repeated."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                line, place = key.start_mark.line + 1, (key.tag, key.value)
                if place in lines:
                    raise _RepeatedKeyError(f"the key '{key.value}' at line {lines[place]} and at line {line}")
                lines[place] = line
        return node


def _check_size(content: Any, most: int, path: Path) -> None:
    """Refuse aliases of aliases, which a few lines make more of than a memory holds."""
    held, count = [content], 0
    while held:
        value, count = held.pop(), count + 1
        if count > most:
            raise WorkflowError(f"{path} holds more than {most} values by its aliases; write out what is meant.")
        if isinstance(value, dict | list):
            held += value.values() if isinstance(value, dict) else value
