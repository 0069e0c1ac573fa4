"""The reference the package is judged against: plain loops in float64, and the golden cases as arrays."""

from __future__ import annotations
