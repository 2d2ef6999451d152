"""Measures of a whole dataset: what is missing, contradicts, repeats, leans to one side or is measured with."""
