"""Neurons: what currents do to one unit; one file per kind, and the surrogate derivatives."""
