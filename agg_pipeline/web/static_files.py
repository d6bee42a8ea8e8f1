"""Where page, style and program of the browser lie."""

from __future__ import annotations

from pathlib import Path

STATIC = Path(__file__).parent / "static"
"""Folder of the files that are sent as they are."""
