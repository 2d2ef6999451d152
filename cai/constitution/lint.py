"""A linter for constitutions that are valid: what is certainly not what their author meant.

It looks at the last of the files that make a constitution, and at what that extends only where the two meet. It says
nothing about style, and changes nothing.
"""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from cai.constitution import Constitution, Principle, Remark, Source, origins, replacements, resolve
from cai.core.resources import shipped
from cai.core.yamlfile import Location

_SIMILAR = 0.75
"""Share of words in common from which two principles say the same; different shipped ones stay below 0.4."""

_LONG = 60
"""Words beyond which a principle is several."""

_LETTERS = {"en": "latin", "ko": "hangul"}
"""The letters of the languages that templates ship for."""

_ENDS = (".", "!", "?", "。", "！", "？", '."', ".'", ".)")  # noqa: RUF001 - full-width marks end sentences

_SENTENCE_END = re.compile(r"[.!?][\"')]*\s+(?=[A-Z가-힣])|[。！？]")  # noqa: RUF001 - full-width marks end sentences


def lint(sources: Sequence[Source]) -> list[Remark]:
    """Return what is doubtful in the last of `sources` (as `load_sources` gives them), in the order of its lines."""
    source, constitution = sources[-1], resolve(sources)
    found = [
        *_languages(sources, constitution),
        *_script(source, constitution.language),
        *_prompt_set(source),
        *_near_duplicates(sources, constitution),
        *_untriggerable(source, constitution),
        *_several_in_one(source),
        *_rubric(source, constitution),
        *_cut_texts(source),
    ]
    remarks = [Remark(source.path, source.file.line(location), message) for location, message in found]
    remarks += replacements(sources)
    return sorted(remarks, key=lambda remark: remark.line)


_Found = Iterator[tuple[Location, str]]


def _languages(sources: Sequence[Source], constitution: Constitution) -> _Found:
    if not shipped("prompts", "templates", constitution.language).is_dir():
        yield (
            ("language",),
            f"cai has no templates in {constitution.language!r}; runs need --prompts-dir with a folder of that name",
        )
    for parent in sources[:-1]:
        written = parent.constitution
        if written and written.principles and written.language != constitution.language:
            message = f"{written.name!r} is written in {written.language!r}, this constitution is asked in"
            yield ("extends",), f"{message} {constitution.language!r}"


def _script(source: Source, language: str) -> _Found:
    """Find principles that are not written in the letters of the language that models are asked in."""
    texts = (principle.text for principle, _ in _own_principles(source))
    letters = Counter(_letters(character) for text in texts for character in text if character.isalpha())
    wanted = _LETTERS.get(language)
    for written, count in letters.most_common(1):
        if wanted is not None and written != wanted and count > letters.total() / 2:
            fitting = next((name for name, script in _LETTERS.items() if script == written), None)
            advice = f"say `language: {fitting}`" if fitting else "name their language, and give runs its --prompts-dir"
            yield (
                ("language",),
                f"the principles are written in {written.capitalize()} letters, and models would be asked in "
                f"{language!r}; {advice}",
            )


def _letters(character: str) -> str:
    """Return the script of a letter, as Unicode's names begin with it."""
    return unicodedata.name(character, "unknown").partition(" ")[0].lower()


def _prompt_set(source: Source) -> _Found:
    name = source.constitution.prompts if source.constitution else None
    if name is not None and not _set_path(name).is_file():
        known = ", ".join(sorted(path.stem for path in shipped("prompts", "sets").glob("*.jsonl")))
        yield ("prompts",), f"there is no prompt set {name!r} (there are: {known}); runs need --prompts"


def _near_duplicates(sources: Sequence[Source], constitution: Constitution) -> _Found:
    places, own = origins(sources), _own(sources[-1])
    reported: set[str] = set()
    for first, second in _similar_pairs([principle.text for principle in constitution.principles]):
        pair = constitution.principles[first], constitution.principles[second]
        early, late = pair if pair[1].id in own else pair[::-1]
        if late.id not in own or late.id in reported:
            continue
        reported.add(late.id)
        source, line = places[early.id]
        where = f"line {line}" if early.id in own else f"{source.path}:{line}"
        yield own[late.id], f"the principle {late.id!r} says nearly the same as {early.id!r} ({where}); keep one"


def _similar_pairs(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield, for each text that is similar to earlier ones, the first of those found and itself, as indices.

    Two sets of which a share t is common have one of their rarest pieces in common, the (1 - t) of each and one more
    (prefix filtering, Chaudhuri et al. 2006), so only texts that meet there are compared: not each with each.
    """
    pieces = [_pieces(text) for text in texts]
    frequency = Counter(piece for found in pieces for piece in found)
    meeting: defaultdict[str, list[int]] = defaultdict(list)
    for index, found in enumerate(pieces):
        rarest = sorted(found, key=lambda piece: (frequency[piece], piece))
        rarest = rarest[: len(found) - math.ceil(_SIMILAR * len(found)) + 1]
        earlier = (other for piece in rarest for other in meeting[piece])
        similar = next((other for other in earlier if _similarity(pieces[other], found) >= _SIMILAR), None)
        if similar is not None:
            yield similar, index
        for piece in rarest:
            meeting[piece].append(index)


def _untriggerable(source: Source, constitution: Constitution) -> _Found:
    tags = _set_tags(constitution.prompts)
    for principle, location in _own_principles(source):
        if principle.applies_to is None:
            continue
        place = (*location, "applies_to")
        if not principle.applies_to:
            yield place, f"nothing can trigger {principle.id!r}: `applies_to` is empty; name tags, or leave it out"
        elif tags is not None and tags.isdisjoint(principle.applies_to):
            wanted, known = ", ".join(principle.applies_to), ", ".join(sorted(tags)) or "none"
            yield (
                place,
                f"no prompt of the set {constitution.prompts!r} triggers {principle.id!r}: "
                f"it applies to {wanted}; the set's tags are: {known}",
            )


def _several_in_one(source: Source) -> _Found:
    for principle, location in _own_principles(source):
        words, sentences = len(principle.text.split()), len(_SENTENCE_END.findall(principle.text)) + 1
        if words > _LONG or sentences > 2:
            yield (
                (*location, "text"),
                f"the principle {principle.id!r} asks for several things (words: {words}, sentences: {sentences}); "
                "models keep, and judges decide, one thing at a time: make it several principles",
            )


def _rubric(source: Source, constitution: Constitution) -> _Found:
    """Find rubrics that give no score, and criteria that are several or say the same as another."""
    own = source.constitution.rubric if source.constitution else ()
    if own and all(one.points < 0 for one in constitution.rubric):
        yield (
            ("rubric",),
            "no criterion has points above zero, so an answer has nothing to achieve and no score; add what a good "
            "answer does",
        )
    for index, one in enumerate(own):
        words, sentences = len(one.criterion.split()), len(_SENTENCE_END.findall(one.criterion)) + 1
        if words > _LONG or sentences > 2:
            yield (
                ("rubric", index),
                f"criterion {index + 1} asks for several things (words: {words}, sentences: {sentences}); "
                "what is answered with yes or no is one thing: make it several criteria",
            )
    for first, second in _similar_pairs([one.criterion for one in own]):
        yield (
            ("rubric", second),
            f"criterion {second + 1} says nearly the same as criterion {first + 1}, whose points count twice; keep one",
        )


def _cut_texts(source: Source) -> _Found:
    for location, comment in source.file.comments.items():
        text = source.file.spellings[location]
        is_sentence = text.endswith(_ENDS) and comment.startswith((" ", "#"))
        if " " in text and not is_sentence:
            yield location, f"the text ends before ` #{comment[:20]}`, which is a comment; put the text in quotes"


def _own_principles(source: Source) -> Iterator[tuple[Principle, Location]]:
    principles = source.constitution.principles if source.constitution else ()
    for index, principle in enumerate(principles):
        yield principle, ("principles", index)


def _own(source: Source) -> dict[str, Location]:
    return {principle.id: location for principle, location in _own_principles(source)}


def _similarity(one: set[str], other: set[str]) -> float:
    """Return the share in [0, 1] of all pieces of two texts that both have (Jaccard)."""
    return len(one & other) / len(one | other) if one | other else 0.0


def _pieces(text: str) -> set[str]:
    """Return words; words of other scripts as pairs of characters, since Korean glues particles to them."""
    pieces: set[str] = set()
    for word in re.findall(r"\w+", text.casefold()):
        if word.isascii() or len(word) < 3:
            pieces.add(word)
        else:
            pieces.update(word[start : start + 2] for start in range(len(word) - 1))
    return pieces


def _set_path(name: str) -> Path:
    return shipped("prompts", "sets", f"{name}.jsonl")


def _set_tags(name: str | None) -> set[str] | None:
    """Return the tags of a shipped prompt set; None when there is no such set."""
    if name is None or not _set_path(name).is_file():
        return None
    rows = map(orjson.loads, _set_path(name).read_bytes().splitlines())
    return {tag for row in rows for tag in row.get("tags", ())}
