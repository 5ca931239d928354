"""What `sparsespike info` tells of this installation."""

from __future__ import annotations

import os
import platform
from typing import Any

import numba
import numpy
import torch

from sparsespike import __version__
from sparsespike.backends import BACKENDS
from sparsespike.data import listing
from sparsespike.data.download import data_folder


def about() -> dict[str, Any]:
    """Versions, threads, backends, and where data lie (None: not there)."""
    return {
        "sparsespike": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numba": numba.__version__,
        "numpy": numpy.__version__,
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "backends": list(BACKENDS),
        "downloads": str(data_folder()),
        "data": {row.name: row.folder and str(row.folder) for row in listing()},
    }
