"""Hyper-parameter sweeps: from a space of settings to the best of them, chosen on validation."""
