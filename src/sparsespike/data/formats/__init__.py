"""Readers of the file formats that recordings come in; each gives `Recordings`."""
