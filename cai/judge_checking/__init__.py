"""The judge put to a test before it labels: pairs whose better answer is known, asked in a bounded time.

Every verb that judges calls `check_first`; `cai models check --judge` calls `check_alone`.
"""

from cai.judge_checking.alone import check_alone
from cai.judge_checking.asking import Subject, check_judge
from cai.judge_checking.first import Checked, check_first
from cai.judge_checking.pairs import find_pairs

__all__ = ["Checked", "Subject", "check_alone", "check_first", "check_judge", "find_pairs"]
