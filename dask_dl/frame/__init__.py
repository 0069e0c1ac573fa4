"""The way from the user's frame to encoded blocks, and lazily back: source, scan, encoder, blocks, order, prediction."""

from __future__ import annotations
