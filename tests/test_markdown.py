"""What is written into cards reads as its text and means nothing else."""

import re

import yaml
from hypothesis import given
from hypothesis import strategies as st

from cai.core.markdown import code, escaped, front_matter, table
from cai.core.records import Usage
from cai.data.export.card import dataset_card
from cai.data.export.summary import Adherence, ExportOptions, ExportSummary, SplitCounts
from cai.rundir.manifest import Manifest, this_writer
from cai.train.card import model_card

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "<!-- ",
    "a | b | c",
    "`x` and ``y``",
    "[a](javascript:alert(1))",
    "![](http://h/x.png)",
    "one\ntwo\r\n\r\n# three",
    "---\nlicense: mit\n---",
    "\x1b]52;c;aGk=\x07\u202eabc\u2028x",
    "&lt;script&gt;",
    "**b** _i_ ~~s~~ $x$",
    "\\| x",
    "{{ x }} {% y %}",
)
TEXTS = st.one_of(
    st.sampled_from(HOSTILE), st.text(st.sampled_from("ab<>|`[]()!*_#\\&;\n\r\t\x1b\u202e\u2028$~-: "))
).map(str)


def bare(text: str, sign: str) -> bool:
    """Tell whether a sign stands in Markdown with no backslash before it."""
    return re.search(rf"(?<!\\)(\\\\)*{re.escape(sign)}", text) is not None


@given(TEXTS)
def test_text_is_one_line_that_means_nothing(text: str) -> None:
    for line in (escaped(text), code(text)):
        assert len(line.splitlines()) <= 1
        assert all(character.isprintable() for character in line)
        assert "<" not in line
        assert ">" not in line
        assert not bare(line, "|")
        assert not bare(line, "[")
        assert not bare(line, "]")
    assert not bare(escaped(text), "`")
    assert code(text).count("`") - code(text).count("\\`") in (0, 2)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4), st.tuples(TEXTS, TEXTS))
def test_a_row_stays_a_row(rows: list[tuple[str, str]], head: tuple[str, str]) -> None:
    lines = table(head, rows)
    assert len(lines) == len(rows) + 3
    assert lines[-1] == ""
    for line in lines[:-1]:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3, line


@given(st.dictionaries(TEXTS, st.one_of(TEXTS, st.lists(TEXTS))))
def test_front_matter_is_what_was_meant(value: dict[str, object]) -> None:
    front = front_matter(value)
    assert front.startswith("---\n")
    assert yaml.safe_load(front[4:-4]) == value
    assert not any(line == "---" for line in front.splitlines()[1:-1])


def test_numbers_and_names_stay_as_they_are() -> None:
    for text in ("0.05", "-1", "1e-3", "harmless_ko", "medical 1.0 0123abcd", "한국어 원칙", "a+b@c:d/e#f"):
        assert escaped(text) == text
        assert code(text) in (f"`{text}`", text)


@given(TEXTS)
def test_no_card_holds_what_a_constitution_or_a_file_name_would_do(text: str) -> None:
    counts = SplitCounts(1, 0, {text: 2})
    summary = ExportSummary(
        rows=1,
        sft=counts,
        preference=counts,
        abstentions={text: 1},
        failures={text: 1},
        failed_parts={text: 1},
        lacking=1,
        adherence={text: Adherence(0.5, 3, 2)},
        left_out={text: 1},
        remarks=(text,),
        explanations=(text,),
    )
    identity = {"constitution": text, text: "x"}
    card = dataset_card(manifest(identity), ExportOptions(), summary)
    recorded = {
        "method": "sft", "name": text, "base": text, "base_model": text, "adapter": None,
        "steps": 1, "epochs": 1.0, "tokens": 0,
        "loss": None, "best_eval_loss": None, "best_step": None, "left_out": {text: 1}, "identity": identity,
        "parts": [
            {"name": text, "weight": None, "train": 1, "test": 0, "fingerprint": "0", "model": text, "judge": None}
        ],
        "hardware_sentence": text, "versions": {"torch": "2"}, "cut_answers": 1, "max_length": 8, "measured": {},
        "tasks": {"weights": [1.0], "measured": [{"name": text, text: 0.5}], "cosines": {f"cosine/{text}/{text}": 0.5}},
    }  # fmt: skip
    for written in (card, model_card(recorded, "loss.png", "tasks.png")):
        body = written.split("---\n", 2)[2]
        prose = re.sub(r"```.*?```", "", body, flags=re.DOTALL)
        assert "<" not in prose
        assert "\x1b" not in written
        assert "\u202e" not in written
        assert len([line for line in prose.splitlines() if line.startswith("# ")]) == 1
        assert "](javascript:" not in re.sub(r"\\\]", "", prose)


def manifest(identity: dict[str, str]) -> Manifest:
    usage = Usage(0, 0, 0, 0)
    return Manifest(1, "done", "2026-01-01", "2026-01-01", identity, "", {}, (this_writer(),), 1, 0, usage, usage)
