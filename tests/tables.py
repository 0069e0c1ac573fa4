"""Settings that tests of every package share."""

from __future__ import annotations

#: Of trainings whose history nobody reads: scored at their end. Forty scorings take ten times as long as a tiny training.
UNSCORED = {"score_duty_cycle": 0.0}
