"""What a reward model's training found out of it, in lines for the card and for a terminal."""

from collections.abc import Mapping
from typing import Any

from cai.core.counts import counted
from cai.train.rewards.objectives import OBJECTIVES

_NAMED = 12
"""Principles that have a line: of more, those on which the model is least often right."""


def reward_lines(measured: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values; nothing of a model that is none for rewards."""
    if "objective" not in measured:
        return []
    lines = [("learns", OBJECTIVES[measured["objective"]].description)]
    lines += [(_of(name), _share(share)) for name, share in measured.get("accuracy", {}).items()]
    principles = sorted(measured.get("principles", {}).items(), key=lambda item: item[1]["value"])
    lines += [(f"ranked right under {name}", _share(share)) for name, share in principles[:_NAMED]]
    if len(principles) > _NAMED:
        lines.append(("principles", f"{len(principles):,}, of which the {_NAMED} least often ranked right are above"))
    agreement = measured.get("agreement", {})
    for name in ("mean_absolute_error", "correlation", "correlation_with_length"):
        if agreement.get(name) is not None:
            lines.append(
                (name.replace("_", " "), f"{agreement[name]:.3f} over {counted(agreement['answers'], 'answer')}")
            )
    if "accuracy" not in measured and not agreement:
        lines.append(("ranked right", "not measured: no test split"))
    scale = measured["scale"]
    lines.append(
        (
            "scores",
            f"mean {scale['mean']:.3f}, deviation {scale['deviation']:.3f}, of {counted(scale['answers'], 'answer')}",
        )
    )
    if measured.get("length_slope") is not None:
        lines.append(("a token's worth by length alone, held apart", f"{measured['length_slope']:+.4f}"))
    if "thresholds" in measured:
        steps = ", ".join(f"{value:.2f}" for value in measured["thresholds"])
        levels = f"{measured['levels'][0]:g} to {measured['levels'][-1]:g}"
        lines.append((f"thresholds between the levels {levels}", steps))
    return lines


def _of(name: str) -> str:
    return "ranked right" if name == "all" else f"ranked right, {name}"


def _share(share: Mapping[str, Any]) -> str:
    low, high = 100 * share["low"], 100 * share["high"]
    return f"{100 * share['value']:.1f} % [{low:.1f}, {high:.1f}] of {counted(share['of'], 'comparison')}"
