"""Sequences to scores: item representations, evolution layers, losses, one short file a model."""
