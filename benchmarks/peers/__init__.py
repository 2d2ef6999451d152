"""The same four requests a row through other people's tools: `python -m benchmarks.peers` (see `__main__.py`)."""
