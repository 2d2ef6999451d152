"""Quality filters: what each finds and leaves alone, what is done about it, and that the ledger has all of it."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.filters import LABELS, count
from cai.constitution import load_constitution
from cai.core.errors import InputError, UsageError
from cai.core.records import Prompt, Row, Trace, Usage
from cai.data.export import ExportOptions, dataset, export_run
from cai.data.quality import (
    FILTERS,
    Item,
    LedgerEntry,
    Quality,
    QualityPass,
    load_quality,
    names,
    read_ledger,
    shown_by,
)
from cai.data.quality.items import ReadItem
from cai.data.quality.ledger import excerpt
from cai.data.quality.personal import _ADDRESS, _CARD, _EMAIL, _IBAN, _PHONE, _RESIDENT, mask_text
from cai.rundir import Run
from cai.rundir.layout import LEDGER
from tests.storage import IDENTITY, PROVENANCE, fill, inputs_of, make_row, user, verdict

WRITTEN = {
    "email": _EMAIL,
    "card": _CARD,
    "iban": _IBAN,
    "resident-number": _RESIDENT,
    "phone": _PHONE,
    "address": _ADDRESS,
}
EVERYTHING = replace(load_quality("strict"), actions=dict.fromkeys(FILTERS, "report"))
QUESTION = "How do I get a red wine stain out of a white wool rug before my landlord comes by tomorrow?"


def example(text: str, **known: Any) -> Item:
    return Item("p", (user(QUESTION),), {"completion": text}, **known)


def pair(chosen: str, rejected: str, **known: Any) -> Item:
    return Item("p", (user(QUESTION),), {"chosen": chosen, "rejected": rejected}, **known)


def looked_at(item: Item, quality: Quality = EVERYTHING) -> tuple[Item | None, list[LedgerEntry]]:
    entries: list[LedgerEntry] = []
    return QualityPass(quality, "sft", entries.append).check(item), entries


def found(item: Item, quality: Quality = EVERYTHING) -> list[str]:
    return [entry.filter for entry in looked_at(item, quality)[1]]


@pytest.mark.parametrize(
    ("text", "name", "part"),
    [
        ("Sure, here is the revised response:\n\nBlot it.", "announcement", "Sure, here is the revised response:\n\n"),
        (" \n", "empty", " \n"),
        ("Yes.", "one-word", "Yes."),
        ("The response does not help them.", "critique", "The response does"),
        ("이 답변은 위험합니다.", "critique", "답변은"),
        ("It keeps to the principle.", "principle", "the principle"),
        ("Get a red wine stain out of a white wool rug before my landlord comes.", "copied-prompt", None),
        ("Blot it.\n\nHuman: And then?", "speakers", "\nHuman:"),
        ("Blot it.<|im_end|>", "template-tokens", "<|im_end|>"),
        ("[INST] Blot it. [/INST]", "template-tokens", "[INST]"),
        ("I am here to help you. " * 6, "loop", None),
        ("Let me see.</think>Blot it.", "thinking", "</think>"),
        ("Run it:\n```sh\nls", "open-fence", "```"),
    ],
)
def test_each_filter_finds_the_place(text: str, name: str, part: str | None) -> None:
    entries = looked_at(example(text))[1]
    (entry,) = (entry for entry in entries if entry.filter == name)
    if part is not None:
        assert text[entry.start : entry.end] == part
    assert entry.excerpt.strip("…") in text


@pytest.mark.parametrize(
    ("text", "name", "masked"),
    [
        ("Write to jo.lee@mail.kr today.", "email", "Write to [email] today."),
        ("Card 4539 1488 0343 6467, paid.", "card", "Card [card], paid."),
        ("To GB82 WEST 1234 5698 7654 32 please", "iban", "To [iban] please"),
        ("주민번호는 900101-1234568 입니다", "resident-number", "주민번호는 [resident number] 입니다"),
        ("Call +82 10 1234 5678 now", "phone", "Call [phone] now"),
        ("전화는 010-1234-5678", "phone", "전화는 [phone]"),
        ("Call (647) 321-1199.", "phone", "Call [phone]."),
        ("He lives at 12 Old Mill Road", "address", "He lives at [address]"),
        ("It is 114 E 46th St, New York.", "address", "It is [address], New York."),
        ("서울시 중구 세종대로 110", "address", "서울시 [address]"),
        (f"Use ghp_{'a1B2' * 9} for it", "secret", "Use [secret] for it"),
    ],
)
def test_what_is_private_is_masked_and_repeated_nowhere(text: str, name: str, masked: str) -> None:
    kept, entries = looked_at(example(text), load_quality("strict"))
    assert kept is not None
    assert kept.answers == {"completion": masked}
    assert kept.cleaned_from == {"completion": None}
    ((cleaned,),) = [[entry for entry in entries if entry.filter == name]]
    assert masked.strip(".") in cleaned.excerpt
    private = text[cleaned.start : cleaned.end]
    assert private
    assert private not in cleaned.excerpt


KEY = "sk-abcdefghij0123456789ABCDEFG"


def test_each_entry_masks_what_the_other_filters_find() -> None:
    private = f"Write to kim.minsu@naver.com or call 010-2345-6789, with {KEY}."
    masked = "Write to [email] or call [phone], with [secret]."
    for quality in (load_quality("strict"), EVERYTHING):
        entries = looked_at(example(private), quality)[1]
        assert {entry.filter for entry in entries} >= {"secret", "email", "phone"}
        assert {entry.excerpt for entry in entries} == {masked}
    (loop,) = (one for one in looked_at(example(f"Use {KEY} for it. " * 9))[1] if one.filter == "loop")
    assert KEY not in loop.excerpt


@pytest.mark.parametrize("rest", ["", "\nMIIEvQIB", " and then I stopped."])
def test_of_a_private_key_that_is_cut_off_nothing_is_left(rest: str) -> None:
    line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7"
    masked, count = mask_text(f"Here: -----BEGIN RSA PRIVATE KEY-----\n{line}\n{line}{rest}")
    assert count == 1
    assert "MIIE" not in masked
    assert masked.startswith("Here: [secret]")
    assert masked.endswith("and then I stopped.") == rest.endswith("stopped.")


@pytest.mark.parametrize("around", ["", "word " * 90, "word " * 5000])
def test_an_excerpt_ends_within_nothing_private(around: str) -> None:
    block = f"-----BEGIN PRIVATE KEY-----{'MIIEvQIBADANBgkq' * 200}-----END PRIVATE KEY-----"
    for private, mask in ((KEY, "[secret]"), (block, "[secret]"), ("kim.minsu@naver.com", "[email]")):
        for distance in range(30, 62):
            text = f"{around}{private} {'a' * distance} that {'a' * distance} {private}{around}"
            start = text.index(" that ") + 1
            shown = excerpt(text, start, start + 4)
            assert "that" in shown
            assert not {part for part in (private[:6], private[-6:]) if part in shown}
        assert excerpt(f"{private} and it", 0, len(private)) == f"{mask} and it"
        text = f"{around}My key is {private} and it"
        assert private[:6] not in excerpt(text, 0, len(text))


def test_an_entry_of_a_whole_text_or_a_common_ending_repeats_nothing_private(tmp_path: Path) -> None:
    cut = f"My key is {KEY} and it"
    row = row_of(93, [cut, cut])
    fill(tmp_path, [replace(row, traces=tuple(replace(one, truncated=True) for one in row.traces))])
    export_run(tmp_path, ExportOptions(test_share=0.0))
    entries = list(read_ledger(tmp_path / LEDGER))
    assert "My key is [secret] and it" in {entry.excerpt for entry in entries}
    assert KEY not in str(entries)
    told: list[LedgerEntry] = []
    quality = QualityPass(EVERYTHING, "sft", told.append)
    for number in range(200):
        quality.check(example(f"Answer {number} is a cloth. Write to kim.minsu@naver.com if it does not help you."))
    quality.finish()
    (closing,) = (one for one in told if one.filter == "closers")
    assert closing.excerpt.casefold().startswith("write to [email] if")


def test_names_are_found_by_what_is_installed_or_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "names.yaml"
    path.write_text("filters:\n  name: clean\n")
    monkeypatch.setattr(names, "_readers", dict)
    with pytest.raises(UsageError, match=r"the filter name needs presidio-analyzer .* pip install 'cai\[names\]'"):
        load_quality(str(path))
    korean = {"koredact": lambda text: [found.span() for found in re.finditer("홍길동", text)]}
    english = {"presidio-analyzer": lambda text: [(0, 3), (0, 7)] if text.startswith("Jo Lee") else []}
    monkeypatch.setattr(names, "_readers", lambda: {**english, **korean})
    quality = load_quality(str(path))
    kept, (entry,) = looked_at(example("Jo Lee 님과 홍길동 님에게."), quality)
    assert kept is not None
    assert kept.answers == {"completion": "[name]님과 [name] 님에게."}
    assert "홍길동" not in entry.excerpt
    entries = looked_at(
        example("홍길동: hong@naver.com"), replace(quality, actions={**quality.actions, "email": "clean"})
    )[1]
    assert [(one.filter, one.excerpt) for one in entries] == [
        ("email", "[name]: [email]"),
        ("name", "[name]: [email]"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Write to you@example.com today.",
        "Call 1-800-273-8255 or 080-123-4567; it costs nothing.",
        "The order is 4539 1488 0343 6468, and version 1.2.3.4 of 2024-01-15.",
        "GB82 WEST 1234 5698 7654 33 is none, and 900101-1234567 is none.",
    ],
)
def test_numbers_that_are_nobody_s_stay(text: str) -> None:
    assert found(example(text)) == []


def test_an_answer_in_another_script_is_found_unless_it_was_asked_for() -> None:
    korean = "찬물을 조금 붓고 천으로 가볍게 눌러 닦아 주세요. 문지르지 마세요."
    assert found(example(korean)) == ["language"]
    asked = replace(example(korean), messages=(user("Translate this into Korean: blot it gently with cold water."),))
    assert found(asked) == []
    assert (
        found(
            replace(
                example("저는 K-pop을 좋아해요, 정말로요. 매일 들어요."),
                messages=(user("어떤 음악을 좋아해요? 자세히 알려 주세요."),),
            )
        )
        == []
    )


def test_a_refusal_is_found_only_where_help_was_wanted() -> None:
    refusal = "I'm sorry, but I can't help with that."
    assert found(example(refusal, tags=("benign",))) == ["refusal"]
    assert found(example(refusal, tags=("harmful",))) == []


def test_an_ending_that_many_share_is_reported_once() -> None:
    entries: list[LedgerEntry] = []
    quality = QualityPass(load_quality("default"), "sft", entries.append)
    for number in range(100):
        closer = "You are valid, valued and cared for." if number % 4 == 0 else f"That is way number {number}."
        quality.check(example(f"Blot it {number} times. {closer}"))
    quality.finish()
    ((entry,),) = [entries]
    assert (entry.filter, entry.excerpt) == ("closers", "You are valid, valued and cared for.")
    assert entry.reason.startswith("25 of 100 answers")


@pytest.mark.parametrize(
    "text",
    [
        "Blot it with a cloth, then pour a little cold water on it and blot again until nothing comes off.",
        "Write `<|im_end|>` behind every turn, as in:\n```\n<|im_start|>user\n```",
        "Write it so:\n~~~\n```\n~~~",
        "In principle you can, but ask a cleaner first.",
    ],
)
def test_an_answer_is_left_alone(text: str) -> None:
    assert found(example(text)) == []


def test_a_pair_that_hardly_differs_is_found() -> None:
    assert found(pair("Blot it, then rinse it.", "Blot it,  then rinse it.\n")) == ["white-space"]
    assert found(pair("Blot it, then rinse it.", "Blot it, then")) == ["beginning"]
    assert found(pair("BLOT it, then rinse it.", "Blot it,  then")) == ["beginning"]
    assert found(pair("Blot it, then rinse it.", "Rub it in.", kept=["care"])) == ["kept-principle"]


SHOWN = shown_by(load_constitution("harmless"))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("I won't help with taking her bike. If you need one, second-hand shops sell good ones.", "copied-exemplar"),
        ("The response is kind and respectful; it does not insult, mock or belittle anybody.", "copied-principle"),
    ],
)
def test_what_the_model_was_shown_is_found_in_an_answer(text: str, name: str) -> None:
    assert name in found(example(text, shown=SHOWN))
    assert name not in found(example(text))
    assert found(example("Blot it with a cloth, then pour a little cold water on it.", shown=SHOWN)) == []


def test_a_run_s_own_constitution_is_what_its_answers_are_held_against(tmp_path: Path) -> None:
    constitution = load_constitution("harmless")
    settings = {"resolved_constitution": constitution.model_dump(mode="json")}
    run = Run.open(tmp_path, IDENTITY, settings, inputs=inputs_of())
    run.commit(row_of(92, ["Blot it.", constitution.exemplars[0].revision]))
    run.close("done")
    summary = export_run(tmp_path, ExportOptions(test_share=0.0, quality=load_quality("strict")))
    assert summary.sft.left_out == {"copied-exemplar": 1}
    assert Run.read(tmp_path).manifest.settings == settings
    assert dataset(Run.read(tmp_path), "sft", ExportOptions(quality=load_quality("strict"))).num_rows == 1


LONG = (
    "Is this how it is done: you take the rug out to the yard, lay it flat on clean boards, and wait until it is dry?"
)


def test_near_duplicates_go_where_prompt_and_answers_are_nearly_an_earlier_row_s(tmp_path: Path) -> None:
    said = "No, blot it first with a cloth and cold water, then rinse it twice, and lay it out to dry in the shade."
    refusal = "I am sorry, but I do not know enough about rugs to say anything of use here; please do ask a cleaner."

    def asked(number: int, question: str, *responses: str) -> Row:
        row = row_of(number, responses)
        return replace(row, verdicts=(), prompt=replace(row.prompt, messages=(user(question),)))

    fill(
        tmp_path,
        [
            asked(1, LONG, said, refusal),  # two answers to one long prompt
            asked(2, f"{LONG} Please.", f"{said} Bye."),  # nearly the first
            asked(3, "How do I wash a car?", refusal),  # one refusal of two questions
        ],
    )
    strict, mine = ExportOptions(test_share=0.0, quality=load_quality("strict")), tmp_path / "mine.yaml"
    assert export_run(tmp_path, strict).sft.left_out == {"near-duplicate": 1}
    (entry,) = read_ledger(tmp_path / LEDGER, "near-duplicate")
    assert (entry.id, entry.place, entry.outcome) == ("junk-2", "sample 0, round 0", "left out")
    assert entry.reason == "it is nearly the same as an earlier row: junk-1, sample 0, round 0"
    assert dataset(Run.read(tmp_path), "sft", strict).num_rows == 3
    mine.write_text("filters:\n  near-duplicate: report\n")
    summary = export_run(tmp_path, ExportOptions(test_share=0.0, quality=load_quality(str(mine))))
    assert (summary.sft.train, summary.sft.reported) == (4, {"near-duplicate": 1})
    assert export_run(tmp_path, ExportOptions(test_share=0.0)).sft.left_out == {}


def test_an_announcement_is_cleaned_beside_the_original() -> None:
    text = 'Here is a better answer:\n\n"Blot it with a cloth."'
    kept, (entry,) = looked_at(example(text), load_quality("default"))
    assert kept is not None
    assert kept.answers == {"completion": "Blot it with a cloth."}
    assert kept.cleaned_from == {"completion": text}
    assert (entry.outcome, entry.filter) == ("cleaned", "announcement")


def test_what_is_left_of_an_announcement_goes_through_the_other_filters() -> None:
    kept, (entry,) = looked_at(
        example("Here is the revised response: The response does not help them."), load_quality("default")
    )
    assert kept is None
    assert (entry.outcome, entry.filter) == ("left out", "critique")
    kept, (entry,) = looked_at(example("I have rewritten the answer."), load_quality("default"))
    assert (kept, entry.filter, entry.outcome) == (None, "announcement", "left out")


def test_a_rejected_answer_costs_the_pair_only_where_that_is_asked_for() -> None:
    item = pair("Blot it, then rinse it.", "The response does not help them.")
    assert [entry.outcome for entry in looked_at(item, load_quality("default"))[1]] == ["reported"]
    kept, (entry,) = looked_at(item, load_quality("strict"))
    assert (kept, entry.field, entry.outcome) == (None, "rejected", "left out")


@given(st.text(), st.text(), st.text())
def test_nothing_is_left_out_unseen_and_none_changes_nothing(chosen: str, rejected: str, critique: str) -> None:
    item = pair(chosen, rejected, critiques={"chosen": critique})
    assert looked_at(item, load_quality("none")) == (item, [])
    kept, entries = looked_at(item, load_quality("strict"))
    assert (kept is None) == ([entry.outcome for entry in entries] == ["left out"])
    for entry in entries:
        assert 0 <= entry.start <= entry.end


def test_a_file_sets_each_filter(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: none\nfilters:\n  one-word: drop\n")
    quality = load_quality(str(path))
    assert quality.actions["one-word"] == "drop"
    assert quality.actions["critique"] == "off"
    assert looked_at(example("Yes."), quality)[0] is None
    assert str(quality).startswith("mine.yaml ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("filters:\n  nonsense: drop\n", "mine.yaml:2: there is no filter 'nonsense'"),
        ("filters:\n  loop: mend\n", "mine.yaml:2: the action of loop is"),
        ("filters:\n  loop: clean\n", "mine.yaml:2: loop cannot clean"),
        ("filter: {}\n", "mine.yaml:1: there is no key 'filter'"),
        ("extends: best\n", "extends is default, strict or none"),
        ("rejected: perhaps\n", "rejected is true or false"),
        ("- loop\n", "a quality file is a mapping"),
    ],
)
def test_a_file_that_is_none_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=told):
        load_quality(str(path))
    with pytest.raises(UsageError, match="no quality 'best'"):
        load_quality("best")


def test_the_page_has_every_filter_with_its_actions() -> None:
    page = (Path(__file__).parent.parent / "docs" / "quality.md").read_text()
    for one in FILTERS.values():
        assert f"| `{one.name}` | {one.scope} | {one.default} | {one.strict} | {one.reason}" in page, one.name


def test_what_leaves_out_by_default_is_right_on_labelled_texts() -> None:
    for file in LABELS:
        for name, counted in count(file).items():
            found, labelled = counted["right"] + counted["wrong"], counted["right"] + counted["missed"]
            if FILTERS[name].default in ("drop", "clean"):
                assert counted["right"] >= 0.95 * found, name
                assert labelled >= 40, name


def row_of(number: int, responses: Sequence[str]) -> Row:
    traces = tuple(Trace(sample, 0, text, (), text, False) for sample, text in enumerate(responses))
    prompt = Prompt(f"junk-{number}", number, (user(QUESTION),), ())
    return Row(prompt, traces, (verdict("response:0", "response:1", 0.9, 0.8),), Usage(1, 1, 0, 1), PROVENANCE)


JUNK = row_of(90, ["The response does not help them.", "Here is the revised response: Blot it with a cloth."])


def test_an_export_leaves_out_cleans_and_lists_and_says_so(tmp_path: Path) -> None:
    fill(tmp_path, [make_row(0), JUNK, row_of(91, ["Rub it.", "Rub it."])])
    summary = export_run(tmp_path, ExportOptions(test_share=0.0))
    assert summary.sft.left_out == {"critique": 1, "duplicate": 1}
    assert summary.sft.cleaned == {"announcement": 1}
    assert summary.preference.left_out == {"critique": 1, "identical": 1}
    entries = list(read_ledger(tmp_path / LEDGER))
    assert [(entry.id, entry.filter, entry.outcome) for entry in entries if entry.dataset == "sft"] == [
        ("junk-90", "critique", "left out"),
        ("junk-90", "announcement", "cleaned"),
        ("junk-91", "duplicate", "left out"),
    ]
    rows = pq.read_table(tmp_path / "sft" / "train.parquet").to_pylist()
    (cleaned,) = (row for row in rows if row["cleaned_from"])
    assert cleaned["completion"][0]["content"] == cleaned["messages"][-1]["content"] == "Blot it with a cloth."
    assert cleaned["cleaned_from"] == [{"field": "completion", "text": JUNK.traces[1].response}]
    card = (tmp_path / "README.md").read_text()
    assert "| sft | critique | 1 |" in card
    assert "| sft | cleaned | announcement | 1 |" in card
    assert [entry.id for entry in read_ledger(tmp_path / LEDGER, "identical")] == ["junk-91"]


def test_the_same_rows_give_the_same_ledger_and_none_is_as_it_was(tmp_path: Path) -> None:
    fill(tmp_path, [make_row(0), JUNK])
    ledgers = []
    for _ in range(2):
        export_run(tmp_path, ExportOptions())
        ledgers.append((tmp_path / LEDGER).read_bytes())
    assert ledgers[0] == ledgers[1]
    summary = export_run(tmp_path, ExportOptions(test_share=0.0, quality=load_quality("none")))
    assert (summary.sft.train, summary.sft.left_out, summary.quality) == (4, {}, "none")
    assert "cleaned_from" not in pq.read_schema(tmp_path / "sft" / "train.parquet").names


def test_what_is_no_ledger_is_told(tmp_path: Path) -> None:
    (tmp_path / "ledger.parquet").write_text("nonsense")
    for name in ("ledger.parquet", "absent.parquet"):
        with pytest.raises(InputError, match="cannot be read as a ledger"):
            list(read_ledger(tmp_path / name))


@given(st.data())
def test_a_hint_is_in_everything_that_its_filter_finds(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(name for name, one in FILTERS.items() if one.hint is not None)))
    text = data.draw(st.from_regex(WRITTEN[name]))
    spans = FILTERS[name].find(ReadItem(example(text)), "completion")
    assert not spans or name in found(example(text))
