"""How public sets are scored, each by its authors' formula, over the answers that a model gave anyway.

`table.SCORINGS` has a descriptor a set: which questions the judge is asked about an answer, and what is measured of
what it says. Where a set is scored without a judge it is a maker of its own (`bbq`), or measures of the answers
themselves (`rubrics`, `axes`).
"""
