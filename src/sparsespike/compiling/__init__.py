"""Numba's kernels: how they are compiled, where they are kept on disk, what people see meanwhile."""
