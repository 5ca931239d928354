"""What torchrun tells the processes that it starts; imports nothing heavy, as it is to look around early."""

from __future__ import annotations

import os

PARENT = os.getppid()


def orphaned() -> bool:
    """Whether the torchrun that started this process is gone, and with it who would end it."""
    return "TORCHELASTIC_RUN_ID" in os.environ and os.getppid() != PARENT


def keeps_store() -> bool:
    """Whether torchrun keeps the ranks' store, which then outlives them; else rank 0 does."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def world_size() -> int:
    """How many processes were started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def may_restart() -> bool:
    """Whether processes that end by an error are started again."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0
