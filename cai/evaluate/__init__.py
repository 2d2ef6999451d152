"""What a model's answers are worth under a constitution: answers, gates, comparisons, and measures with intervals.

`answering` and `comparing` ask models, `entries` keeps what they said, `measures` is the table of what is measured; the
rest computes and draws.
"""
