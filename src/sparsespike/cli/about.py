"""What `sparsespike info` tells of this installation."""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib import metadata
from typing import Any

import numba
import numpy
import torch

from sparsespike import __version__
from sparsespike.backends import CHOICES, costs
from sparsespike.compiling.folder import place, user_cache
from sparsespike.data import listing


def about() -> dict[str, Any]:
    """Versions, threads, backends, what "auto" goes by, where kernels and data lie (None: nowhere)."""
    kernels = place().path
    return {
        "sparsespike": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numba": numba.__version__,
        "numpy": numpy.__version__,
        "triton": metadata.version("triton") if importlib.util.find_spec("triton") else None,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "backends": list(CHOICES),
        "costs": costs.in_force().source,
        "kernels": kernels and str(kernels),
        "downloads": str(user_cache()),
        "data": {row.name: row.folder and str(row.folder) for row in listing()},
    }
