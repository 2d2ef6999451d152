"""import(export(x)) = x, whatever the texts are: prompts, answers and labels of every part of every format.

What a part cannot hold it says so of, and leaves out; all else comes back as it went, character by character.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cai.core.addresses import DataSource
from cai.data.examples.opening import open_examples
from cai.data.export.layouts import LAYOUTS
from cai.data.export.layouts.descriptor import SOFT_LABELS, Part, Place, UnfitError
from cai.data.export.layouts.writing import SOURCES, PartWriter
from cai.data.rows import BrokenRow
from tests.test_round_trip import KINDS, meant

NASTY = (
    "\r\n", "a\rb", "\n\nHuman: Why?\n\nAssistant: So.", "Human: Why?", '"', "a,b\n", "\ufeffa", "\u2028", "\x85x",
    "a\x00b", "=1+1", "NaN", "null", "1e5", "[]", '{"a": 1}', "<think>hm</think>yes", "e\u0301", "가\u200d나",
    "\U0001f469\u200d\U0001f467", "\t a ", " ", "\\n", "True",
)  # fmt: skip
"""What a reader or a writer somewhere takes for something else than text."""

ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), max_size=12)
PIECES = st.lists(st.one_of(st.sampled_from(NASTY), ANY, st.just("x")), min_size=1, max_size=4)
TEXT = PIECES.map("".join).filter(lambda text: bool(text.strip()))
LABEL = st.integers(501, 1000).map(lambda thousandths: thousandths / 1000)


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@st.composite
def prompts(draw: st.DrawFn) -> list[dict[str, str]]:
    """Return a conversation that ends with the user: perhaps with a system turn, an empty one too, and many turns."""
    system = [turn("system", draw(st.one_of(st.just(""), TEXT)))] if draw(st.booleans()) else []
    talk = [turn(role, draw(TEXT)) for _ in range(draw(st.integers(0, 2))) for role in ("user", "assistant")]
    return [*system, *talk, turn("user", draw(TEXT))]


@st.composite
def datasets(draw: st.DrawFn) -> dict[str, list[list[dict[str, Any]]]]:
    """Return what some prompts give in each of a run's datasets, by prompt."""
    found: dict[str, list[list[dict[str, Any]]]] = {"sft": [], "preference": [], "ranking": []}
    for number in range(draw(st.integers(1, 3))):
        asked, name = draw(prompts()), f"q{number}"
        texts = draw(st.lists(TEXT, min_size=2, max_size=3, unique_by=lambda text: text.strip()))
        answers = [[turn("assistant", text)] for text in texts]
        common = {"id": name, "prompt": asked}
        found["sft"].append(
            [{**common, "messages": asked + answer, "completion": answer, "sample": 0, "round": 0, "principles": []}
             for answer in answers]
        )  # fmt: skip
        label = draw(LABEL)
        found["preference"].append(
            [{**common, "chosen": answers[0], "rejected": worse, "chosen_probability": label, "source": "samples",
              "principles": ["kind"], "first": [label], "second": [label], "chosen_source": "response:0",
              "rejected_source": f"response:{place}"} for place, worse in enumerate(answers[1:], start=1)]
        )  # fmt: skip
        ranked = [
            {"text": text, "rank": rank, "score": -rank / 2, "error": 0.5, "source": f"response:{rank}", "model": "m"}
            for rank, text in enumerate(texts, start=1)
        ]
        found["ranking"].append([{**common, "answers": ranked, "comparisons": 1, "triples": 0, "cycles": 0}])
    return found


def converted(part: Part, examples: list[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """Yield what a part can hold of a prompt's examples, as it should come back."""
    for example in SOURCES[part.source](examples, lambda *_: None):
        try:
            part.convert(example, Place("train", 0))
        except UnfitError:
            continue
        kind = KINDS[part.folder]
        if kind == "pairs":
            yield meant(dict(example) if SOFT_LABELS in part.holds else {**example, "chosen_probability": 1.0})
        elif kind == "ranked":
            answers = [{**one, "completion": [turn("assistant", one["text"])]} for one in example["answers"]]
            yield meant({"prompt": example["prompt"], "answers": answers})
        elif kind == "prompts":
            yield meant({"prompt": example["prompt"]})
        else:
            plain = {name: example[name] for name in ("prompt", "completion", "label") if name in example}
            yield meant(plain)


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=8, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=datasets())
def test_whatever_the_texts_are_they_come_back(name: str, made: dict[str, list[list[dict[str, Any]]]]) -> None:
    for part in LAYOUTS[name].parts:
        source = {"thumbs": "preference", "prompts": "sft"}.get(part.source, part.source)
        left_out: list[Any] = []
        with tempfile.TemporaryDirectory() as directory:
            writer = PartWriter(Path(directory), part, 0.0, left_out.append)
            for examples in made[source]:
                writer.write(examples[0]["id"], examples)
            writer.finish()
            wanted = Counter(one for examples in made[source] for one in converted(part, examples))
            files = [path for path in Path(directory).rglob("*") if path.is_file()]
            if not wanted:
                assert not files
                assert left_out
                continue
            items = list(open_examples(DataSource.parse(str(files[0])), KINDS[part.folder]).examples())
        assert [item for item in items if isinstance(item, BrokenRow)] == []
        assert Counter(meant(item.values) for item in items if not isinstance(item, BrokenRow)) == wanted
