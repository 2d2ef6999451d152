"""A checkpoint and an adapter, damaged at random: each opens as before, or is refused in one sentence.

What nothing can tell is left out of "as before": a flipped bit of a weight that stays a number, of the configuration,
of the tokenizer or of the template makes another model, whole in itself. Such damage may not raise anything else.
"""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cai.core.errors import CaiError
from cai.models.conversation import ChatTokenizer
from cai.models.local.loading import Loaded, load
from tests.test_engines_checkpoint import make_adapter, put_pointer
from tests.train_context import CHECKPOINT

pytestmark = pytest.mark.chaos
CASES = max(40, int(os.environ.get("CAI_CHAOS_CASES", "2000")) // 50)
WHOLE = ("model.safetensors", "adapter_model.safetensors", "config.json", "adapter_config.json", "tokenizer.json")

Damage = Callable[[Path, random.Random], None]


def flip(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(draw.randint(1, 3)):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def flip_header(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[draw.randrange(min(len(data), 400))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def zero(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    begins = draw.randrange(len(data))
    ends = min(len(data), begins + draw.randint(1, 4096))
    data[begins:ends] = bytes(ends - begins)
    path.write_bytes(data)


def truncate(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def point(path: Path, _draw: random.Random) -> None:
    put_pointer(path)


def delete(path: Path, _draw: random.Random) -> None:
    path.unlink()


def rename_keys(path: Path, draw: random.Random) -> None:
    if path.suffix == ".safetensors":
        tensors = {key: value.clone() for key, value in load_file(path).items()}
        names = draw.sample(sorted(tensors), draw.randint(1, len(tensors)))
        save_file({("module." if key in names else "") + key: value for key, value in tensors.items()}, path)
    elif path.suffix == ".json":
        value = json.loads(path.read_text())
        name = draw.choice(sorted(value))
        value[f"x{name}"] = value.pop(name)
        path.write_text(json.dumps(value))


def retype(path: Path, draw: random.Random) -> None:
    if path.suffix == ".json":
        value = json.loads(path.read_text())
        value[draw.choice(sorted(value))] = draw.choice([None, -1, 10**30, "x", [], {}, [[]], 1.5, True])
        path.write_text(json.dumps(value))


TOLD: tuple[Damage, ...] = (truncate, point)
DAMAGES: tuple[Damage, ...] = (flip, flip_header, zero, truncate, point, delete, rename_keys, retype)


def greedy(loaded: Loaded) -> list[int]:
    """Return the tokens that the model says to a question."""
    prompt = ChatTokenizer(loaded.tokenizer, None).encode_prompt([{"role": "user", "content": "Can I rest?"}])
    with torch.inference_mode():
        said = list(prompt)
        for _ in range(8):
            logits = loaded.model(input_ids=torch.tensor([said]), logits_to_keep=1).logits[0, -1]
            said.append(int(logits.argmax()))
    return said


def cases(source: Path, workshop: Path) -> Iterator[tuple[str, Path, Damage]]:
    draw = random.Random(20261125)
    names = sorted(path.name for path in source.iterdir() if path.suffix in (".json", ".jinja", ".safetensors"))
    for number in range(CASES):
        name, damage = names[number % len(names)], DAMAGES[draw.randrange(len(DAMAGES))]
        copy = workshop / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(source, copy)
        damage(copy / name, draw)
        yield f"{number}: {damage.__name__} {name}", copy, damage


def check(source: Path, workshop: Path) -> None:
    before = greedy(load(str(source), "cpu", "float32"))
    wrong = []
    for case, copy, damage in cases(source, workshop):
        try:
            after = greedy(load(str(copy), "cpu", "float32"))
        except CaiError as refused:
            if "\n" in str(refused):
                wrong.append(f"{case}: {refused}")
        except Exception as error:
            wrong.append(f"{case}: {type(error).__name__}: {error}")
        else:
            weights = copy / case.split()[-1]
            told = damage in TOLD or (damage is rename_keys and weights.suffix == ".safetensors")
            if told and weights.name in WHOLE and after != before:
                wrong.append(f"{case}: says something else")
    assert not wrong, "\n".join(wrong)


def test_a_damaged_checkpoint_opens_as_before_or_is_refused(tmp_path: Path) -> None:
    check(CHECKPOINT, tmp_path)


def test_a_damaged_adapter_opens_as_before_or_is_refused(tmp_path: Path) -> None:
    adapter = make_adapter(CHECKPOINT, tmp_path / "adapter")
    with safe_open(adapter / "adapter_model.safetensors", framework="np") as file:
        assert len(list(file.keys())) == 20
    check(adapter, tmp_path)
