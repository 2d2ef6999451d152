"""The items of a run, of an evaluation and of data, a row at a time."""
