"""Quality filters: what is wrong with examples and pairs on their surface, what is done about it, and a ledger.

A filter is a descriptor in a table (`filters.py`). It never changes a text in silence: it leaves an item out, lists it,
or proposes a cleaned text beside the original. `QualityPass` applies filters as a `Quality` has them, in a stream.
"""

from cai.data.quality.descriptor import Action, QualityFilter
from cai.data.quality.filtering import QualityPass
from cai.data.quality.filters import FILTERS
from cai.data.quality.items import CHOSEN, COMPLETION, PROMPT, REJECTED, Item
from cai.data.quality.ledger import LedgerEntry, LedgerWriter, Record, count_left_out, read_ledger, whole
from cai.data.quality.settings import DEFAULT_QUALITY, Quality, load_quality
from cai.data.quality.shown import NOTHING_SHOWN, ShownTexts, shown_by, shown_in

__all__ = [
    "CHOSEN",
    "COMPLETION",
    "DEFAULT_QUALITY",
    "FILTERS",
    "NOTHING_SHOWN",
    "PROMPT",
    "REJECTED",
    "Action",
    "Item",
    "LedgerEntry",
    "LedgerWriter",
    "Quality",
    "QualityFilter",
    "QualityPass",
    "Record",
    "ShownTexts",
    "count_left_out",
    "load_quality",
    "read_ledger",
    "shown_by",
    "shown_in",
    "whole",
]
