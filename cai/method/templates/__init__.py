"""What is asked of a model, in words: one Jinja template a request kind and language, and the answers it may give.

A directory of templates holds a folder a language (`en`, `ko`, or a user's own), each with the ten `.j2` files of
`Templates` and `words.yaml`; what else is asked of a model lies beside them (`DraftingTemplate`). Templates are data
that users replace, so they run in a sandbox, and everything that can be wrong with them is found when they are loaded:
syntax, unknown variables, a judge that never shows an answer, a loop without an end.
What people and models wrote is shown to a judge between marks that it cannot hold.
Knows nothing of constitutions: a principle is anything with its text fields.
"""

from cai.method.templates.drafting import DraftingTemplate
from cai.method.templates.templates import PrincipleTexts, Templates

__all__ = ["DraftingTemplate", "PrincipleTexts", "Templates"]
