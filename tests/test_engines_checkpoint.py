"""Checkpoints that are not what they say: told in one sentence before a token is made, whoever opens them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from cai.core.errors import ModelError
from cai.models.checkpoint.files import check_adapter, check_checkpoint
from cai.models.local.loading import load
from cai.models.reward_model import load_reward_model
from cai.models.spec import ModelSpec
from cai.train.model import find_source, load_model
from cai.train.settings import AdapterSettings
from tests.train_context import CHECKPOINT, make_model
from tests.training import save_model

NONE = AdapterSettings()
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(tmp_path / "model")


def train(place: Path) -> None:
    load_model(find_source(ModelSpec.checkpoint(str(place)), NONE), NONE, weights="float32")


def train_reward(place: Path) -> None:
    load_model(
        find_source(ModelSpec.checkpoint(str(place)), NONE),
        NONE,
        weights="float32",
        head="score",
    )


def generate(place: Path) -> None:
    load(str(place), "cpu", "auto")


def rewrite(place: Path, change: Callable[[Tensors], Tensors], name: str = "model.safetensors") -> None:
    save_file(change({key: value.clone() for key, value in load_file(place / name).items()}), place / name)


def say_config(place: Path, **values: object) -> None:
    path = place / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refused(opening: Callable[[Path], None], place: Path, *words: str) -> None:
    with pytest.raises(ModelError) as caught:
        opening(place)
    said = str(caught.value)
    assert "\n" not in said
    for word in words:
        assert word in said


OPENINGS = (generate, train, train_reward)


@pytest.mark.parametrize("opening", OPENINGS)
@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("_orig_mod.", "torch.compile"),
        ("module.", "DataParallel"),
        ("base_model.model.", "PEFT adapter that was not merged"),
        ("policy.", "strip 'policy.' from their names"),
    ],
)
def test_weights_that_a_wrapper_renamed_are_refused(
    model: Path, opening: Callable[[Path], None], before: str, words: str
) -> None:
    rewrite(model, lambda tensors: {before + key: value for key, value in tensors.items()})
    refused(opening, model, "are missing and ", words)


@pytest.mark.parametrize("opening", OPENINGS)
def test_a_layer_that_is_missing_and_one_too_many_are_refused(model: Path, opening: Callable[[Path], None]) -> None:
    rewrite(model, lambda tensors: {key: value for key, value in tensors.items() if "layers.1.mlp.up" not in key})
    refused(opening, model, "model.layers.1.mlp.up_proj.weight is missing")
    save_model(model)
    say_config(model, num_hidden_layers=1)
    refused(opening, model, "model.layers.1.input_layernorm.weight", "are not known to it")


@pytest.mark.parametrize("opening", OPENINGS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(model: Path, opening: Callable[[Path], None], value: float) -> None:
    def spoil(tensors: Tensors) -> Tensors:
        tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = value
        return tensors

    rewrite(model, spoil)
    refused(opening, model, "model.layers.1.mlp.up_proj.weight holds nan or infinity")


@pytest.mark.parametrize("opening", OPENINGS)
def test_shapes_that_do_not_fit_are_refused(model: Path, opening: Callable[[Path], None]) -> None:
    say_config(model, intermediate_size=64)
    refused(opening, model, "is (32, 48) and should be (32, 64)")


def test_a_reward_model_s_head_is_new_on_a_language_model_and_only_there(tmp_path: Path, model: Path) -> None:
    train_reward(model)
    scores = tmp_path / "scores"
    make_model(labels=1).save_pretrained(scores)
    load_reward_model(scores)
    refused(generate, shutil.copytree(scores, tmp_path / "talks"), "cannot be opened")  # it brings no tokenizer
    rewrite(scores, lambda tensors: {key: value for key, value in tensors.items() if key != "score.weight"})
    with pytest.raises(ModelError, match=r"score\.weight is missing"):
        load_reward_model(scores)
    two = tmp_path / "two"
    make_model(labels=2).save_pretrained(two)
    with pytest.raises(ModelError, match=r"score\.weight is \(2, 32\) and should be \(1, 32\)"):
        load_reward_model(two)


def test_tied_weights_are_not_missing(tmp_path: Path) -> None:
    generate(CHECKPOINT)
    train(CHECKPOINT)
    train_reward(CHECKPOINT)


@pytest.mark.parametrize("opening", OPENINGS)
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda place: put_pointer(place / "model.safetensors"), "model.safetensors is a Git-LFS pointer"),
        (lambda place: put_pointer(place / "tokenizer.json"), "tokenizer.json is a Git-LFS pointer"),
        (lambda place: put_pointer(place / "config.json"), "config.json is a Git-LFS pointer"),
        (lambda place: (place / "tokenizer.json").write_bytes(b""), "tokenizer.json is empty"),
        (lambda place: (place / "config.json").write_text("[1]"), "it holds no mapping"),
        (lambda place: (place / "config.json").write_text("{"), "is no valid JSON"),
        (lambda place: (place / "config.json").write_bytes(b"\xff\xfe"), "is no valid JSON"),
        (lambda place: (place / "config.json").write_text("[" * 100_000), "is no valid JSON"),
        (lambda place: (place / "config.json").write_text("{}"), "it has no model_type"),
        (lambda place: say_config(place, model_type="no such"), "cannot be opened"),
        (lambda place: say_config(place, model_type=["llama"]), "model"),
        (lambda place: say_config(place, hidden_size="wide"), "cannot be opened"),
        (lambda place: say_config(place, num_hidden_layers=10**9), "says 1000000000 layers"),
        (lambda place: cut(place / "model.safetensors"), "was not written whole"),
        (lambda place: (place / "model.safetensors").write_bytes(b"\xff" * 64), "was not written whole"),
        (lambda place: (place / "model.safetensors").unlink(), "there is no model.safetensors"),
        (lambda place: make_folder(place / "model.safetensors"), "is a directory"),
        (lambda place: (place / "generation_config.json").write_text("nothing"), "is no valid JSON"),
    ],
)
def test_files_that_are_not_what_they_should_be(
    model: Path, opening: Callable[[Path], None], damage: Callable[[Path], object], words: str
) -> None:
    damage(model)
    refused(opening, model, words)


def put_pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614\nsize 12345\n")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def test_an_index_is_held_to_its_word(model: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for shard, keys in halves.items():
        save_file({key: tensors[key] for key in keys}, model / shard)
    places = {key: shard for shard, keys in halves.items() for key in keys}
    index = model / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    generate(model)
    index.write_text(json.dumps({"metadata": {}, "weight_map": {**places, names[0]: "b.safetensors"}}))
    refused(check_checkpoint, model, "b.safetensors is not what", f"it does not hold {names[0]}")
    index.write_text(json.dumps({"weight_map": [1]}))
    refused(check_checkpoint, model, "it has no weight_map")
    index.write_text(json.dumps({"weight_map": places}))
    (model / "b.safetensors").unlink()
    refused(check_checkpoint, model, "b.safetensors, which model.safetensors.index.json names, is missing")


def test_a_tokenizer_larger_than_the_embedding_is_refused_before_a_token(model: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens(["<|one more|>"])
    tokenizer.save_pretrained(model)
    refused(generate, model, "'<|one more|>' is token 2048, and the embedding has 2048 rows")


def make_adapter(model: Path, directory: Path) -> Path:
    base = transformers.AutoModelForCausalLM.from_pretrained(model)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    peft.get_peft_model(base, config).save_pretrained(str(directory))
    return directory


WEIGHTS = "adapter_model.safetensors"


@pytest.mark.parametrize("opening", [generate, train])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: {f"_orig_mod.{key}": value for key, value in tensors.items()}, "torch.compile"),
        (lambda tensors: dict(list(tensors.items())[1:]), "is missing"),
        (lambda tensors: {key.replace("layers.1", "layers.7"): value for key, value in tensors.items()}, "not known"),
        (lambda tensors: {key: value[:, :3].contiguous() for key, value in tensors.items()}, "cannot be opened"),
        (lambda tensors: {key: value * float("nan") for key, value in tensors.items()}, "holds nan or infinity"),
    ],
)
def test_an_adapter_that_does_not_fit_in_whole_or_in_part_is_refused(
    tmp_path: Path, model: Path, opening: Callable[[Path], None], change: Callable[[Tensors], Tensors], words: str
) -> None:
    adapter = make_adapter(model, tmp_path / "adapter")
    opening(adapter)
    rewrite(adapter, change, WEIGHTS)
    refused(opening, adapter, words)


def test_an_adapter_s_files_are_held_to_the_same(tmp_path: Path, model: Path) -> None:
    adapter = make_adapter(model, tmp_path / "adapter")
    for name, damage, words in (
        (WEIGHTS, put_pointer, "Git-LFS pointer"),
        (WEIGHTS, cut, "was not written whole"),
        (WEIGHTS, Path.unlink, "there is no adapter_model.safetensors"),
        ("adapter_config.json", put_pointer, "adapter_config.json"),
    ):
        kept = (adapter / name).read_bytes()
        damage(adapter / name)
        refused(generate, adapter, words)
        refused(train, adapter, words)
        (adapter / name).write_bytes(kept)
    check_adapter(adapter)
