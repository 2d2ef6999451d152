"""Whether a directory's labels were calibrated, by what, and what the calibration was worth where it was tested."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cai.core.errors import UsageError
from cai.method.judge import CALIBRATED
from cai.method.label_calibration import JudgeCalibration, load_calibrations
from cai.report.document import Block, Cell, Paragraph, Table
from cai.report.how_well import not_measured
from cai.report.linking import Linker


def calibration_of_labels(
    link: Linker, identity: Mapping[str, str], settings: Mapping[str, Any], judge: str
) -> list[Block]:
    """Return what is known of the calibration that a run's or an evaluation's labels went through.

    Its numbers are those of the file that the settings name, as long as the file is the one that was used.
    """
    texts, used = link.texts, identity.get(CALIBRATED)
    if used is None:
        return not_measured(link, "well.not-calibrated", "cai judge bench DATA --judge MODEL --calibrate")
    path = Path(str(settings.get("judge_calibration", "")))
    try:
        found = load_calibrations(path)
    except UsageError:
        return [Paragraph(texts("well.calibration-gone", used=used), "warning")]
    known = [one for one in found.known if one.judges == tuple(judge.split(" and "))]
    if found.fingerprint != used or not known:
        return [Paragraph(texts("well.calibration-gone", used=used), "warning")]
    rows = [[Cell(name), link.recorded(told, path.name)] for name, told in told_of(link, known[0])]
    head = (texts("out.what"), texts("out.number"))
    return [Paragraph(texts("well.calibrated-note", used=used)), Table(texts("well.calibrated"), head, rows)]


def told_of(link: Linker, found: JudgeCalibration) -> Sequence[tuple[str, str]]:
    """Return a calibration's numbers, each under what it is."""
    texts = link.texts
    weights = ", ".join(f"{weight:.2f}" for weight in found.weights)
    alone = len(found.weights) == 1
    return (
        (texts("well.temperature"), f"{found.temperature:.2f}") if alone else (texts("well.weights"), weights),
        (texts("well.fitted"), f"{found.fitted:,}"),
        (texts("well.tested"), f"{found.tested:,}"),
        (texts("well.error-before-after"), f"{found.error_before:.3f} → {found.error_after:.3f}"),
        (texts("well.brier-before-after"), f"{found.brier_before:.3f} → {found.brier_after:.3f}"),
    )
