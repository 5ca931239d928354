"""Events and what layers pass to each other: `Spikes`, how they are stored and how they are built."""
