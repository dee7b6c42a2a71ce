"""The one rule for when a mode counts as found, in every metric, chart and line of progress."""

from __future__ import annotations

MIN_COUNT = 2  # episodes
MIN_SHARE = 0.05  # of the successes; of a command's episodes where modes are commanded
