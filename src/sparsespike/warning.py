"""Categories of warnings, so that one can be silenced, or made an error, by name."""

from __future__ import annotations


class SilenceWarning(UserWarning):
    """Nothing arrives in a layer, or nothing in it can learn."""
