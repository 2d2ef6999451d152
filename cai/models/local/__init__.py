"""Models of transformers in this process: continuous batching over one key-value cache."""
