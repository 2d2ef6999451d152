"""Tenets: a constitution's principles sentence by sentence, and which of them a model keeps."""
