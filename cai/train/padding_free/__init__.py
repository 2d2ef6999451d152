"""Batches that are computed without padding: what goes through the layers is tokens, one sequence behind the other."""
