"""Datasets saved on disk, and on a hub that a local builder stands in for."""

from pathlib import Path
from typing import Any

import datasets
import orjson
import pytest

from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.core.records import Failure, Prompt
from cai.data import InputOptions, open_prompts
from cai.data.examples.opening import open_examples

ROWS = [
    {"id": number, "prompt": [{"role": "user", "content": f"question {number}"}], "tags": ["dose"], "other": 1.5}
    for number in range(600)
]


@pytest.fixture(autouse=True)
def _quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def numbers(source: Path | str, **options: Any) -> list[str]:
    items = list(open_prompts(DataSource.parse(str(source)), InputOptions(**options)))
    assert all(isinstance(item, Prompt) and item.tags == ("dose",) for item in items)
    return [item.id for item in items]


def test_a_saved_dataset_is_read_and_shuffled_as_a_whole(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved", num_shards=2)
    straight = [str(number) for number in range(600)]
    assert numbers(tmp_path / "saved") == straight
    mixed = numbers(tmp_path / "saved", shuffle=True, seed=1)
    assert mixed != straight
    assert sorted(mixed) == sorted(straight)
    assert numbers(tmp_path / "saved", limit=3) == ["0", "1", "2"]


def test_a_saved_dataset_tells_size_content_and_faults(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    datasets.Dataset.from_dict({"text": ["one", "", "three"]}).save_to_disk(path)
    prompts = open_prompts(DataSource.parse(str(path)), InputOptions())
    one, two, three = list(prompts)
    assert prompts.size == 3
    assert isinstance(two, Failure)
    assert two.cause == "the prompt is empty"
    assert (one.ordinal, three.ordinal) == (0, 2)
    datasets.Dataset.from_dict({"text": ["one", "", "four"]}).save_to_disk(tmp_path / "other")
    assert open_prompts(DataSource.parse(str(tmp_path / "other")), InputOptions()).fingerprint != prompts.fingerprint
    with pytest.raises(InputError, match="has no column 'prompt' for the prompt: its columns are text"):
        open_prompts(DataSource.parse(str(path)), InputOptions(prompt_column="prompt"))
    with pytest.raises(InputError, match="single dataset without splits; leave --split out"):
        open_prompts(DataSource.parse(str(path)), InputOptions(split="train"))


def test_rows_of_a_saved_dataset_are_numbered_across_batches(tmp_path: Path) -> None:
    texts = ["" if number == 600 else str(number) for number in range(1, 701)]
    datasets.Dataset.from_dict({"text": texts}).save_to_disk(tmp_path / "saved")
    failures = [
        item
        for item in open_prompts(DataSource.parse(str(tmp_path / "saved")), InputOptions())
        if isinstance(item, Failure)
    ]
    assert [(failure.id, failure.ordinal) for failure in failures] == [("broken row saved:600", 599)]


def test_a_saved_dictionary_of_splits_wants_a_split(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    both = {"train": datasets.Dataset.from_list(ROWS[:5]), "test": datasets.Dataset.from_list(ROWS[5:8])}
    datasets.DatasetDict(both).save_to_disk(path)
    assert numbers(path, split="test") == ["5", "6", "7"]
    with pytest.raises(InputError, match="has the splits train, test; say which with --split"):
        open_prompts(DataSource.parse(str(path)), InputOptions())
    with pytest.raises(InputError, match="has no split 'dev'; it has train, test"):
        open_prompts(DataSource.parse(str(path)), InputOptions(split="dev"))
    datasets.DatasetDict({"only": both["train"]}).save_to_disk(tmp_path / "single")
    assert len(numbers(tmp_path / "single")) == 5


def test_a_damaged_saved_dataset_is_told(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(InputError, match="is not a saved dataset that can be loaded: ") as caught:
        open_prompts(DataSource.parse(str(tmp_path / "saved")), InputOptions())
    assert "\n" not in str(caught.value)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the name `owner/name` stand for a directory of JSONL files, one a split."""
    directory = tmp_path / "hub"
    directory.mkdir()
    for split, rows in (("train", ROWS[:500]), ("test", ROWS[500:])):
        (directory / f"{split}.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    real = datasets.load_dataset_builder

    def stand_in(name: str) -> Any:
        assert name == "owner/name"
        files = {path.stem: str(path) for path in sorted(directory.glob("*.jsonl"))}
        return real("json", data_files=files, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset_builder", stand_in)
    return directory


def test_a_hub_dataset_is_streamed(hub: Path) -> None:
    assert numbers("owner/name", split="test", limit=4) == ["500", "501", "502", "503"]
    first, second = (numbers("owner/name", split="train", shuffle=True, seed=seed) for seed in (1, 2))
    assert first == numbers("owner/name", split="train", shuffle=True, seed=1)
    assert first != second
    assert sorted(first) == sorted(second) == sorted(str(number) for number in range(500))
    train, test = (
        open_prompts(DataSource.parse("owner/name"), InputOptions(split=split)).fingerprint
        for split in ("train", "test")
    )
    assert train != test
    with pytest.raises(InputError, match="owner/name has the splits test, train; say which with --split"):
        open_prompts(DataSource.parse("owner/name"), InputOptions())
    with pytest.raises(InputError, match="has no column 'ask' for the prompt: its columns are id, prompt, tags, other"):
        open_prompts(DataSource.parse("owner/name"), InputOptions(split="test", prompt_column="ask"))


def test_a_hub_dataset_is_not_copied_to_be_shuffled(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("tempfile.TemporaryFile")
    assert len(numbers("owner/name", split="train", shuffle=True, limit=3)) == 3


def test_what_the_hub_says_is_cut_to_its_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ValueError("Config name is missing.\nPlease pick one among the available configs: ['main']")

    monkeypatch.setattr(datasets, "load_dataset_builder", refuse)
    with pytest.raises(InputError, match=r"could be opened on the hub: Config name is missing\.$"):
        open_prompts(DataSource.parse("owner/name"), InputOptions())


def test_a_stream_that_breaks_off_is_told(hub: Path) -> None:
    prompts = open_prompts(DataSource.parse("owner/name"), InputOptions(split="train"))
    (hub / "train.jsonl").unlink()
    with pytest.raises(InputError, match="The stream of the hub dataset owner/name broke off: "):
        list(prompts)


def test_a_hub_that_cannot_be_reached_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError) as caught:
        open_prompts(DataSource.parse("owner/name"), InputOptions())
    message = str(caught.value)
    assert message.startswith("There is no file or directory owner/name, and no dataset owner/name could be opened")
    assert "\n" not in message
    assert not caplog.records


def test_a_directory_of_saved_datasets_names_them(tmp_path: Path) -> None:
    """distilabel saves each step's dataset of a Distiset in a directory of its own."""
    rows = datasets.Dataset.from_list([{"instruction": "Why?", "generation": "Because."}])
    datasets.DatasetDict({"train": rows}).save_to_disk(tmp_path / "distiset" / "default")
    with pytest.raises(InputError) as refused:
        open_examples(DataSource.parse(str(tmp_path / "distiset")))
    assert str(refused.value) == (
        f"{tmp_path}/distiset holds datasets that were saved each for itself; name {tmp_path}/distiset/default."
    )
    opened = open_examples(DataSource.parse(str(tmp_path / "distiset" / "default")))
    assert (opened.kind, len(list(opened.examples()))) == ("supervised", 1)
