"""One training: preparation, start, rounds and their end, checkpoints."""

from __future__ import annotations
