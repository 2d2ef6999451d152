"""Filters at work: items in, and out what is kept, cleaned where that was asked for; a ledger hears of the rest."""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

from cai.core.records import Message
from cai.core.words import Text
from cai.data.quality.closers import Closers
from cai.data.quality.descriptor import Action, QualityFilter, Spans
from cai.data.quality.filters import FILTERS
from cai.data.quality.items import CHOSEN, COMPLETION, PROMPT, REJECTED, Item, ReadItem, last_turn, turns_of
from cai.data.quality.ledger import LedgerEntry, Outcome, Record, excerpt
from cai.data.quality.personal import PERSONAL, Private, mask_text
from cai.data.quality.settings import Quality

_REMEMBERED = 64
"""Texts whose findings are kept at once."""


@dataclass(frozen=True, slots=True)
class _Finding:
    filter: QualityFilter
    action: Action
    field: str
    spans: Spans


_Found: TypeAlias = list[tuple[QualityFilter, Spans]]


class _Lookup:
    """Filters by name, and what they find in a text.

    That is remembered for a while: a prompt and its answers come again in each dataset of a run, and are read once.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        filters = [FILTERS[name] for name in names]
        self._found: dict[Hashable, _Found] = {}
        self._filters = filters
        self._always = frozenset(one.name for one in filters if not (one.words or one.marks or one.hint))
        self._by_hint: defaultdict[re.Pattern[str], list[str]] = defaultdict(list)
        self._by_word: defaultdict[str, list[str]] = defaultdict(list)
        for one in filters:
            for word in one.words:
                self._by_word[word].append(one.name)
            if one.hint is not None:
                self._by_hint[one.hint].append(one.name)
        self._words = frozenset(self._by_word)
        marks = [(mark, one.name) for one in filters for mark in one.marks]
        self._marks = _Marks((mark, one) for mark, one in marks if mark.isascii())
        self._other_marks = _Marks((mark, one) for mark, one in marks if not mark.isascii())

    def find(self, read: ReadItem, name: str, text: str, about: Hashable = None) -> _Found:
        """Return what is found in a field with this text; `about` is all else that this may depend on."""
        key = (text, about)
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
            looked = self._of(read.texts[name])
            found = self._found[key] = [(one, spans) for one in looked if (spans := one.find(read, name))]
        return found

    def _of(self, text: Text) -> list[QualityFilter]:
        """Return the filters that have to look, in their order."""
        names = set(self._always)
        for word in self._words & text.vocabulary:
            names.update(self._by_word[word])
        for hint, owners in self._by_hint.items():
            if hint.search(text.text):
                names.update(owners)
        self._marks.add_owners(text.text, names)
        if not text.text.isascii():
            self._other_marks.add_owners(text.text, names)
        return [one for one in self._filters if one.name in names]


class _Marks:
    """Marks and whose they are. One search for a sign that each of some has spares looking for every one of them."""

    def __init__(self, marks: Iterable[tuple[str, str]]) -> None:
        self._signed: defaultdict[str, list[str]] = defaultdict(list)
        self._unsigned: defaultdict[str, list[str]] = defaultdict(list)
        signs: set[str] = set()
        for mark, owner in marks:
            sign = next((letter for letter in mark if not (letter.isalpha() or letter in " -_")), None)
            (self._unsigned if sign is None else self._signed)[mark].append(owner)
            signs |= set() if sign is None else {sign}
        self._signs = re.compile(f"[{re.escape(''.join(sorted(signs)))}]" if signs else "(?!)")

    def add_owners(self, text: str, names: set[str]) -> None:
        """Add whose marks a text has."""
        for mark, owners in self._unsigned.items():
            if mark in text:
                names.update(owners)
        for mark, owners in self._signed.items() if self._signs.search(text) else ():
            if mark in text:
                names.update(owners)


_lookup = lru_cache(maxsize=16)(_Lookup)


class QualityPass:
    """Filters as settings have them, applied to the items of a dataset one after the other."""

    def __init__(self, quality: Quality, dataset: str, record: Record) -> None:
        active = [one for one in FILTERS.values() if quality.actions[one.name] != "off"]
        self._quality = quality
        self._dataset = dataset
        self._record = record
        self._answers = _lookup(tuple(one.name for one in active if one.scope in ("answer", "text")))
        self._turns = _lookup(tuple(one.name for one in active if one.scope == "text"))
        self._looks_at_turns = any(one.scope == "text" for one in active)
        self._pairs = [one for one in active if one.scope == "pair"]
        self._closers = Closers() if quality.actions["closers"] != "off" else None
        self._order = {one.name: number for number, one in enumerate(active)}
        self.is_off = not active

    def keep(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield what is kept of items, cleaned or not."""
        for item in items:
            if (kept := self.check(item)) is not None:
                yield kept

    def check(self, item: Item) -> Item | None:
        """Return the item, or what it is cleaned to, or None where it is left out."""
        if self.is_off:
            return item
        kept = self._checked(item)
        if kept is not None and self._closers is not None:
            for name in (COMPLETION, CHOSEN):
                if name in kept.answers:
                    self._closers.look(kept.answers[name])
        return kept

    def finish(self) -> None:
        """Report what only a whole set shows."""
        if self._closers is None:
            return
        one = FILTERS["closers"]
        for closer, count, of in self._closers.repeated():
            reason = f"{count:,} of {of:,} answers of the set end with this sentence"
            shown, _ = mask_text(closer)
            self._record(LedgerEntry(self._dataset, "", "set", one.name, "reported", reason, "", 0, len(closer), shown))

    def _checked(self, item: Item) -> Item | None:
        read = ReadItem(item)
        found = self._find(read)
        if not found:
            return item
        cleaned: list[LedgerEntry] = []
        if any(one.action == "clean" for one in found):
            item, cleaned, hopeless = self._clean(read, found)
            read = ReadItem(item)
            found = sorted(
                [*hopeless, *(one for one in self._find(read) if one.action != "clean")],
                key=lambda one: self._order[one.filter.name],
            )
        reason = next((one for one in found if one.action in ("drop", "clean")), None)
        if reason is not None:
            self._record(self._entry(read, reason, "left out", found))
            return None
        for entry in (*cleaned, *(self._entry(read, one, "reported", found) for one in found)):
            self._record(entry)
        return item

    def _find(self, read: ReadItem) -> list[_Finding]:
        item, found = read.item, list[_Finding]()
        around = last_turn(item), tuple(item.tags), item.shown
        for name, text in item.answers.items():
            for one, spans in self._answers.find(read, name, text, (item.critiques.get(name), around)):
                found.append(_Finding(one, self._action(one, name), name, spans))
        for name, text in turns_of(item) if self._looks_at_turns else ():
            for one, spans in self._turns.find(read, name, text):
                found.append(_Finding(one, self._action(one, name), name, spans))
        if REJECTED in item.answers:
            found += [
                _Finding(one, self._action(one, CHOSEN), CHOSEN, spans)
                for one in self._pairs
                if (spans := one.find(read, CHOSEN))
            ]
        return found

    def _action(self, one: QualityFilter, name: str) -> Action:
        action = self._quality.actions[one.name]
        return "report" if action == "drop" and name == REJECTED and not self._quality.rejected else action

    def _clean(self, read: ReadItem, found: list[_Finding]) -> tuple[Item, list[LedgerEntry], list[_Finding]]:
        """Return the item with all that can be cleaned, what was, and the findings that nothing can be made of."""
        texts: dict[str, str] = {}
        entries: list[LedgerEntry] = []
        hopeless: list[_Finding] = []
        private: set[str] = set()
        for one in found:
            if one.action != "clean":
                continue
            before = ReadItem(_with(read.item, texts, private)) if one.field in texts else read
            spans = one.filter.find(before, one.field)
            text = one.filter.cleaned(before.texts[one.field].text, spans) if spans else None
            if text is not None:
                texts[one.field] = text
                if one.filter.mask is not None:
                    private.add(one.field)
                entries.append(self._entry(before, replace(one, spans=spans), "cleaned", found))
            elif spans:
                listed = one.field == REJECTED and not self._quality.rejected
                hopeless.append(replace(one, action="report") if listed else one)
        return _with(read.item, texts, private), entries, hopeless

    def _entry(self, read: ReadItem, one: _Finding, outcome: Outcome, found: Iterable[_Finding]) -> LedgerEntry:
        """Return the entry of a finding; what is private of all that was `found` is behind masks in its excerpt."""
        start, end = one.spans[0]
        text = read.texts[one.field].text
        private = [span for other in found if other.field == one.field for span in _private(read, other)]
        return LedgerEntry(
            dataset=self._dataset,
            id=read.item.id,
            place=read.item.place,
            filter=one.filter.name,
            outcome=outcome,
            reason=one.filter.reason,
            field=one.field,
            start=start,
            end=end,
            excerpt=excerpt(text, start, end, private),
        )


def _private(read: ReadItem, one: _Finding) -> list[Private]:
    """Return what a finding says is private that an excerpt does not mask by itself.

    It is looked for in the text as it is now: cleaning may have moved it since it was found.
    """
    mask = one.filter.mask
    if mask is None or one.filter in PERSONAL:
        return []
    return [(start, end, mask) for start, end in one.filter.find(read, one.field)]


def _with(item: Item, texts: Mapping[str, str], private: Set[str]) -> Item:
    """Return an item with new texts in some fields, the old ones beside them where they are not private."""
    if not texts:
        return item
    answers = {name: texts.get(name, text) for name, text in item.answers.items()}
    messages: list[Message] = [
        {"role": turn["role"], "content": texts.get(f"{PROMPT}.{number}", turn["content"])}
        for number, turn in enumerate(item.messages)
    ]
    read = ReadItem(item)
    before = {name: None if name in private else read.texts[name].text for name in texts}
    return replace(item, answers=answers, messages=messages, cleaned_from={**before, **item.cleaned_from})
