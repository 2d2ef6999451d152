"""Constitutions: what they are (`model.py`), one file of them (`source.py`), and how files make one (`load.py`).

A `Constitution` is data. It knows nothing of templates, models or runs.
"""

from cai.constitution.load import (
    Remark,
    load_constitution,
    load_sources,
    origins,
    replacements,
    resolve,
    shipped_constitutions,
)
from cai.constitution.model import (
    Constitution,
    Exemplar,
    Principle,
    RevisionPlan,
    RubricCriterion,
    Severity,
    json_schema,
)
from cai.constitution.source import Source

__all__ = [
    "Constitution",
    "Exemplar",
    "Principle",
    "Remark",
    "RevisionPlan",
    "RubricCriterion",
    "Severity",
    "Source",
    "json_schema",
    "load_constitution",
    "load_sources",
    "origins",
    "replacements",
    "resolve",
    "shipped_constitutions",
]
