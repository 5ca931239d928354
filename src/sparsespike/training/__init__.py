"""Training: recipes, runs, checkpoints, evaluation."""
