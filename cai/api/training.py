"""`train`: one method on one model and one body of data; `advise`: which method suits what data."""

import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cai.advice.outcome import Advice
from cai.advice.settings import AdviseSettings
from cai.api.given import (
    Data,
    Model,
    checkpoint_spec,
    data_source,
    data_sources,
    existing_directory,
    local_directory,
    optional_judge,
    require_log_probabilities,
)
from cai.api.options import Count, CountOfTwo, NotNegative, Positive, Seed, Share, ShareOrAll, check_own, checked
from cai.api.runs import RunDirectory as Run
from cai.api.showing import Showing
from cai.api.working import Call, Plan
from cai.core.errors import UsageError
from cai.core.machine import let_waiting_threads_sleep
from cai.train import missing_package
from cai.train.methods import METHODS, find_method, gather_settings
from cai.train.settings import Activation, AdapterKind, TaskSettings, TrainSettings

if TYPE_CHECKING:
    from cai.train.outcome import TrainSummary


@dataclass(frozen=True, slots=True)
class Training:
    """A finished training run: where the model lies, and how the training went."""

    path: Path
    summary: "TrainSummary"

    @property
    def model(self) -> str:
        """The trained model's name, for `generate`, `evaluate` and the next `train`."""
        return f"transformers:{self.path}"


def train(
    method: str,
    *,
    data: Data,
    out: str | Path,
    model: str | Path = "tiny",
    mixing_temperature: Positive = 1.0,
    revisions: Literal["final", "all"] = "final",
    labels_from: Literal["verdicts", "gates"] = "verdicts",
    quality: str = "default",
    split: str | None = None,
    shape: str | None = None,
    limit: Count | None = None,
    test_share: Share = 0.05,
    reasoning: bool = False,
    template: str | None = None,
    seed: Seed = 0,
    fresh: bool = False,
    beta: Positive = 0.1,
    labels: Literal["soft", "hard"] = "soft",
    objective: Literal["bradley-terry", "plackett-luce", "regression", "ordinal"] | None = None,
    margin: NotNegative = 0.0,
    center_rewards: NotNegative = 0.0,
    debias_length: bool = False,
    sft_term: NotNegative = 0.0,
    constitution: str | Path | None = None,
    judge: Model | None = None,
    reward_model: str | Path | Sequence[str | Path] = (),
    ensemble: Literal["penalty", "worst"] = "penalty",
    disagreement: NotNegative = 1.0,
    reward: Literal["adherence", "rubric"] = "adherence",
    group: Count = 8,
    temperature: Positive = 1.0,
    max_tokens: Count = 256,
    kl_penalty: NotNegative = 0.04,
    kl_target: Positive | None = None,
    discount: Positive = 1.0,
    gae_lambda: NotNegative = 0.95,
    clip: Positive = 0.2,
    value_clip: Positive = 0.2,
    rollout_epochs: Count = 4,
    minibatches: Count = 1,
    reward_clip: NotNegative = 5.0,
    value_learning_rate: Positive | None = None,
    pretraining_data: str | Path | None = None,
    pretraining_weight: Positive = 1.0,
    epochs: Positive | None = None,
    max_steps: Count | None = None,
    learning_rate: Positive | None = None,
    batch_size: Count | None = None,
    max_length: CountOfTwo | None = None,
    packing: bool = False,
    evaluations: Count | None = None,
    patience: Count | None = None,
    device: str = "auto",
    dtype: str = "auto",
    report_to: Sequence[str] = (),
    schedule: Literal["proportional", "alternating", "balanced"] | None = None,
    task_weight: Sequence[Positive] = (),
    task_gradients: Literal["summed", "measured", "pcgrad"] = "summed",
    curriculum: str | None = None,
    pace: Literal["sqrt", "linear"] = "sqrt",
    pace_share: ShareOrAll = 0.5,
    adapter: AdapterKind = "none",
    rank: Count | None = None,
    virtual_tokens: Count | None = None,
    bottleneck: Count | None = None,
    activation: Activation | None = None,
    quantize: bool = False,
    merge: bool = False,
    own: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Training:
    """Train a model: sft, dpo, reward, kto, orpo, grpo, rloo, ppo, or by a method that was registered.

    The same call again goes on where it was stopped.

    `data` is a run, a file or a dataset as after `--data`, or several; `model` is `tiny`, a directory, a hub id, or
    `Training.model`; `out` is the directory that the model is written into. An option that the method does not have is
    refused with a UsageError, unless it has its default.

    Of the data: `mixing_temperature` evens several parts' sizes out, `revisions` and `labels_from` say what is taken
    of a run, `quality` (`default`, `strict`, `none` or a YAML file) what filters leave of it, `split` of a dataset with
    several, `shape` is the layout of a public one where it cannot be told, `limit`
    is a number of examples, `test_share` in [0, 1) is kept for measuring, `template` is a chat template for a base
    model without one; of sft, dpo, kto and orpo: `reasoning` learns what was thought before answers, too.

    Of dpo, kto and orpo: `beta`, the reference's hold; of dpo and reward: `labels`; of dpo: `sft_term`. Of reward:
    `objective` (None: what the data hold), `margin` in log-odds that a certain pair is won by (with hard labels),
    `center_rewards` the weight of holding a prompt's mean score at 0, `debias_length` whether what length alone tells
    is held apart. Of grpo, rloo and ppo: `constitution` and `judge` (with commas a jury, whose mean answer counts), or
    `reward_model`, say who rewards (several reward models are an `ensemble`: their mean less `disagreement` deviations,
    or the lowest), and `reward` whether for principles kept or for criteria met; `group` responses a prompt, of
    `max_tokens` tokens at most, are drawn at `temperature`, and `kl_penalty` is the reference's hold. Of ppo:
    `kl_target` steers `kl_penalty`; `discount`, `gae_lambda`, `clip` and `value_clip` are its equations' numbers,
    `rollout_epochs` in `minibatches` say how often a step's responses are learned from, `reward_clip` where normalised
    rewards are cut off; `value_learning_rate` is the value model's, and `pretraining_data` are texts whose likelihood
    is held up with `pretraining_weight`. Of sft: `packing`. `own` are the options, by name, of a method of your own
    (`cai.register_method`).

    Of sft, dpo, reward and orpo, whose `data` may be several tasks: `schedule` says what a step holds of them,
    `task_weight` has the weight of each one's loss, in order, `task_gradients` whether their gradients are compared or
    projected where they conflict (`pcgrad`). `curriculum` (`length`, `loss`, `certainty` or a column of numbers) orders
    the examples, easy ones first; `pace` says how soon the others come in, after `pace_share` of the steps all of them.

    How long and how fast: `epochs` or `max_steps`, `learning_rate` at its peak, `batch_size` in examples a step over
    all devices, `max_length` in tokens, `evaluations` of the test split and `patience` in evaluations without a better
    loss; None is chosen for method, model and machine. `adapter` trains an adapter: lora and dora of a `rank`, prompt
    and prefix of `virtual_tokens`, houlsby and pfeiffer of a `bottleneck` width with its `activation`; `quantize` on a
    base in 4 bits, `merge` folds it in. `device`, `dtype`, `seed`, `report_to` (tensorboard, wandb, trackio) and
    `fresh` are as on the command line. `progress=False` tells nothing.

    Trains in the calling thread. Raises UsageError before any work is done, StoreError when the disk refuses,
    KeyboardInterrupt after Ctrl-C, with a checkpoint from which the same call goes on.
    """
    return TrainCall(checked(train, locals())).run()


class TrainCall(Call[Training]):
    """A call of `train`."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._progress = options.pop("progress")
        self._options = options

    def plan(self) -> Plan:
        """Return what would be done: settings, model, data, hardware, steps."""
        with packages_of_training():
            from cai.train.plan import plan_train  # noqa: PLC0415  (torch and TRL: seconds)
        told = plan_train(self._settings()).as_json()
        return Plan(told.pop("settings"), tuple(told["data"]["remarks"]), facts=told)

    def run(self) -> Training:
        """Train."""
        with packages_of_training():
            from cai.train.plan import plan_train  # noqa: PLC0415
            from cai.train.run import train as work  # noqa: PLC0415
        settings = self._settings()
        showing = Showing(progress=self._progress and os.environ.get("RANK", "0") == "0")
        if settings.model.kind == "tiny":
            showing.say("training the embedded miniature; choose another model with model=")
        summary = work(plan_train(settings), showing.say, quiet=not self._progress)
        if summary.status == "interrupted":
            raise KeyboardInterrupt("interrupted; the same call goes on from here")
        return Training(settings.out, summary)

    def _settings(self) -> TrainSettings:
        options = dict(self._options)
        options |= options.pop("own") or {}
        for name in _require_own(options):
            del options[name]
        check_own(options["method"], find_method(options["method"]).own, options)
        judge = optional_judge(options.get("judge"))
        if judge is not None:
            require_log_probabilities(judge, "the reward", "judge to another model")
        options |= {
            "data": data_sources(options["data"]),
            "out": local_directory(options["out"], "out"),
            "model": checkpoint_spec(options["model"]),
            "report_to": tuple(options["report_to"]),
            **({"task_weight": tuple(options["task_weight"])} if "task_weight" in options else {}),
        }
        if "judge" in options:
            options["judge"] = judge
        if options.get("constitution") is not None:
            options["constitution"] = str(options["constitution"])
        if "reward_model" in options:
            given = options["reward_model"]
            places = (given,) if isinstance(given, str | Path) else given or ()
            options["reward_model"] = tuple(existing_directory(place, "reward_model") for place in places)
        if options.get("pretraining_data") is not None:
            options["pretraining_data"] = data_source(options["pretraining_data"])
        return gather_settings(options.pop("method"), options)


def own_options() -> dict[str, tuple[str, ...]]:
    """Return the options that not every method has, each with the methods that have it."""
    found: dict[str, list[str]] = {}
    for method in METHODS.values():
        shared = {"packing": method.packs, "reasoning": method.learns_answers}
        shared |= {each.name: method.by_task for each in fields(TaskSettings)}
        for name in (*(name for name, has in shared.items() if has), *(each.name for each in fields(method.own))):
            found.setdefault(name, []).append(method.name)
    return {name: tuple(methods) for name, methods in found.items()}


def _require_own(options: Mapping[str, Any]) -> list[str]:
    """Return the options that the method does not have; raises UsageError for one that was given all the same."""
    find_method(options["method"])
    defaults = inspect.signature(train).parameters
    lacking = []
    for name, methods in own_options().items():
        if name not in options or options["method"] in methods:
            continue
        if name not in defaults or options[name] != defaults[name].default:
            raise UsageError(f"train: {options['method']} has no option {name}, which {' and '.join(methods)} have")
        lacking.append(name)
    return lacking


@contextmanager
def packages_of_training() -> Iterator[None]:
    """Turn the import of a package that is not there into a ModelError that names it."""
    let_waiting_threads_sleep()
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing_package(error) from error


def advise(
    data: str | Path | Run,
    *,
    model: str | Path = "tiny",
    split: str | None = None,
    shape: str | None = None,
    device: str = "auto",
) -> Advice:
    """Return which training suits the data, first things first: reasons, sources, commands and costs.

    `data` is a run, a file, a saved dataset or a hub name, `split` the one that is meant of several, `shape` the layout
    of a public one where it cannot be told; `model` is the one that would be trained, `device` where (`cpu`, `cuda`,
    `mps` or `auto`). The data is read once, the model's weights are not. Raises InputError, RunError or ModelError in
    one sentence.
    """
    with packages_of_training():
        from cai.advice.plan import plan_advise  # noqa: PLC0415
        from cai.advice.run import advise as find_advice  # noqa: PLC0415
    checked(advise, locals())
    return find_advice(plan_advise(AdviseSettings(data_source(data), checkpoint_spec(model), split, shape, device)))
