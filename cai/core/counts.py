"""Counts as a person reads them."""


def counted(number: int, thing: str) -> str:
    """Return so many of a thing, whose plural ends in s: `1 prompt`, `2,000 prompts`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
