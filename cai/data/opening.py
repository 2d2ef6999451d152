"""From what the user wrote after --prompts to prompts: `-`, a file, a directory, a saved dataset, a URL, the hub."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.core.identity import fingerprint
from cai.core.paths import expand
from cai.data.columns import PROMPT_COLUMNS, find_prompt
from cai.data.finding import Kind, files_in, kind_of, printable
from cai.data.formats import FORMATS, open_file
from cai.data.prompts import InputOptions, Prompts, PromptSource
from cai.data.public_sets.descriptor import PublicSet
from cai.data.public_sets.reading import PublicSource, looks_like, named_set
from cai.data.remote import fetch
from cai.data.rows import RawSource
from cai.data.shapes.recognising import shaped
from cai.data.text_files import open_stdin


@dataclass(frozen=True, slots=True)
class _Place:
    """What lies at one place: its sources, the fingerprint of the whole, and a line on files that are not read."""

    parts: tuple[PromptSource, ...]
    content: str
    from_hub: bool
    left_out: str | None


def open_prompts(source: DataSource, options: InputOptions) -> Prompts:
    """Open the prompts that `source` names, in one of the ways that `cai.data.finding` has, or those of a public set.

    A hub dataset is shuffled through a buffer by `datasets`, everything else as a whole. Raises InputError when nothing
    there can be read as prompts: the message says what was found and what is needed.
    """
    return open_several((source,), options)


def open_several(sources: Sequence[DataSource], options: InputOptions) -> Prompts:
    """Open the prompts of several places as one source, one place after the other.

    So that an id names one prompt, those of rows get the place's name before them where there are several places; those
    of public sets begin with the set's name in any case. Raises as `open_prompts` does.
    """
    places = [_read_place(source, options) for source in sources]
    left_out = tuple(place.left_out for place in places if place.left_out is not None)
    if len(places) == 1:
        (place,) = places
        return Prompts(
            place.parts,
            place.content,
            options,
            shuffle=options.shuffle and not place.from_hub,
            left_out=left_out,
        )
    parts: list[PromptSource] = []
    for name, place in zip(_names(sources), places, strict=True):
        parts += [part if part.public else replace(part, prefix=f"{name}:") for part in place.parts]
    content = fingerprint([place.content for place in places])
    return Prompts(parts, content, options, shuffle=options.shuffle, left_out=left_out)


def _names(sources: Sequence[DataSource]) -> list[str]:
    """Return what the places are called in ids: files by their stems, a number behind one that was there before."""
    names: list[str] = []
    for source in sources:
        stem = printable(PurePath(str(source)).name.partition(".")[0]) or "prompts"
        count = sum(name.partition("~")[0] == stem for name in names)
        names.append(f"{stem}~{count + 1}" if count else stem)
    return names


def _read_place(source: DataSource, options: InputOptions) -> _Place:
    """Return what lies at one place; raises InputError."""
    public = None
    name = printable(str(source)) or "''"
    try:
        if (found := named_set(source)) is not None:
            public, source = found
            name = printable(str(source))
        place, elsewhere = source.reveal(), None
        if source.is_url:
            copy, elsewhere = fetch(str(source), tuple(FORMATS))
            place = str(copy)
        kind = kind_of(place)
        if kind is None:
            raise InputError(f"There is no file or directory {name} to read prompts from.")
        if options.split is not None and kind not in ("saved", "hub"):
            raise InputError(f"--split is for datasets saved on disk or on the hub; {name} is neither.")
        sources, left_out = _open(place, kind, options)
    except OSError as error:
        # Sources say their own; this is about names: too long, in a directory that is closed.
        raise InputError(f"{name[:200]} cannot be opened: {error.strerror}.") from error
    if all(opened.size == 0 for opened in sources):
        raise InputError(f"{'Standard input' if kind == 'stdin' else name} holds no prompts.")
    parts = tuple(
        PromptSource(opened, find_prompt(opened.columns, options.prompt_column, opened.name))
        for opened in _shaped(sources, options, public)
    )
    # A directory of one file is not that file: what is added to it later must not make the same prompts others.
    content = [part.source.fingerprint for part in parts] if public else [opened.fingerprint for opened in sources]
    whole = content[0] if kind != "directory" else fingerprint(content)
    return _Place(parts, whole, kind == "hub", elsewhere or left_out)


def _shaped(sources: Sequence[RawSource], options: InputOptions, public: PublicSet | None) -> list[RawSource]:
    """Return the sources that hold rows, in our columns where they have others and no column is named."""
    filled = [opened for opened in sources if opened.size != 0]
    if public is not None and options.prompt_column is not None:
        raise InputError(f"--prompt-column is not for public sets: which column {public.title} has is known.")
    if public is not None:
        return [PublicSource(opened, public) for opened in filled]
    if options.prompt_column is not None:
        return filled
    found = [shaped(opened, None, "prompts") for opened in filled]
    for opened in found:
        known = None if set(PROMPT_COLUMNS) & set(opened.columns) else looks_like(opened.columns)
        if known is not None:
            raise InputError(f"{opened.name} looks like {known.title}, which is read with its name: {known.name}:FILE.")
    return found


def _open(place: str, kind: Kind, options: InputOptions) -> tuple[Sequence[RawSource], str | None]:
    """Return the sources, and the line that tells what was left out."""
    path = expand(place)
    if kind in ("saved", "hub"):
        # Only here, because datasets takes seconds to import.
        from cai.data.hub import hub_splits, saved_splits  # noqa: PLC0415

        if kind == "saved":
            splits = saved_splits(path, place)
        else:
            splits = hub_splits(place, seed=options.seed if options.shuffle else None)
        return [splits[choose_split(list(splits), options.split, place)]()], None
    if kind == "stdin":
        return [open_stdin()], None
    if kind == "file":
        return [open_file(path, printable(path.name))], None
    files, left_out = files_in(path)
    if not files:
        raise InputError(f"{printable(str(path))} holds no prompt file ({', '.join(FORMATS)}).")
    return [open_file(file, name) for name, file in files.items()], left_out


def choose_split(splits: Sequence[str], wanted: str | None, name: str) -> str:
    """Return the split that is meant; raises InputError when that is not clear, or there is none of the name."""
    if wanted is None and len(splits) == 1:
        return splits[0]
    if list(splits) == [""]:
        raise InputError(f"{name} is a single dataset without splits; leave --split out.")
    listed = ", ".join(splits)
    if wanted is None:
        raise InputError(f"{name} has the splits {listed}; say which with --split.")
    if wanted not in splits:
        raise InputError(f"{name} has no split {wanted!r}; it has {listed}.")
    return wanted
