"""Training inside RecBole's trainer: safe checkpoints, guards, run directories."""
