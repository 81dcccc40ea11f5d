"""Where commands print: results to one stream, notes and errors to the other."""

from __future__ import annotations

from rich.console import Console

console = Console()
errors = Console(stderr=True)
