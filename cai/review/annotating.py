"""What people are asked and say: the items of each question, who has which before them, and every line that is kept.

Methods may be called from any thread and block: items are read in a thread of their own the first time that a question
is chosen, a line counts once it is on the disk. What other processes append to the same files is seen.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from threading import RLock, Thread
from time import monotonic
from typing import Any, get_args

from cai.annotation.agreement import Agreement, measure_agreement
from cai.annotation.assignment import Assigned, Assignment
from cai.annotation.index import ItemIndex, item_rows, open_items
from cai.annotation.items import ReviewItem
from cai.annotation.kinds import KINDS, ItemKind
from cai.annotation.reading import CountingAnnotations, what_counts
from cai.annotation.records import Annotation, parse_annotation
from cai.annotation.store import SALT, AnnotationStore, StoredAnnotations
from cai.annotation.votes import disagreements
from cai.core.errors import CaiError, UsageError
from cai.review.guidelines import Guidelines
from cai.review.plan import ReviewPlan
from cai.review.shown import HIDDEN, drawn_order, hidden_of, shown_item, to_item, to_shown
from cai.rundir.layout import annotation_files
from cai.rundir.lines import make_line


@dataclass(frozen=True, slots=True)
class Task:
    """A question: which kind of annotation it gives, and whether that settles what others disagree on."""

    kind: str
    title: str
    settles: bool = False


TASKS: Mapping[str, Task] = {
    "comparison": Task("comparison", "Which answer is better?"),
    "adherence": Task("adherence", "Does the answer keep a principle?"),
    "ranking": Task("ranking", "Rank several answers"),
    "rating": Task("rating", "How good is an answer, 1 to 5?"),
    "thumb": Task("thumb", "Is an answer good?"),
    "edit": Task("edit", "Write a better response"),
    "settle-comparison": Task("comparison", "Settle: which answer is better?", settles=True),
    "settle-adherence": Task("adherence", "Settle: is a principle kept?", settles=True),
}
"""The questions that the page can ask."""

HELD_SECONDS = 1800.0
"""How long an item that somebody opened is shown to nobody else."""

_SAID = ("id", "when", "annotator", "item", "reason", "confidence", "flags", "seconds", "chosen_by")
_SENT = "what the page sent"


@dataclass(frozen=True, slots=True)
class _Held:
    """An item that lies before somebody, in one of their tabs, since when."""

    task: str
    assigned: Assigned
    since: float


class Annotating:
    """The questions of one review."""

    def __init__(self, plan: ReviewPlan, guidelines: Guidelines) -> None:
        """Look at what was said before; raises InputError when it cannot be read."""
        self._place = plan.place
        self._settings = plan.settings
        self._annotators = plan.annotators
        self._groups = plan.groups
        self._guidelines = guidelines
        self._store = AnnotationStore(plan.place)
        self._lock = RLock()
        self._opening: dict[ItemKind, Thread] = {}
        self._items: dict[ItemKind, ItemIndex] = {}
        self._failed: dict[ItemKind, CaiError] = {}
        self._assignments: dict[str, Assignment] = {}
        self._held: dict[tuple[str, str], _Held] = {}
        self._stored = StoredAnnotations(())
        self._counting = CountingAnnotations(())
        self._seen: dict[Path, int] = {}
        self._said()

    def about(self) -> dict[str, Any]:
        """Return who may annotate, and what can be asked."""
        with self._lock:
            known = self._annotators or self._said().annotators
        tasks = [{"name": name, "title": task.title} for name, task in TASKS.items()]
        return {"annotators": list(known), "closed": bool(self._annotators), "tasks": tasks}

    def next(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the next item of an annotator in a tab: the one that lies there already, if it is not answered."""
        annotator, tab, task = self._who(body)
        with self._lock:
            assignment = self._assignment(task)
            if assignment is None:
                return {"reading": True}
            return self._next(annotator, tab, task, assignment)

    def annotate(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Keep what was said, durably, and return what was hidden of the item, and the next one."""
        annotator, tab, task = self._who(body)
        with self._lock:
            assignment = self._assignment(task)
            if assignment is None:
                raise UsageError("the items are still being read; send it again in a moment")
            item = self._item(task, body.get("item"))
            order = drawn_order(self._settings.seed, annotator, item)
            kind = TASKS[task].kind
            line = {name: body[name] for name in _SAID if body.get(name) is not None}
            line |= {
                "annotator": annotator,
                "kind": kind,
                "answer": to_item(body.get("answer"), kind, order),
                "shown": {"order": order, "hidden": HIDDEN},
                "settles": TASKS[task].settles,
            }
            self._keep(parse_annotation(line, _SENT), item)
            self._held.pop((annotator, tab), None)
            return {"hidden": hidden_of(item, order), "next": self._next(annotator, tab, task, assignment)}

    def undo(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Take the annotator's last answer to a question back, and return its item with what was said of it."""
        annotator, tab, task = self._who(body)
        with self._lock:
            assignment = self._assignment(task)
            taken = self._to_take_back(annotator, task, body.get("id"))
            if assignment is None or taken is None:
                return {"item": None}
            line = {
                "id": body.get("id"),
                "when": body.get("when"),
                "annotator": annotator,
                "item": taken.item,
                "kind": taken.kind,
                "answer": None,
                "chosen_by": taken.chosen_by,
                "replaces": taken.id,
                "settles": taken.settles,
            }
            self._keep(parse_annotation(line, _SENT), self._item(task, taken.item))
            self._held[annotator, tab] = _Held(task, Assigned(taken.item, taken.chosen_by), monotonic())
            return self._shown(annotator, task, assignment, self._held[annotator, tab].assigned, taken)

    def renew(self) -> None:
        """Take in the items of rows that the place has got since they were read; raises as reading it does."""
        for kind, index in list(self._items.items()):
            index.take(item_rows(self._place, [kind]))
        with self._lock:
            self._assignments.clear()

    def people(self) -> dict[str, Any]:
        """Return who said how much of what, and what is to be said of lines that do not count."""
        with self._lock:
            said = self._said()
            counts: defaultdict[tuple[str, str], list[Annotation]] = defaultdict(list)
            for annotation in said.counting:
                counts[annotation.annotator, annotation.kind].append(annotation)
            back = Counter((line.annotator, line.kind) for line in self._stored.lines if line.answer is None)
            remarks = list(self._stored.remarks)
        rows = []
        for name, kind in sorted({*counts, *back}):
            times = [one.seconds for one in counts[name, kind] if one.seconds is not None]
            row = {"name": name, "task": kind, "done": len(counts[name, kind]), "taken_back": back[name, kind]}
            rows.append({**row, "seconds": median(times) if times else None})
        return {"people": rows, "remarks": remarks}

    def agreement(self) -> Agreement:
        """Return how far people agree in what was said until now; reads the items that it is about first."""
        with self._lock:
            self._said()
            stored = self._stored
        for kind in {KINDS[line.kind].item for line in stored.lines}:
            with self._lock:
                opening = self._start_opening(kind)
            opening.join()
            if kind in self._failed:
                raise self._failed[kind]
        judge = "labels" if self._place.kind == "data" else "judge"
        return measure_agreement(stored, self._find, judge=judge, groups=self._groups)

    def _find(self, name: str) -> ReviewItem | None:
        kind = next((kind for kind in get_args(ItemKind) if name.startswith(f"{kind}:")), None)
        found = self._items[kind].find(name) if kind in self._items else None
        return found or next((item for item in self._stored.items if item.key == name), None)

    def close(self) -> None:
        """Let go of the items, and send what was said to the run's URL, if it has one; raises StoreError."""
        with self._lock:
            for index in self._items.values():
                index.close()
        if self._place.folder.is_dir():
            self._place.publish()

    def require_annotator(self, name: object) -> str:
        """Return the name of somebody who may annotate; raises UsageError."""
        if not isinstance(name, str) or not name.strip():
            raise UsageError("say who you are first")
        if self._annotators and name.strip() not in self._annotators:
            raise UsageError(f"{name!r} is not among the annotators: {', '.join(self._annotators)}")
        return name.strip()

    def _who(self, body: Mapping[str, Any]) -> tuple[str, str, str]:
        """Return annotator, tab and question of a request; raises UsageError."""
        tab, task = body.get("tab"), body.get("task")
        annotator = self.require_annotator(body.get("annotator"))
        if not isinstance(tab, str) or not isinstance(task, str) or task not in TASKS:
            raise UsageError(f"{_SENT} names no question; load the page again")
        return annotator, tab, task

    def _assignment(self, task: str) -> Assignment | None:
        """Return who is asked what in a question, None while its items are read; raises what reading them raised."""
        kind = KINDS[TASKS[task].kind].item
        if kind in self._failed:
            raise self._failed[kind]
        if kind not in self._items:
            self._start_opening(kind)
            return None
        name, chosen = TASKS[task].kind, self._settings
        if name not in self._assignments:
            self._assignments[name] = Assignment(
                self._items[kind].entries(kind), name, strategy=chosen.order, overlap=chosen.overlap, seed=chosen.seed
            )
        return self._assignments[name]

    def _start_opening(self, kind: ItemKind) -> Thread:
        if kind not in self._opening:
            self._opening[kind] = Thread(target=self._open, args=(kind,), name="cai items", daemon=True)
            self._opening[kind].start()
        return self._opening[kind]

    def _open(self, kind: ItemKind) -> None:
        try:
            index = open_items(self._place, [kind], shape=self._settings.shape, more=self._stored.items)
        except CaiError as error:
            with self._lock:
                self._failed[kind] = error
        else:
            with self._lock:
                self._items[kind] = index

    def _next(self, annotator: str, tab: str, task: str, assignment: Assignment) -> dict[str, Any]:
        answered = {one.item for one in self._own(annotator, task)}
        held = self._held.get((annotator, tab))
        if held is not None and held.task == task and held.assigned.key not in answered:
            return self._shown(annotator, task, assignment, held.assigned)
        self._held.pop((annotator, tab), None)
        since = monotonic() - HELD_SECONDS
        others = {who: one.assigned.key for who, one in self._held.items() if one.task == task and one.since > since}
        assigned = self._choose(annotator, task, assignment, set(others.values()))
        if assigned is None:  # rather one that somebody else looks at than nothing, but not in two tabs of one person
            own = {key for (name, _), key in others.items() if name == annotator}
            assigned = self._choose(annotator, task, assignment, own)
        if assigned is None:
            return {"item": None, "progress": self._progress(annotator, assignment)}
        self._held[annotator, tab] = _Held(task, assigned, monotonic())
        return self._shown(annotator, task, assignment, assigned)

    def _choose(self, annotator: str, task: str, assignment: Assignment, taken: set[str]) -> Assigned | None:
        said = self._said()
        if not TASKS[task].settles:
            return assignment.next(annotator, said, taken)
        split = disagreements(said, assignment.kind, assignment.principle_of)
        worst_first = sorted(split, key=lambda key: -split[key])
        here = self._items[KINDS[assignment.kind].item]
        open_ones = (key for key in worst_first if key in here and key not in taken)
        return next((Assigned(key, "adjudication") for key in open_ones), None)

    def _own(self, annotator: str, task: str) -> list[Annotation]:
        """Return what counts of what a person said to a question, by moment."""
        asked = TASKS[task]
        said = self._said().of(annotator)
        return [one for one in said if one.kind == asked.kind and one.settles is asked.settles]

    def _shown(
        self,
        annotator: str,
        task: str,
        assignment: Assignment,
        assigned: Assigned,
        previous: Annotation | None = None,
    ) -> dict[str, Any]:
        item, kind = self._item(task, assigned.key), TASKS[task].kind
        order = drawn_order(self._settings.seed, annotator, item)
        told = shown_item(item, order, kind, self._guidelines)
        told |= {"kind": kind, "chosen_by": assigned.chosen_by, "others": []}
        told["previous"] = None if previous is None else to_shown(previous, order)
        if TASKS[task].settles:
            said = self._said().by_item(kind).get(item.key, [])
            told["others"] = [to_shown(one, order) for one in said if not one.settles]
        return {"item": told, "progress": self._progress(annotator, assignment)}

    def _progress(self, annotator: str, assignment: Assignment) -> dict[str, Any]:
        for one in assignment.progress(self._said()):
            if one.annotator == annotator:
                return {"done": one.done, "of": one.owed, "seconds": one.seconds}
        return {"done": 0, "of": None, "seconds": None}

    def _item(self, task: str, name: object) -> ReviewItem:
        item = self._items[KINDS[TASKS[task].kind].item].find(name) if isinstance(name, str) else None
        if item is None:
            raise UsageError("there is no such item here; load the page again")
        return item

    def _to_take_back(self, annotator: str, task: str, name: object) -> Annotation | None:
        """Return the last that counts, or what a line of this name took back already."""
        lines = {line.id: line for line in self._stored.lines}
        if isinstance(name, str) and name in lines:
            return lines.get(lines[name].replaces or "")
        own = self._own(annotator, task)
        return own[-1] if own else None

    def _keep(self, annotation: Annotation, item: ReviewItem) -> None:
        """Append a line; where nothing else was appended meanwhile, files need not be read again for it."""
        path = self._place.file_of(annotation.annotator)
        expected = {**self._files(), path: self._files().get(path, 0) + len(make_line(annotation.as_json(), SALT))}
        known = self._files() == self._seen
        if self._store.append(annotation, item) and known and self._files() == expected:
            self._seen = expected
            self._stored = replace(self._stored, lines=(*self._stored.lines, annotation))
            self._counting = what_counts(self._stored)

    def _said(self) -> CountingAnnotations:
        """Return what counts now; files are read again when one of them is of another size."""
        files = self._files()
        if files != self._seen:
            self._stored, self._seen = self._store.read(), files
            self._counting = what_counts(self._stored)
        return self._counting

    def _files(self) -> dict[Path, int]:
        return {path: path.stat().st_size for path in annotation_files(self._place.folder)}
