"""What people look at: progress lines and pictures."""

from __future__ import annotations
