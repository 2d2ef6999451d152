"""From what the user wrote after --prompts to prompts: `-`, a file, a directory, a saved dataset, a URL, the hub."""

from collections.abc import Sequence

from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.core.identity import fingerprint
from cai.core.paths import expand
from cai.data.columns import find_prompt
from cai.data.finding import Kind, files_in, kind_of, printable
from cai.data.formats import FORMATS, open_file
from cai.data.prompts import InputOptions, Prompts, PromptSource
from cai.data.remote import fetch
from cai.data.rows import RawSource
from cai.data.shapes.recognising import shaped
from cai.data.text_files import open_stdin


def open_prompts(source: DataSource, options: InputOptions) -> Prompts:
    """Open the prompts that `source` names, in one of the ways that `cai.data.finding` has.

    A hub dataset is shuffled through a buffer by `datasets`, everything else as a whole. Raises InputError when nothing
    there can be read as prompts: the message says what was found and what is needed.
    """
    name = printable(str(source)) or "''"
    try:
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
    parts = [
        PromptSource(opened, find_prompt(opened.columns, options.prompt_column, opened.name))
        for opened in _shaped(sources, options)
    ]
    # A directory of one file is not that file: what is added to it later must not make the same prompts others.
    content = sources[0].fingerprint if kind != "directory" else fingerprint([opened.fingerprint for opened in sources])
    return Prompts(parts, content, options, shuffle=options.shuffle and kind != "hub", left_out=elsewhere or left_out)


def _shaped(sources: Sequence[RawSource], options: InputOptions) -> list[RawSource]:
    """Return the sources that hold rows, in our columns where they have others and no column is named."""
    filled = [opened for opened in sources if opened.size != 0]
    return filled if options.prompt_column is not None else [shaped(opened, None, "prompts") for opened in filled]


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
