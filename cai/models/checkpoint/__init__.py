"""Checkpoints on disk: looked at, loaded, merged and named."""
