"""Rows in flight: how many at once, when to stop, and what a person may see meanwhile."""
