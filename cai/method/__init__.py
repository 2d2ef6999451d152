"""Constitutional AI as the papers have it: templates, critique and revision, the judge, and a whole row.

Knows no files but the templates', and no concurrency: one row is one coroutine.
"""
