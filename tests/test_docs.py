"""What the pages say is so: their blocks run, their links lead somewhere, their commands and options exist.

A fenced block says its language. `sh` and `python` blocks are run, page by page and in the page's order, in a directory
of its own with `cai` on PATH; what stands in a comment on the line before decides otherwise:

    <!-- not run: REASON -->       it needs a server, a GPU, a hub, an environment of its own
    <!-- loop lane: REASON -->     it trains, or takes long: `make loop-check` runs the page, all of it
    <!-- file: NAME -->            the block is a file that later blocks use
    <!-- after: PAGE -->           at a page's top: it goes on in a copy of the directory that PAGE left
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

import click
import pytest

import cai as package
from cai.cli.main import cai
from tests.test_architecture import LEVELS

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "README.ko.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
TRANSLATIONS = {
    ROOT / "README.ko.md": ROOT / "README.md",
    ROOT / "docs" / "ko" / "quickstart.md": ROOT / "docs" / "quickstart.md",
}
"""Pages that have the blocks of another one, which are run there."""
NOT_RUN, LOOP, FILE, AFTER = "not run", "loop lane", "file", "after"
RUN = ("sh", "python")
LANGUAGES = (*RUN, "text", "yaml", "json", "toml")
_FENCE = re.compile(r"(?P<mark>```+)(?P<language>\S*)\n(?P<body>.*?)^(?P=mark)$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!-- (not run|loop lane|file|after): (.+?) -->")
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, where it begins, and what the comment before it says of it."""

    page: Path
    line: int
    language: str
    body: str
    note: str | None
    reason: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    text, found = page.read_text(), []
    for fence in _FENCE.finditer(text):
        before = text[: fence.start()].rstrip("\n").rpartition("\n")[2]
        noted = _COMMENT.fullmatch(before)
        line = text.count("\n", 0, fence.start()) + 1
        note, reason = (noted[1], noted[2]) if noted else (None, "")
        found.append(Block(page, line, fence["language"], fence["body"], note, reason))
    return tuple(found)


def prose(page: Path) -> str:
    """A page without its blocks and comments."""
    return re.sub(r"<!--.*?-->", "", _FENCE.sub("", page.read_text()), flags=re.DOTALL)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def previous(page: Path) -> Path | None:
    first = _COMMENT.match(page.read_text())
    return ROOT / first[2] if first and first[1] == AFTER else None


# Blocks


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_is_of_a_known_kind_and_says_why_it_is_not_run(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, block.place
        if block.note in (NOT_RUN, LOOP):
            assert block.language in RUN, f"{block.place}: it would not be run anyway"
            assert block.note == LOOP or len(block.reason.split()) > 1, f"{block.place}: the reason is none"
        if block.note == FILE:
            assert "/" not in block.reason, block.place
    assert page.read_text().count("<!-- ") == sum(block.note is not None for block in blocks(page)) + (
        previous(page) is not None
    ), f"{named(page)}: a comment that says nothing to a block"


def test_no_more_blocks_are_left_out_than_are_run() -> None:
    every = [block for page in PAGES if page not in TRANSLATIONS for block in blocks(page) if block.language in RUN]
    left_out = [block.place for block in every if block.note == NOT_RUN]
    assert len(left_out) * 2 < len(every), left_out


class Workplace:
    """Runs a page's blocks in a directory, as a person with `cai` on PATH and no network would.

    The Python blocks of a page share one session, as the cells of a notebook do.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self._environment = environment

    def follow(self, page: Path, *, loop: bool) -> None:
        """Run a page from its top to its end; without `loop`, what trains is left out."""
        with Session(self.folder, self._environment) as session:
            for block in blocks(page):
                if block.note == FILE:
                    (self.folder / block.reason).write_text(block.body)
                elif block.note is None or (loop and block.note == LOOP):
                    if block.language == "sh":
                        self._shell(block)
                    elif block.language == "python":
                        session.run(block)

    def _shell(self, block: Block) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.body],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block.place} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, f"{block.place}\n{done.stderr}"


class Session:
    """A Python process that runs one block after the other; it starts with the first."""

    PROGRAM = (
        "import sys\n"
        "names = {'__name__': '__main__'}\n"
        "for line in sys.stdin:\n"
        "    path = line.rstrip()\n"
        "    exec(compile(open(path).read(), path, 'exec'), names)\n"
        "    print('\\0', flush=True)\n"
    )

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.communicate()

    def run(self, block: Block) -> None:
        """Run a block to its end, from a file, so that its functions have a source."""
        path = self._folder / f"block-{block.line}.py"
        path.write_text(block.body)
        errors = self._folder / "session.txt"
        if self._process is None:
            with errors.open("w") as file:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", self.PROGRAM],
                    cwd=self._folder,
                    env=self._environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=file,
                    text=True,
                )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        ended = any(line == "\0\n" for line in iter(self._process.stdout.readline, ""))
        assert ended, f"{block.place} ended the session\n{errors.read_text()}"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Workplace]:
    """Where a page is to be followed; a page that others go on from has been followed there already."""
    base = tmp_path_factory.mktemp("docs")
    tools = base / "bin"
    tools.mkdir()
    (tools / "cai").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cai "$@"\n')
    (tools / "cai").chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(base / "home"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "100",
    }

    def make(page: Path) -> Workplace:
        folder = base / named(page).replace("/", "-")
        before = previous(page)
        if before is None:
            folder.mkdir(exist_ok=True)
        else:
            shutil.copytree(left_by(before), folder)
        return Workplace(folder, environment)

    @cache
    def left_by(page: Path) -> Path:
        place = make(page)
        place.follow(page, loop=False)
        return place.folder

    def enter(page: Path) -> Workplace:
        return Workplace(left_by(page), environment) if page in continued() else make(page)

    return enter


@cache
def continued() -> frozenset[Path]:
    """The pages that others go on from."""
    return frozenset(page for page in map(previous, PAGES) if page is not None)


def with_blocks(note: str | None) -> list[Path]:
    return [
        page
        for page in PAGES
        if page not in TRANSLATIONS and any(block.note == note for block in blocks(page) if block.language in RUN)
    ]


@pytest.mark.docs
@pytest.mark.parametrize("page", with_blocks(None), ids=named)
def test_blocks_run(page: Path, workplace: Callable[[Path], Workplace]) -> None:
    place = workplace(page)
    if page not in continued():
        place.follow(page, loop=False)


@pytest.mark.loop
@pytest.mark.parametrize("page", with_blocks(LOOP), ids=named)
def test_blocks_that_train_run(page: Path, workplace: Callable[[Path], Workplace]) -> None:
    workplace(page).follow(page, loop=True)


# Commands and options


def command_lines(text: str) -> Iterator[list[str]]:
    """The `cai …` lines of a shell block, as words, continued lines joined."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and words[0] != "cai" and ("=" in words[0] or words[0] in ("exec", "time")):
            words = words[1:]
        if words and words[0] == "cai":
            yield words


def find_command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that `cai …` names and the words behind it; raises AssertionError for one that does not exist."""
    command: click.Command = cai
    context = click.Context(cai, info_name="cai")
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-") and rest[0].isalpha():
        if rest[0].isupper():  # `cai COMMAND --help`
            return command, rest
        found = command.get_command(context, rest[0])
        assert found is not None, f"{' '.join(words)}: there is no command {rest[0]}"
        command, context, rest = found, click.Context(found, info_name=rest[0], parent=context), rest[1:]
    return command, rest


def options_of(command: click.Command) -> dict[str, click.Option]:
    options = [option for option in command.params if isinstance(option, click.Option)]
    found = {name: option for option in options for name in (*option.opts, *option.secondary_opts)}
    helping = click.Option(["--help", "-h"], is_flag=True)
    return found | {"--help": helping, "-h": helping}


def require_options(words: list[str], place: str) -> None:
    command, rest = find_command(words)
    known = options_of(command)
    for number, word in enumerate(rest):
        name, equals, value = word.partition("=")
        if not re.fullmatch(r"--?[a-z][a-z-]*", name):
            continue
        assert name in known, f"{place}: `{' '.join(words)}` has no option {name}"
        option = known[name]
        if isinstance(option.type, click.Choice):
            given = value if equals else rest[number + 1] if number + 1 < len(rest) else None
            choices = (given or "").split("|")
            assert set(choices) <= set(option.type.choices), f"{place}: {name} {given}"


@cache
def every_option() -> frozenset[str]:
    found: set[str] = set()
    waiting: list[tuple[click.Command, click.Context]] = [(cai, click.Context(cai))]
    while waiting:
        command, context = waiting.pop()
        found |= set(options_of(command))
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                waiting.append((child, click.Context(child, parent=context)))
    return frozenset(found)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_and_their_options_exist(page: Path) -> None:
    for block in blocks(page):
        if block.language == "sh":
            for words in command_lines(block.body):
                require_options(words, block.place)
    for code in _CODE.findall(prose(page)):
        if code.startswith("cai ") and "…" not in code:
            require_options(re.sub(r"[\[\]]", "", code).split(), named(page))
        elif code.startswith("--"):
            name = re.split(r"[ =|]", code)[0].removesuffix("…")
            known = any(option.startswith(name) for option in every_option()) if "…" in code else name in every_option()
            assert known, f"{named(page)}: no command has the option {code}"


def test_every_command_is_in_the_pages() -> None:
    written = "\n".join(page.read_text() for page in PAGES if page.is_relative_to(ROOT / "docs"))
    for name in cai.list_commands(click.Context(cai)):
        assert f"cai {name}" in written, f"no page speaks of cai {name}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_targets_of_make_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    mentioned = set(re.findall(r"^make ([a-z][\w-]*)", "\n".join(block.body for block in blocks(page)), re.MULTILINE))
    mentioned |= set(re.findall(r"`make ([a-z][\w-]*)", prose(page)))
    assert mentioned <= targets, mentioned - targets


def test_ci_calls_what_the_readme_says() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()
    for name in ("README.md", "README.ko.md"):
        assert any(line.startswith("make test") for block in blocks(ROOT / name) for line in block.body.splitlines())


@pytest.mark.parametrize("page", TRANSLATIONS, ids=named)
def test_a_translation_has_the_same_blocks_in_the_same_order(page: Path) -> None:
    one, other = (
        [
            (block.language, block.note, re.sub(r" +#.*|^#.*\n", "", block.body, flags=re.MULTILINE))
            for block in blocks(place)
            if block.language in RUN or block.note == FILE
        ]
        for place in (page, TRANSLATIONS[page])
    )
    assert one == other


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    told = (ROOT / "docs" / "python-api.md").read_text()
    missing = {name for name in package.__all__ if not re.search(rf"\b{name}\b", told)}
    assert missing == {"__version__"}


# Links


@cache
def anchors(page: Path) -> frozenset[str]:
    """What a code host calls the headings of a page."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        number = 1
        while (name := slug if number == 1 else f"{slug}-{number - 1}") in found:
            number += 1
        found.add(name)
    return frozenset(found)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{named(page)} links to {name}, which is not there"
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target), f"{named(page)} links to {link}, and there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_are_named_are_there(page: Path) -> None:
    for code in _CODE.findall(prose(page)):
        if re.fullmatch(r"(cai|tests|benchmarks|docs|prompts|constitutions|requirements)/[\w./-]+", code):
            assert (ROOT / code).exists(), f"{named(page)} names {code}, which is not there"


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in _LINK.findall((ROOT / "README.md").read_text())}
    assert set(PAGES) - {ROOT / "README.md"} <= linked


# The house


def test_the_architecture_page_shows_the_levels() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d+) \| \[(\w+)\]\(\.\./(cai/[\w.]+)\) \| ([\d,]+) \|", text, re.MULTILINE)
    assert [(int(level), name) for level, name, _, _ in rows] == [
        (level, name) for level, names in enumerate(LEVELS) for name in names
    ]
    for _, _, place, told in rows:
        files = sorted((ROOT / place).rglob("*.py")) or [ROOT / place]
        lines = sum(path.read_text().count("\n") for path in files)
        assert 0.75 < int(told.replace(",", "")) / lines < 1.33, f"{place} has {lines:,} lines now, not {told}"
