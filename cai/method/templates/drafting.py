"""A request by which a model drafts something: an attacker's next turn, a principle's tenets, a tenet's scenarios.

Nothing that a run makes depends on these, so they lie beside its templates, are read where they are needed alone, and
have fingerprints of their own.
"""

from pathlib import Path
from typing import Any, Literal, Self

from cai.core.identity import fingerprint
from cai.core.resources import shipped
from cai.method.templates.compiling import Render, compile_all
from cai.method.templates.reading import find_folder, read_text, read_words

DraftingKind = Literal["attacker", "tenets", "scenarios"]


class DraftingTemplate:
    """One such request in one language; `fingerprint` names its text. What it may show says `compiling`."""

    def __init__(self, kind: DraftingKind, text: str, render: Render) -> None:
        self.fingerprint = fingerprint({kind: text})
        self._render = render

    @classmethod
    def load(cls, kind: DraftingKind, language: str, directory: Path | None = None) -> Self:
        """Read and check the template of `kind` from `directory`, or the shipped one; raises TemplateError."""
        folder = find_folder(directory or shipped("prompts", "templates"), language)
        text = read_text(folder / f"{kind}.j2")
        return cls(kind, text, compile_all(folder, {kind: text}, read_words(folder / "words.yaml"))[kind])

    def render(self, **shown: Any) -> str:
        """Return the request; raises RowError when what is shown makes the template fail."""
        return self._render(**shown)
