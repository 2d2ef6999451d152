"""One reader of examples and pairs: what a run, a table, a saved or a hub dataset holds, in exactly TRL's columns.

`opening.open_examples` is the door for anything: it says which kind of examples the source gives, and iterating over
it gives each `Example` with its place, or a `BrokenRow` that says why a row gives none.
"""
