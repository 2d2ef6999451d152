"""The measurements of training: equal work on both sides, honest clocks, command lines that both understand."""

import importlib
import io
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest
import torch
import transformers
from click.testing import CliRunner
from datasets import Dataset
from rich.console import Console
from trl.scripts import dpo as trl_dpo
from trl.scripts import sft as trl_sft

from benchmarks import agreement, generation, gpu, orpo, padding, reference, rollouts, training
from benchmarks.device import peak_operations
from benchmarks.examples import ONLINE, Method, useful_tokens, write_examples
from benchmarks.llama import SHAPES, write_llama
from benchmarks.processes import MeasuringError, timed
from benchmarks.trainers import Took, Work, cai_arguments, train_with_cai, train_with_trl, trl_command
from cai.cli.main import cai
from cai.train.methods.dpo import build_dpo
from cai.train.trainers import references
from tests.train_context import CHECKPOINT, make_context, pair

TINY: dict[str, int | bool | None] = {
    **SHAPES[1],
    "vocab_size": 2048,
    "hidden_size": 32,
    "head_dim": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
}
METHODS: tuple[Method, ...] = ("sft", "dpo")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return transformers.AutoTokenizer.from_pretrained(CHECKPOINT)


@pytest.mark.parametrize("method", METHODS)
def test_examples_vary_in_length_and_are_the_same_every_time(tmp_path: Path, tokenizer: Any, method: Method) -> None:
    one, two = (write_examples(tmp_path / name, method, 100) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    column = "completion" if method == "sft" else "rejected"
    lengths = sorted(len(orjson.loads(line)[column][0]["content"].split()) for line in one.read_bytes().splitlines())
    assert lengths[0] >= 5
    assert 40 < lengths[50] < 90
    assert 3 * lengths[50] < lengths[-1] <= 300
    context = transformers.AutoConfig.from_pretrained(CHECKPOINT).max_position_embeddings
    longest = max(one.read_bytes().splitlines(), key=len)
    (tmp_path / "longest.jsonl").write_bytes(longest)
    assert useful_tokens(tmp_path / "longest.jsonl", method, tokenizer) < context * (1 if method == "sft" else 2)


def test_useful_tokens_are_those_of_every_sequence(tmp_path: Path, tokenizer: Any) -> None:
    row = pair("Can I rest?", "Ask a doctor.", "No.")
    (tmp_path / "pair.jsonl").write_bytes(orjson.dumps(row))
    (tmp_path / "one.jsonl").write_bytes(orjson.dumps({"prompt": row["prompt"], "completion": row["chosen"]}))
    whole = [
        len(tokenizer.apply_chat_template(row["prompt"] + row[name])["input_ids"]) for name in ("chosen", "rejected")
    ]
    assert useful_tokens(tmp_path / "pair.jsonl", "dpo", tokenizer) == sum(whole)
    assert useful_tokens(tmp_path / "one.jsonl", "sft", tokenizer) == whole[0]


@pytest.fixture
def work(tmp_path: Path, tokenizer: Any) -> dict[Method, Work]:
    """Small work on a small random Llama, made as the large ones are."""
    parameters = write_llama(tmp_path / "model", TINY, "cpu")
    assert parameters == transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model").num_parameters()
    works: dict[Method, Work] = {}
    for method in METHODS:
        data = write_examples(tmp_path / method, method, 16)
        works[method] = Work(method, tmp_path / "model", data, useful_tokens(data, method, tokenizer))
    return works


ADDED: list[tuple[Sequence[str], Sequence[str]]] = [
    (gpu.options("trl", trained=trained, device="cpu"), gpu.options("cai", trained=trained, device="cpu"))
    for trained in ("all", "lora")
]


def test_both_sides_understand_every_command_line(tmp_path: Path, work: dict[Method, Work]) -> None:
    for method, parser in (("sft", trl_sft.make_parser()), ("dpo", trl_dpo.make_parser())):
        one = work[method]  # type: ignore[index]
        for trl, ours in ADDED:
            _, config, model, _ = parser.parse_args_and_config(
                trl_command(one, tmp_path / "trl", trl)[2:], fail_with_unknown_args=True
            )
            assert (config.num_train_epochs, config.use_cpu) == (1, True)
            assert model.use_peft == ("--adapter" in ours)
            done = CliRunner().invoke(cai, [*cai_arguments(one, tmp_path / "cai", ours), "--dry-run"])
            assert done.exit_code == 0, done.output
            plan = orjson.loads(done.stdout)
            if "--batch-size" in ours:  # equal settings
                assert config.per_device_train_batch_size == plan["hardware"]["micro_batch"]
                assert config.gradient_checkpointing == plan["hardware"]["checkpointing"]
                if "--bf16" in trl:  # else each side does as a GPU would have it, which this device is not
                    assert config.bf16 == plan["hardware"]["bfloat16"]
                assert plan["data"]["test"] == 0
            assert (plan["model"]["adapter_parameters"] > 0) == model.use_peft


def test_the_reference_pass_has_a_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = references.SoftDPOTrainer
    file = tmp_path / "seconds"

    def build(_arguments: list[str]) -> None:
        context = make_context(tmp_path, "dpo", "pairs", [pair("Can I rest?", "Ask a doctor.", "No.")] * 8)
        trainer = build_dpo(context)
        assert isinstance(trainer, original)
        dataset: Dataset = trainer.train_dataset
        assert "ref_chosen_logps" in dataset.column_names

    monkeypatch.setattr(reference, "cai", build)
    monkeypatch.setattr(references, "SoftDPOTrainer", original)  # put back what the command replaces
    reference.main(file, [])
    assert float(file.read_text()) > 0


def took(tokens: int, loop: float) -> Took:
    return Took(tokens, loop, loop + 10, loop)


def equal_work(folder: Path, method: Method) -> training.Work:
    data = write_examples(folder / method, method, 16)
    return training.Work(method, CHECKPOINT, data, 1000, folder / "reward", "cpu")


@pytest.mark.parametrize("method", training.METHODS)
def test_settings_are_equal_where_they_decide_the_work(tmp_path: Path, method: Method) -> None:
    work = equal_work(tmp_path, method)
    script: Any = orpo if method == "orpo" else importlib.import_module(f"trl.scripts.{method}")
    _, config, model, *_ = script.make_parser().parse_args_and_config(
        training.trl_arguments(work, tmp_path / "trl"), fail_with_unknown_args=True
    )
    arguments = training.cai_arguments(work, tmp_path / "cai")
    if method in ONLINE:  # a plan looks for the folder alone
        work.reward_model.mkdir()
    done = CliRunner().invoke(cai, [*arguments, "--dry-run"])
    assert done.exit_code == 0, done.output
    plan = orjson.loads(done.stdout)
    ours, hardware = plan["settings"], plan["hardware"]
    assert (config.num_train_epochs, config.use_cpu, model.dtype) == (1, True, hardware["weights"])
    assert ours["epochs"] == 1
    assert config.per_device_train_batch_size == hardware["micro_batch"] == ours["batch_size"]
    assert config.gradient_checkpointing == hardware["checkpointing"]
    assert config.bf16 == hardware["bfloat16"]
    assert plan["data"]["test"] == 0
    if method in ONLINE:
        assert (config.num_generations, config.max_completion_length) == (ours["group"], ours["max_tokens"])
        assert (config.beta, config.temperature) == (ours["kl_penalty"], ours["temperature"])


def took_equal(tokens: int, loop: float) -> training.Took:
    return training.Took(tokens, loop, int(loop))


def test_the_ratio_is_of_median_speeds() -> None:
    trl = (took_equal(100, 10), took_equal(100, 20), took_equal(100, 40))
    compared = training.Comparison("sft", trl, (took_equal(90, 9), took_equal(90, 3), took_equal(90, 90)))
    assert (compared.speed("trl"), compared.speed("cai")) == (5, 10)
    assert compared.ratio == compared.as_json()["ratio"] == 2
    assert (compared.memory("trl"), compared.memory("cai")) == (20, 9)


@pytest.mark.parametrize(("seconds", "code"), [(4.0, 0), (6.0, 1)])
def test_being_slower_than_trl_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, code: int
) -> None:
    order: list[str] = []

    def stand_in(side: training.Side, work: training.Work) -> training.Took:
        order.append(side)
        return took_equal(work.tokens, 5.0 if side == "trl" else seconds)

    monkeypatch.setattr(training, "train", stand_in)
    monkeypatch.setattr(training, "prepare", lambda *_, rewarded: (CHECKPOINT, tmp_path))
    results = tmp_path / "training.json"
    chosen = ["--method", "sft", "--method", "kto", "--runs", "2"]
    done = CliRunner().invoke(training.main, [*chosen, "--examples", "16", "--results", str(results)])
    assert done.exit_code == code, done.output
    assert order == ["cai", "trl", "trl", "cai", "cai", "trl"] * 2  # the first of each warms up
    written = orjson.loads(results.read_bytes())
    assert {"date", "machine", "versions"} < set(written)
    assert [row["ratio"] for row in written["comparisons"]] == [pytest.approx(5 / seconds)] * 2
    assert len(written["comparisons"][0]["trl"]) == 2


@pytest.mark.slow
def test_a_training_that_leaves_examples_out_is_no_measurement(tmp_path: Path) -> None:
    work = equal_work(tmp_path, "sft")
    too_long = {"prompt": [{"role": "user", "content": "word " * 2000}], "completion": []}
    too_long["completion"] = [{"role": "assistant", "content": "No."}]
    work.data.write_bytes(work.data.read_bytes() + orjson.dumps(too_long))
    with pytest.raises(MeasuringError, match="did not train on all"):
        training.run_cai(work, tmp_path / "out")


def test_every_way_to_make_batches_has_all_examples() -> None:
    rows = padding.examples(20)
    tokens = sorted(token for row in rows for token in row["input_ids"])
    for name, made in padding.arrangements(rows).items():
        assert sorted(token for batch in made for row in batch for token in row["input_ids"]) == tokens, name
        assert all(len(batch) <= padding.BATCH for batch in made)


def test_both_sides_draw_in_turn_and_the_first_time_does_not_count() -> None:
    order: list[tuple[str, int]] = []

    def side(name: str, lengths: list[int]) -> Any:
        def draw(run: int) -> list[list[int]]:
            order.append((name, run))
            return [[0] * length for length in lengths]

        return draw

    one, two = rollouts.speeds(side("trl", [1, 2]), side("cai", [3, 4]), 2)
    assert order == [("trl", 0), ("cai", 0), ("trl", 1), ("cai", 1), ("trl", 2), ("cai", 2)]
    assert [(run["tokens"], run["longest"]) for run in one + two] == [(3, 2)] * 2 + [(7, 4)] * 2


@pytest.mark.slow
@pytest.mark.parametrize("method", training.METHODS)
def test_both_sides_of_every_method_are_measured(tmp_path: Path, method: Method) -> None:
    model, reward = training.prepare(tmp_path, "cpu", rewarded=True)
    data = write_examples(tmp_path / method, method, 16 if method not in ONLINE else 8)
    for side in training.SIDES:
        measured = training.train(side, training.Work(method, model, data, 1000, reward, "cpu"))
        assert measured.tokens > 100
        assert measured.loop > 0
        assert measured.memory > 2**20


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("NVIDIA TITAN V", None),
    ],
)
def test_known_devices_have_a_peak(name: str, peak: float | None) -> None:
    assert peak_operations(name) == peak


def test_shapes_are_as_large_as_they_say() -> None:
    for billions, shape in SHAPES.items():
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**shape))
        assert model.num_parameters() / 1e9 == pytest.approx({1: 1.236, 8: 8.030}[billions], abs=0.001)


def test_a_failure_is_told_in_one_line_and_not_in_the_launcher_s() -> None:
    lines = [
        "ended with 1:",
        "torch.OutOfMemoryError: CUDA out of memory.",
        "Traceback …",
        "CalledProcessError: Error: 1",
    ]
    assert gpu.reason(MeasuringError("\n".join(lines))) == lines[1]
    assert gpu.reason(MeasuringError("trl ended with 1: alas")) == "trl ended with 1: alas"


def test_measured_trainings_are_shown_with_what_is_unknown() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    gpu.print_measured(
        console,
        [
            gpu.Measured("sft", "all", "trl", None, "out of memory", 0, None),
            *(gpu.Measured("dpo", "lora", "cai", took(5000, loop), None, 2**31, None) for loop in (1, 2, 50)),
        ],
    )
    text = console.export_text()
    assert ["sft,", "all", "weights", "trl", "0", "failed"] in [line.split() for line in text.splitlines()]
    assert "failed: out of memory" in text
    assert "2,500" in text
    assert "unknown" in text
    assert "2.0" in text


def test_sides_take_turns_and_what_failed_is_not_tried_again(
    tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tokenizer.save_pretrained(tmp_path / "model")
    tried: list[tuple[str, str]] = []

    def train(side: gpu.Side, work: Work, *, trained: gpu.Trained, device: str) -> Took:
        assert device == "cuda"
        tried.append((trained, side))
        if (trained, side) == ("all", "trl"):
            raise MeasuringError("CUDA out of memory.")
        return took(work.tokens, 2)

    monkeypatch.setattr(gpu, "train", train)
    monkeypatch.setattr(gpu, "write_llama", lambda *_: 10)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "none")
    measured = list(gpu.measure(tmp_path, 1, 16, 3, ["sft"], ["all", "lora"]))
    assert tried == [(one.trained, one.side) for one in measured]
    assert [side for trained, side in tried if trained == "all"] == ["trl", "cai", "cai", "cai"]
    assert [side for trained, side in tried if trained == "lora"] == ["trl", "cai", "cai", "trl", "trl", "cai"]
    assert [one.failure for one in measured if one.took is None] == ["CUDA out of memory."]


@pytest.mark.skipif(torch.cuda.is_available(), reason="would measure")
@pytest.mark.parametrize("benchmark", [gpu, generation])
def test_without_cuda_nothing_is_measured(tmp_path: Path, benchmark: ModuleType) -> None:
    results = tmp_path / "gpu.json"
    done = CliRunner().invoke(benchmark.main, ["--results", str(results)])
    assert done.exit_code == 2
    assert done.output == "Nothing was measured: torch finds no usable CUDA device here.\n"
    assert not results.exists()


def write_evaluation(loop: Path, low: float, high: float, status: str = "done") -> Path:
    figures = [
        {"name": "breaks any principle", "low": low, "high": high, "unit": "share"},
        {"name": "words", "low": low * 900, "high": high * 900, "unit": "number"},
        {"name": "answered", "low": None, "high": None, "unit": "share"},
    ]
    (loop / "evaluation").mkdir(parents=True)
    told = {"status": status, "result": {"models": [{"label": "base", "measurements": figures}]}}
    (loop / "evaluation" / "evaluation.json").write_bytes(orjson.dumps(told))
    return loop


@pytest.mark.parametrize(("low", "code"), [(0.55, 0), (0.65, 1)])
def test_two_loops_agree_when_their_intervals_meet(tmp_path: Path, low: float, code: int) -> None:
    one = write_evaluation(tmp_path / "one", 0.4, 0.6)
    two = write_evaluation(tmp_path / "two", low, 0.9)
    for pair_of in ((one, two), (two, one)):
        done = CliRunner().invoke(agreement.main, [str(path) for path in pair_of])
        assert done.exit_code == code, done.output
        assert f"{1 - code} of 1 shares agree" in done.output


def test_a_loop_that_has_not_ended_is_not_compared(tmp_path: Path) -> None:
    one = write_evaluation(tmp_path / "one", 0.4, 0.6)
    two = write_evaluation(tmp_path / "two", 0.4, 0.6, status="running")
    for other in (two, tmp_path / "three"):
        done = CliRunner().invoke(agreement.main, [str(one), str(other)])
        assert done.exit_code == 2
        assert "no finished evaluation" in done.output


def test_a_command_sees_more_of_an_environment() -> None:
    assert timed(["sh", "-c", "echo $CAI_MEASURED"], {"CAI_MEASURED": "yes"}).output == b"yes\n"


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["all", "lora"])
@pytest.mark.parametrize("method", METHODS)
def test_both_sides_train_to_the_end(work: dict[Method, Work], method: Method, trained: gpu.Trained) -> None:
    one = work[method]
    for run, side in ((train_with_trl, "trl"), (train_with_cai, "cai")):
        measured = run(one, gpu.options(side, trained=trained, device="cpu"))  # type: ignore[arg-type]
        assert measured.tokens == one.tokens
        assert 0 < measured.loop < measured.wall
