"""What tokens take and cost: a model's measured speed, a provider's price, and the time and money they come to."""

from dataclasses import dataclass

from cai.core.errors import UsageError
from cai.generate.dry_run import Load

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Rates:
    """Speeds in tokens a second, as `cai models check` measures them; prices of a million tokens, in any currency.

    None where it is not known. Prompt and completion tokens go together: one without the other is a UsageError.
    """

    speed_prompt: float | None = None
    speed_completion: float | None = None
    price_prompt: float | None = None
    price_completion: float | None = None

    def __post_init__(self) -> None:
        for kind, prompt, completion in (
            ("speed", self.speed_prompt, self.speed_completion),
            ("price", self.price_prompt, self.price_completion),
        ):
            if (prompt is None) != (completion is None):
                missing = "completion" if completion is None else "prompt"
                raise UsageError(
                    f"--{kind}-{missing} is missing: prompt tokens and completion tokens are counted apart, give both"
                )

    def seconds(self, load: Load) -> float | None:
        """Return how long the load takes with the model as busy as it was when it was measured; None: not known.

        What a prefix cache saves is not taken off.
        """
        if self.speed_prompt is None or self.speed_completion is None:
            return None
        return load.prompt_tokens / self.speed_prompt + load.completion_tokens / self.speed_completion

    def money(self, load: Load) -> float | None:
        """Return what the load costs, a judge's tokens at the same price; None: not known."""
        if self.price_prompt is None or self.price_completion is None:
            return None
        return (load.prompt_tokens * self.price_prompt + load.completion_tokens * self.price_completion) / _MILLION
