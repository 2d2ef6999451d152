"""What the reference said is used again for just the same reference and examples, and never when it is damaged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cai.train.adapters.building import adapter_config
from cai.train.methods import find_method
from cai.train.settings import AdapterSettings
from cai.train.trainers import reference_cache, references
from cai.train.trainers.reference_cache import hash_model, keep_reference, key_of, read_reference
from tests.train_context import lesson, make_context, make_model, one_thread, pair

pytestmark = pytest.mark.usefixtures("one_thread", "kept")
__all__ = ["one_thread"]

PAIRS = lesson(flipped=False)
LABELLED = [
    {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
    for row in PAIRS
    for side in ("chosen", "rejected")
]
DATA: dict[str, tuple[Any, list[dict[str, Any]]]] = {"dpo": ("pairs", PAIRS), "kto": ("labelled", LABELLED)}
COLUMN = {"dpo": "ref_chosen_logps", "kto": "ref_logps"}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that references are kept in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return tmp_path / "caches" / "cai" / "references"


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The examples that the reference is asked about, time by time."""
    asked: list[int] = []
    compute = references._compute_reference

    def counting(trainer: Any, dataset: Any, batch: int) -> list[list[float]]:
        asked.append(len(dataset))
        return compute(trainer, dataset, batch)

    monkeypatch.setattr(references, "_compute_reference", counting)
    return asked


def build(out: Path, method: str = "dpo", rows: list[dict[str, Any]] | None = None, **changes: Any) -> Any:
    kind, usual = DATA[method]
    return find_method(method).build(make_context(out, method, kind, rows or usual, **changes))


@pytest.mark.parametrize("method", list(DATA))
def test_a_second_training_takes_what_the_first_was_told(method: str, tmp_path: Path, passes: list[int]) -> None:
    one, two = (build(tmp_path / name, method) for name in ("one", "two"))
    assert passes == [len(DATA[method][1])]
    assert one.train_dataset[COLUMN[method]][:] == two.train_dataset[COLUMN[method]][:]
    assert one.remarks == ()
    assert f"{passes[0]} examples is known from an earlier training" in two.remarks[0]


CHANGES: dict[str, Callable[[], dict[str, Any]]] = {
    "a weight": lambda: {"model": _moved()},
    "the configuration": lambda: {"model": _turned()},
    "an example": lambda: {"rows": [*PAIRS[:-1], pair("Is soup fine?", "Yes, it is.", "No.")]},
    "the order": lambda: {"rows": [*PAIRS[1:], pair("Is soup fine?", "Yes, it is.", "No.")]},
    "the length": lambda: {"max_length": 24},
    "the arithmetic": lambda: {"bf16": True},
}


def _turned() -> Any:
    model = make_model()
    model.config.rope_parameters = {**model.config.rope_parameters, "rope_theta": 500.0}
    return model


def _moved() -> Any:
    model = make_model()
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1e-3
    return model


@pytest.mark.parametrize("what", list(CHANGES))
def test_whatever_decides_the_values_makes_them_others(what: str, tmp_path: Path, passes: list[int]) -> None:
    build(tmp_path / "one")
    build(tmp_path / "two", **CHANGES[what]())
    assert len(passes) == 2


def test_an_adapter_s_reference_is_its_base(tmp_path: Path, passes: list[int]) -> None:
    whole = build(tmp_path / "one")
    adapted = build(tmp_path / "two", adapter=adapter_config(AdapterSettings("lora", rank=4), "language", make_model()))
    assert len(passes) == 1
    assert whole.train_dataset["ref_chosen_logps"][:] == adapted.train_dataset["ref_chosen_logps"][:]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


def another(file: Path) -> None:
    """A whole file of the right form, under this name, of values that are not these."""
    values = {name: tensor + 1 for name, tensor in load_file(file).items()}
    file.unlink()
    keep_reference("another", {name: tensor.tolist() for name, tensor in values.items()})
    (file.parent / "another.safetensors").replace(file)


def without_words(file: Path) -> None:
    save_file(load_file(file), file)


@pytest.mark.parametrize("damage", [cut, flip, another, without_words])
def test_what_is_damaged_or_another_s_is_computed_anew(
    damage: Callable[[Path], None], tmp_path: Path, passes: list[int], kept: Path
) -> None:
    first = build(tmp_path / "one").train_dataset["ref_chosen_logps"][:]
    [file] = kept.iterdir()
    damage(file)
    assert build(tmp_path / "two").train_dataset["ref_chosen_logps"][:] == first
    build(tmp_path / "three")
    assert len(passes) == 2  # the third took what the second wrote


def test_a_folder_that_cannot_be_written_changes_nothing(tmp_path: Path, passes: list[int], kept: Path) -> None:
    kept.parent.parent.mkdir()
    kept.parent.write_text("in the way")
    for name in ("one", "two"):
        build(tmp_path / name)
    assert len(passes) == 2


def test_values_come_back_as_they_were_and_only_under_their_names() -> None:
    key = key_of({"what": 1})
    values = {"chosen": [-1.5, -2.25], "rejected": [-3.0, 0.0]}
    keep_reference(key, values)
    assert read_reference(key, ["chosen", "rejected"], 2) == [values["chosen"], values["rejected"]]
    assert read_reference(key, ["chosen", "other"], 2) is None
    assert read_reference(key, ["chosen", "rejected"], 3) is None
    assert read_reference(key_of({"what": 2}), ["chosen", "rejected"], 2) is None


def test_weights_that_are_elsewhere_have_no_name() -> None:
    model = make_model()
    assert hash_model(model) == hash_model(make_model()) != hash_model(_moved())
    next(model.parameters()).data = torch.empty(0)  # as DeepSpeed's ZeRO-3 leaves it
    assert hash_model(model) is None


def test_where_the_model_lay_is_no_part_of_its_name_and_a_full_disk_leaves_nothing(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, moved = make_model(), make_model()
    moved.config._name_or_path = "elsewhere"
    assert hash_model(model) == hash_model(moved)

    def full(*_given: Any) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reference_cache, "save", full)
    keep_reference("key", {"values": [1.0]})
    assert list(kept.iterdir()) == []
