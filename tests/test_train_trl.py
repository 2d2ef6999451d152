"""What cai overrides and calls of TRL's and transformers' insides is still what it was when it was written.

These are private, or change without notice. A failure says in words what moved; the code to look at is named with it.
Written against TRL 1.16 and transformers 5.19.
"""

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import transformers
import trl
from transformers import Trainer
from trl import DPOTrainer, GRPOTrainer, KTOTrainer, RewardTrainer, RLOOTrainer, SFTTrainer

from cai.train.trainers import (
    answer_scores,
    base,
    lengths,
    odds_ratio,
    ordinal,
    policies,
    references,
    reward_models,
)

MODULES: tuple[ModuleType, ...] = (
    answer_scores,
    base,
    lengths,
    odds_ratio,
    ordinal,
    policies,
    references,
    reward_models,
)
TRAINERS = "cai/train/trainers"

PREPARING = ("dataset", "processing_class", "args", "dataset_name")
METHODS: tuple[tuple[Any, str, tuple[str, ...], str], ...] = (
    (Trainer, "training_step", ("model", "inputs", "num_items_in_batch"), "base.py: losses that are no numbers"),
    (Trainer, "_get_grad_norm", ("model", "grad_norm"), "base.py: gradients that are no numbers"),
    (Trainer, "evaluate", ("eval_dataset", "ignore_keys", "metric_key_prefix"), "base.py: evaluations"),
    (Trainer, "_save_checkpoint", ("model", "trial"), "base.py: a checkpoint before an evaluation"),
    (Trainer, "_save_rng_state", ("output_dir",), "base.py: what an evaluation drew"),
    (Trainer, "_load_rng_state", ("checkpoint",), "base.py: an evaluation that was cut short"),
    (Trainer, "_determine_best_metric", ("metrics", "trial"), "base.py: an evaluation that was cut short"),
    (Trainer, "_get_train_sampler", ("train_dataset",), "lengths.py: batches of like lengths"),
    (Trainer, "_set_signature_columns_if_needed", (), "references.py, reward_models.py: the column of soft labels"),
    (Trainer, "set_initial_training_values", ("args", "dataloader"), "fit.py: the number of steps"),
    (Trainer, "train", ("resume_from_checkpoint", "trial", "ignore_keys_for_eval"), "policies.py: the open reward"),
    (Trainer, "compute_loss", ("model", "inputs", "return_outputs", "num_items_in_batch"), "answer_scores.py: losses"),
    (Trainer, "log", ("logs", "start_time"), "answer_scores.py: what is told beside the loss"),
    (Trainer, "create_optimizer", ("model",), "ordinal.py: thresholds"),
    (Trainer, "_load_from_checkpoint", ("resume_from_checkpoint", "model"), "ordinal.py: thresholds"),
    (Trainer, "_load_best_model", (), "ordinal.py: thresholds"),
    (
        SFTTrainer,
        "_prepare_dataset",
        ("dataset", "processing_class", "args", "packing", "formatting_func", "dataset_name"),
        "lengths.py: what is left out",
    ),
    (DPOTrainer, "_prepare_dataset", PREPARING, "references.py: what is left out"),
    (DPOTrainer, "_set_signature_columns_if_needed", (), "references.py: the column of soft labels"),
    (DPOTrainer, "_precompute_ref_logps", ("dataset", "name", "batch_size"), "references.py: the reference"),
    (DPOTrainer, "compute_ref_log_probs", ("model", "inputs"), "references.py: the reference"),
    (DPOTrainer, "_compute_loss", ("model", "inputs", "return_outputs"), "references.py: soft labels"),
    (KTOTrainer, "_prepare_dataset", PREPARING, "references.py: what is left out"),
    (KTOTrainer, "_precompute_ref_logps", ("dataset", "name", "batch_size"), "references.py: the reference"),
    (KTOTrainer, "compute_ref_log_probs", ("model", "inputs"), "references.py: the reference"),
    (RewardTrainer, "_prepare_dataset", PREPARING, "reward_models.py: what is left out"),
    (RewardTrainer, "_set_signature_columns_if_needed", (), "reward_models.py: the column of soft labels"),
    (
        RewardTrainer,
        "compute_loss",
        ("model", "inputs", "return_outputs", "num_items_in_batch"),
        "reward_models.py: soft labels",
    ),
    (GRPOTrainer, "_get_train_sampler", ("dataset",), "policies.py: the order of prompts"),
    (RLOOTrainer, "_get_train_sampler", ("dataset",), "policies.py: the order of prompts"),
    (
        GRPOTrainer,
        "_generate_single_turn",
        ("prompt_ids", "images", "multimodal_fields", "num_generations", "has_tool_images"),
        "policies.py: answers by cai's engine",
    ),
    (
        RLOOTrainer,
        "_generate_single_turn",
        ("prompt_ids", "images", "multimodal_fields"),
        "policies.py: answers by cai's engine",
    ),
    (odds_ratio.ORPOTrainer, "concatenated_forward", ("model", "batch"), "odds_ratio.py: the SFT term"),
    (odds_ratio.ORPOTrainer, "tokenize_row", ("feature", "model"), "odds_ratio.py: no tokens are added"),
)
FUNCTIONS = (
    ("trl.models", "prepare_deepspeed", 2, "policies.py, references.py: the reference"),
    ("trl.models", "prepare_fsdp", 2, "policies.py: the reference"),
    ("trl.trainer.utils", "add_fused_lm_head", 1, "policies.py: the reference"),
    ("trl.trainer.utils", "disable_dropout_in_model", 1, "policies.py: the reference"),
    ("trl.trainer.utils", "RepeatSampler", 6, "policies.py: the order of prompts"),
    ("trl.chat_template_utils", "get_training_chat_template", 1, "cai/train/template/preparing.py: templates"),
)
VERSIONS = f"TRL {trl.__version__}, transformers {transformers.__version__}"


def parameters(function: Any) -> tuple[str, ...]:
    return tuple(name for name in inspect.signature(function).parameters if name != "self")


@pytest.mark.parametrize(
    ("owner", "name", "expected", "used"), METHODS, ids=lambda value: getattr(value, "__name__", value)
)
def test_a_method_that_cai_overrides_or_calls_is_what_it_was(
    owner: Any, name: str, expected: tuple[str, ...], used: str
) -> None:
    found = inspect.getattr_static(owner, name, None)
    assert found is not None, f"{VERSIONS}: {owner.__name__} has no {name} any more; {TRAINERS}/{used} needs it"
    assert parameters(getattr(owner, name))[: len(expected)] == expected, (
        f"{VERSIONS}: {owner.__name__}.{name} takes {parameters(getattr(owner, name))} now, not {expected}; look "
        f"at {TRAINERS}/{used}"
    )


@pytest.mark.parametrize(("module", "name", "count", "used"), FUNCTIONS)
def test_a_function_that_cai_calls_is_what_it_was(module: str, name: str, count: int, used: str) -> None:
    found = getattr(__import__(module, fromlist=[name]), name, None)
    assert found is not None, f"{VERSIONS}: {module} has no {name} any more; {used} needs it"
    required = [each for each in inspect.signature(found).parameters.values() if each.default is each.empty]
    assert len(required) <= count <= len(inspect.signature(found).parameters), (
        f"{VERSIONS}: {module}.{name} takes {parameters(found)} now; look at {used}"
    )


def test_an_epoch_is_run_by_a_method_of_its_own() -> None:
    # Not called by cai. Without it a run that is resumed at its end would make one step more.
    assert hasattr(Trainer, "_run_epoch"), f"{VERSIONS}: Trainer has no _run_epoch; look at {TRAINERS}/base.py"
    assert {"train_dataloader", "epoch"} <= set(parameters(Trainer._run_epoch))


@pytest.mark.parametrize("owner", [GRPOTrainer, RLOOTrainer])
def test_online_trainers_take_a_reference_that_is_set_afterwards(owner: Any) -> None:
    source = inspect.getsource(owner.__init__)
    for words in ("self.ref_model", "self.beta"):
        assert words in source, f"{VERSIONS}: {owner.__name__} sets no {words}; look at {TRAINERS}/policies.py"


def overridden() -> Iterator[tuple[str, str]]:
    """Yield the methods of TRL's and transformers' trainers that classes of cai's replace."""
    for module in MODULES:
        for owner in vars(module).values():
            if not (inspect.isclass(owner) and issubclass(owner, Trainer) and owner.__module__ == module.__name__):
                continue
            foreign = [parent for parent in owner.__mro__ if not parent.__module__.startswith("cai.")]
            for name, value in vars(owner).items():
                theirs = any(name in vars(parent) for parent in foreign)
                if inspect.isfunction(value) and not name.startswith("__") and theirs:
                    yield owner.__name__, name


def test_nothing_else_of_theirs_is_overridden() -> None:
    watched = {name for _, name, _, _ in METHODS} | {"_run_epoch"}
    assert {f"{owner}.{name}" for owner, name in overridden() if name not in watched} == set(), "add it to METHODS"
