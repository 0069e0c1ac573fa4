"""Cross-validation: folds of the rows of one table, a training on all but each of them, and what they say together."""

from __future__ import annotations
