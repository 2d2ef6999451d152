"""The judge put to a test before it labels: pairs whose better answer is known, asked in a bounded time.

Every verb that judges calls `check_first`; `cai models check --judge` calls `check_alone`.
"""

from cai.checking.alone import check_alone
from cai.checking.asking import Subject, check_judge
from cai.checking.first import Checked, check_first
from cai.checking.pairs import find_pairs

__all__ = ["Checked", "Subject", "check_alone", "check_first", "check_judge", "find_pairs"]
