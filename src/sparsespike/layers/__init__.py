"""Layers: a connection and the neurons it drives; one file per kind of connection."""
