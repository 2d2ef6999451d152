"""A loop as sections: its stages in order, what each run of it gave, and the evaluation of all its models."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai.core.errors import RunError
from cai.core.mark import kind_of
from cai.loop.stage_records import StageRecord, read_stages
from cai.report.document import Block, Cell, Commands, Heading, Paragraph, Section, Table
from cai.report.linking import Linker
from cai.rundir.documents import DocumentError, parse_document, read_bounded
from cai.train.folder import FORMAT as TRAINING_FORMAT
from cai.train.folder import MANIFEST as TRAINING


@dataclass(frozen=True, slots=True)
class LoopStage:
    """A stage: its name, its record, and what its directory is; `trained` is its train.json, None where it has none."""

    name: str
    record: StageRecord
    kind: str | None
    trained: Mapping[str, Any] | None


def read_loop(directory: Path) -> list[LoopStage]:
    """Return a loop's stages in the order in which they build on each other; raises RunError."""
    stages = read_stages(directory)
    if not stages:
        raise RunError(f"{directory} is a loop of which no stage has begun; the same `cai loop` begins.")
    return [LoopStage(name, record, kind_of(directory / name), _trained(directory / name)) for name, record in stages]


def _trained(stage: Path) -> Mapping[str, Any] | None:
    path = stage / TRAINING
    if not path.exists():
        return None
    try:
        return parse_document(read_bounded(path), TRAINING_FORMAT).values
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    except DocumentError as error:
        raise RunError(f"{path} {error}; restore it, or give the same `cai loop` again.") from error


def section_of_stages(link: Linker, stages: list[LoopStage]) -> Section:
    """Return the section that says what the loop did, stage by stage."""
    texts = link.texts
    rows = [
        [
            Cell(stage.name, None, "code"),
            Cell(texts(f"loop.kind.{stage.kind or 'none'}")),
            Cell(texts.term(stage.record.status)),
            Cell(_told(stage)),
            link.recorded(stage.record.fingerprint, f"stages/{stage.name}.json"),
        ]
        for stage in stages
    ]
    head = [texts(f"loop.head.{name}") for name in ("stage", "kind", "status", "what", "fingerprint")]
    blocks: list[Block] = [Paragraph(texts("loop.note")), Table(texts("loop.stages"), head, rows)]
    trained = [stage for stage in stages if stage.trained is not None]
    if trained:
        blocks += [Heading(texts("loop.trained")), _training_table(link, trained)]
    blocks += [Paragraph(texts("loop.look")), Commands([f"cai show {link.directory}"])]
    return Section(link.anchor("stages"), link.title("loop.title"), blocks)


def _told(stage: LoopStage) -> str:
    wanted = stage.record.identity
    names = [name for name in ("method", "model", "models", "judge", "constitution", "samples") if name in wanted]
    return "; ".join(f"{name}: {wanted[name]}" for name in names)


def _training_table(link: Linker, stages: list[LoopStage]) -> Table:
    texts = link.texts
    rows = []
    for stage in stages:
        found, place = stage.trained or {}, f"{stage.name}/{TRAINING}"
        loss, tokens = found.get("loss"), found.get("tokens")
        rows.append(
            [
                Cell(stage.name, None, "code"),
                Cell(f"{found.get('method', '')} ({found.get('base', '')})"),
                link.recorded(f"{found.get('steps', 0):,}", place),
                link.recorded("" if loss is None else f"{loss:.4f}", place),
                link.recorded(f"{tokens:,}" if tokens else "", place),
            ]
        )
    head = [texts(f"loop.head.{name}") for name in ("stage", "method", "steps", "loss", "tokens")]
    return Table(texts("loop.trained"), head, rows)
