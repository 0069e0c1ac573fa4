"""How good the network is: metrics, the history of them, and when to look."""

from __future__ import annotations
