"""Training: examples in, a model out; TRL, PEFT and accelerate do the work, the method is ours."""

from cai.core.errors import ModelError

PACKAGES = frozenset({"torch", "transformers", "safetensors", "trl", "peft", "accelerate"})
"""What `cai[train]` installs beside the rest."""


def missing_package(error: ModuleNotFoundError) -> ModelError:
    """Return what to tell a person who lacks one of training's packages; raises the error where it is another's."""
    package = (error.name or "").partition(".")[0]
    if package not in PACKAGES:
        raise error
    return ModelError(f"training needs {package}: pip install 'cai[train]'")
