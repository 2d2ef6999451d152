"""GGUF files: what names one, what refuses one and says the way out. `tests/real` opens and converts a real one."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import cai
from cai.cli.models import models
from cai.core.errors import ModelError
from cai.models.checkpoint.fingerprint import model_label
from cai.models.checkpoint.resolve import Checkpoint
from cai.models.spec import ModelSpec
from cai.train.model import find_source
from cai.train.settings import AdapterSettings


def _gguf(directory: Path, name: str = "small.Q4_1.gguf", content: bytes = b"GGUF and more") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_bytes(content)
    return path


def _adapter(directory: Path, base: Path) -> Path:
    directory.mkdir()
    (directory / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base), "r": 1}))
    return directory


def test_a_file_and_a_directory_with_nothing_but_one_are_the_same_checkpoint(tmp_path: Path) -> None:
    path = _gguf(tmp_path / "model")
    found = [Checkpoint.resolve(str(place)) for place in (path, path.parent)]
    assert {(one.base, one.tokenizer, one.adapter) for one in found} == {(str(path), str(path), None)}
    found[0].check_files()
    assert found[0].label == found[1].label
    before = found[0].label
    path.write_bytes(b"GGUF and less")
    assert model_label(str(path)) != before
    assert before.startswith("model/small.Q4_1.gguf#")


def test_a_directory_with_a_config_stays_what_it_was_and_one_with_several_files_is_refused(tmp_path: Path) -> None:
    path = _gguf(tmp_path / "model")
    (path.parent / "config.json").write_text("{}")
    assert Checkpoint.resolve(str(path.parent)).base == str(path.parent)
    _gguf(tmp_path / "two", "a.gguf")
    _gguf(tmp_path / "two", "b.gguf")
    with pytest.raises(ModelError, match=r"holds 2 GGUF files: name one of them, as .*a\.gguf$"):
        Checkpoint.resolve(str(tmp_path / "two"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git-LFS pointer"),
        (b"", "is no GGUF file, though it is called one"),
        (b"PK\x03\x04", "is no GGUF file, though it is called one"),
    ],
)
def test_a_file_that_is_none_is_told_before_anything_is_loaded(tmp_path: Path, content: bytes, said: str) -> None:
    path = _gguf(tmp_path, content=content)
    with pytest.raises(ModelError, match=said):
        Checkpoint.resolve(str(path)).check_files()


def test_training_and_adapters_refuse_with_the_way_out(tmp_path: Path) -> None:
    path = _gguf(tmp_path / "model")
    way_out = "cai models convert .*gguf DIR"
    with pytest.raises(ModelError, match=f"training needs weights that are not quantized.*{way_out}"):
        find_source(ModelSpec.checkpoint(str(path)), AdapterSettings())
    adapter = _adapter(tmp_path / "adapter", path)
    for name in (f"{path}+{adapter}", str(adapter)):
        with pytest.raises(ModelError, match=f"is an adapter, which needs it.*{way_out}"):
            Checkpoint.resolve(name)


def test_converting_refuses_what_it_would_overwrite_and_what_is_no_gguf_file(tmp_path: Path) -> None:
    path = _gguf(tmp_path / "model")
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("kept")
    with pytest.raises(ModelError, match="is there already: name a directory that is new or empty"):
        cai.convert_model(path, out)
    assert (out / "mine").read_text() == "kept"
    with pytest.raises(ModelError, match="is there already"):
        cai.convert_model(path, path)
    with pytest.raises(ModelError, match="is no GGUF file: there is nothing to convert"):
        cai.convert_model("owner/name", tmp_path / "new")


def test_a_conversion_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = _gguf(tmp_path / "model")
    result = CliRunner().invoke(models, ["convert", str(path), str(tmp_path / "new")])
    assert isinstance(result.exception, ModelError)
    assert str(path) in str(result.exception)
    assert sorted(place.name for place in tmp_path.iterdir()) == ["model"]
