"""TRL's ORPO as a command of its own: it is experimental there and has none (see `benchmarks.training`)."""

from pathlib import Path
from typing import Any

import transformers
from datasets import load_dataset
from trl import ModelConfig, ScriptArguments, TrlParser

from cai.train.trainers.odds_ratio import ORPOConfig, ORPOTrainer


def make_parser() -> Any:
    """Return a parser of what the other commands of TRL take."""
    return TrlParser((ScriptArguments, ORPOConfig, ModelConfig))


def main(script: ScriptArguments, configuration: ORPOConfig, model: ModelConfig) -> None:
    """Train, and save the model, as the other commands do."""
    folder = Path(str(model.model_name_or_path))
    trainer = ORPOTrainer(
        model=transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32"),
        args=configuration,
        train_dataset=load_dataset(str(script.dataset_name))["train"],
        processing_class=transformers.AutoTokenizer.from_pretrained(folder),
    )
    trainer.train()
    trainer.save_model(configuration.output_dir)
