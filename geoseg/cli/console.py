"""Where commands print: results to one stream, notes and errors to the other."""

from __future__ import annotations

from contextvars import ContextVar

from rich.console import Console

console = Console()
errors = Console(stderr=True)

command: ContextVar[str] = ContextVar("command", default="geoseg")
"""What was typed, for whoever has to type it again."""
