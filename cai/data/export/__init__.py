"""What trainers read, derived from a run's rows: SFT examples, preference pairs and their dataset card.

Everything here follows from the rows, the options and run.json's identity: exporting again gives the
same bytes.
"""

from cai.data.export.datasets import DatasetName, SplitName, dataset
from cai.data.export.run import export_run
from cai.data.export.summary import ExportOptions, ExportSummary, SplitCounts

__all__ = ["DatasetName", "ExportOptions", "ExportSummary", "SplitCounts", "SplitName", "dataset", "export_run"]
