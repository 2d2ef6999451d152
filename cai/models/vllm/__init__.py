"""Models in vLLM's own engine, in this process."""
