"""How the options of a choice may be spelled behind a text, in a model's tokens.

The rule: an option stands at the beginning of what follows, with or without a space before it, a word also in small
letters (`No`, `no`; a letter is no word), and it may be dressed in brackets, quotation marks or emphasis (`(A)`,
`**A**`). All ways to spell it are added up; each is a path of
tokens, and what begins with the path is counted whole. Spellings are read off the text and the option together, because
a tokenizer may spell a word otherwise at a text's beginning.

Where the text's end is spelled otherwise with an option behind it (`(` and `A` melt into `(A`, two new lines part),
paths begin where all spellings still agree: `back` tokens of the prompt are taken back. Then `begun` are all paths that
spell the text's end and perhaps more, which the spellings are shares of.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cai.core.errors import ModelError
from cai.models.scoring import Spelling

_DRESSES = (
    ("(", ")"), ("[", "]"), ("**", "**"), ("*", "*"), ('"', '"'), ("'", "'"), ("`", "`"), ("“", "”"),
)  # fmt: skip
_CLOSERS = ("", *dict.fromkeys(closer for _, closer in _DRESSES), ".", ",", ":")
"""What may melt with an option's last token: `A)` is one token in places."""

_MOST_BEGUN = 2_048


@dataclass(frozen=True, slots=True)
class Spellings:
    """For each option its `plain` spellings, and its `dressed` ones with how each begins.

    `begun` is empty where nothing melts, or where so many tokens begin with what was taken back (a space, say) that the
    model can be taken to begin so, too.
    """

    plain: tuple[tuple[Spelling, ...], ...]
    dressed: tuple[Mapping[Spelling, Spelling], ...]
    back: int = 0
    begun: tuple[Spelling, ...] = ()

    @property
    def longest(self) -> int:
        """Tokens of the longest spelling."""
        return max(len(path) for ways in (*self.plain, *self.dressed) for path in ways)


def spell(
    encode: Callable[[str], list[int]],
    name: Callable[[Sequence[int]], list[str]],
    vocabulary: Callable[[], Mapping[str, int]],
    before: str,
    options: Sequence[str],
) -> Spellings:
    """Return the options' spellings behind the text `before`; raises ModelError when two of them share one.

    `name` and `vocabulary` translate between tokens and their names, in which the end of a text is the end of the last
    token's name.
    """
    base = encode(before)
    shared = min(_common(base, encode(before + option)) for option in options)
    ways = [_ways(encode, before, base[:shared], forms) for forms in written(options)]
    back = base[shared:]
    text = "".join(name(back))
    plain = tuple(tuple(path for path, dressed in found.items() if not dressed) for found in ways)
    if len({path for paths in plain for path in paths}) < sum(map(len, plain)) or not all(plain):
        raise ModelError(f"the options {list(options)} are spelled alike: a choice needs different ones")
    first = {path: _first(name, text, path) for found in ways for path, dressed in found.items() if dressed}
    begun = _begun(name, vocabulary(), text, [back, *(path for found in ways for path in found)]) if back else ()
    return Spellings(
        plain=tuple(
            (*paths, *(path for path in found if path in first and path == first[path]))
            for paths, found in zip(plain, ways, strict=True)
        ),
        dressed=tuple({path: first[path] for path in found if path in first and path != first[path]} for found in ways),
        back=len(back),
        begun=begun if len(begun) <= _MOST_BEGUN else (),
    )


def written(options: Sequence[str]) -> list[list[str]]:
    """Return how each option is written: a word in small letters, too, where no other option is that."""
    taken = [option.strip() for option in options]
    return [
        [option, option.lower()] if len(option.strip()) > 1 and option.strip().lower() not in taken else [option]
        for option in options
    ]


def _ways(
    encode: Callable[[str], list[int]], before: str, prefix: Sequence[int], forms: Sequence[str]
) -> dict[Spelling, bool]:
    """Return the paths that spell an option behind the prefix, and whether they are dressed; the shortest alone.

    All that begins with a path is counted with it.
    """
    found: dict[Spelling, bool] = {}
    for dressed, wear in ((False, _plain), (True, _dressed)):
        for ids in (encode(before + text) for form in forms for text in wear(form)):
            if ids[: len(prefix)] == list(prefix) and len(ids) > len(prefix):
                found.setdefault(tuple(ids[len(prefix) :]), dressed)
    return {
        path: dressed
        for path, dressed in found.items()
        if not any(path[:length] in found for length in range(1, len(path)))
    }


def _plain(option: str) -> Iterator[str]:
    for opener in ("", " "):
        for closer in _CLOSERS:
            yield f"{opener}{option}{closer}"


def _dressed(option: str) -> Iterator[str]:
    for opener, closer in _DRESSES:
        for space in ("", " "):
            yield f"{space}{opener}{option}"
            yield f"{space}{opener}{option}{closer}"


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))


def _first(name: Callable[[Sequence[int]], list[str]], text: str, path: Spelling) -> Spelling:
    """Return the beginning of a path that spells the text and the first that follows it."""
    lengths = range(1, len(path))
    return next((path[:length] for length in lengths if len("".join(name(path[:length]))) > len(text)), path)


def _begun(
    name: Callable[[Sequence[int]], list[str]],
    vocabulary: Mapping[str, int],
    text: str,
    paths: Iterable[Sequence[int]],
) -> tuple[Spelling, ...]:
    """Return the paths that end in a token which completes the text, and perhaps says more.

    The text may be spelled in several ways: all those that some path begins with.
    """
    nodes: dict[Spelling, str] = {}
    for path in paths:
        for length in range(len(path)):
            written = "".join(name(path[:length]))
            if len(written) >= len(text):
                break
            nodes[tuple(path[:length])] = text[len(written) :]
    words = sorted(vocabulary.items())
    return tuple((*node, token) for node, rest in nodes.items() for word, token in words if word.startswith(rest))
