"""What counts of all that was said: of one annotator, item and kind the last line, and nothing that was taken back."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cai.annotation.records import Annotation
from cai.annotation.store import StoredAnnotations


@dataclass(frozen=True, slots=True)
class CountingAnnotations:
    """The annotations that count, by moment; `changed` were said anew later, `taken_back` have no successor."""

    counting: tuple[Annotation, ...]
    changed: int = 0
    taken_back: int = 0

    def by_item(self, kind: str) -> Mapping[str, list[Annotation]]:
        """Return what was said in a kind, by the key of the item."""
        found: defaultdict[str, list[Annotation]] = defaultdict(list)
        for annotation in self.counting:
            if annotation.kind == kind:
                found[annotation.item].append(annotation)
        return found

    def of(self, annotator: str) -> tuple[Annotation, ...]:
        """Return what one annotator said."""
        return tuple(annotation for annotation in self.counting if annotation.annotator == annotator)

    @property
    def annotators(self) -> tuple[str, ...]:
        """The names of who annotated something, sorted; users who gave feedback are none."""
        return tuple(sorted({one.annotator for one in self.counting if one.chosen_by != "feedback"}))


def what_counts(stored: StoredAnnotations | Iterable[Annotation]) -> CountingAnnotations:
    """Return what counts of lines in their order.

    An adjudication stands beside the adjudicator's own annotation of the item, and a comment beside other comments.
    """
    lines = stored.lines if isinstance(stored, StoredAnnotations) else tuple(stored)
    last: dict[tuple[str, ...], Annotation] = {}
    changed = taken_back = 0
    for line in lines:
        comment = (line.replaces or line.id) if line.kind == "comment" else ""
        name = (line.annotator, line.item, line.kind, str(line.settles), comment)
        before = last.pop(name, None)
        if line.answer is None:
            taken_back += before is not None
        else:
            changed += before is not None
            last[name] = line
    counting = sorted(last.values(), key=lambda line: line.when)
    return CountingAnnotations(tuple(counting), changed, taken_back)
