"""Connections: how spikes become currents; one file per kind."""
