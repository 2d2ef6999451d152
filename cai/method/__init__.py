"""Constitutional AI as the papers have it: templates, the gate, critique and revision, the judge, its verdicts, a row.

One row is one coroutine; how many of them run at once is the pipeline's business. No files but the templates' are read.
"""
