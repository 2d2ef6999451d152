"""Adding `{% generation %}` markers to a chat template that has none, by rewriting where it prints a message.

An output such as `{{ header + message.content + end }}` becomes `{{ header }}` and, in the assistant's turns, a marked
block with the content and all that follows it up to the next statement: the end of the turn is learnt with the words,
the header is not. What comes out is a proposal; `preparing.py` proves it before it is used. Templates that build
a turn in variables and print it later are not understood.
"""

import re

MARKER = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")

_ANY_MARKER = re.compile(r"\{%[-+]?\s*(?:end)?generation\s*[-+]?%\}")
_LOOP = re.compile(r"\{%[-+]?\s*for\s+(\w+)\s+in\s+\w*messages")
_ALIAS = re.compile(r"\{%[-+]?\s*set\s+content\s*=")
_OUTPUT = re.compile(r"\{\{([-+]?)((?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^'\"}]|\}(?!\}))*?)(-?)\}\}", re.DOTALL)
_PIECE = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|.", re.DOTALL)


def has_markers(template: str) -> bool:
    """Return whether the template marks what the assistant says."""
    return MARKER.search(template) is not None


def without_markers(template: str) -> str:
    """Return the template with its markers taken out, where somebody put them in the wrong place."""
    return _ANY_MARKER.sub("", template)


def with_markers(template: str) -> str | None:
    """Return the template with markers, or None when it prints no message's content that this module recognises."""
    loop = _LOOP.search(template)
    if loop is None:
        return None
    turn = loop[1]
    names = rf"{turn}(?:\.content|\[\s*['\"]content['\"]\s*\])"
    if _ALIAS.search(template):
        names += r"|content\b"
    content = re.compile(rf"\s*\(?\s*(?:{names})")
    pieces: list[str] = []
    place = 0
    for output in _OUTPUT.finditer(template):
        if output.start() < place:
            continue  # part of what followed the output before
        terms = _terms(output[2])
        number = next((index for index, term in enumerate(terms) if content.match(term)), None)
        if number is None:
            continue
        end = _next_statement(template, output.end())
        pieces += [template[place : output.start()], _marked(output, terms, number, template[output.end() : end], turn)]
        place = end
    return "".join([*pieces, template[place:]]) if pieces else None


def _marked(output: re.Match[str], terms: list[str], number: int, following: str, turn: str) -> str:
    """Return the output in two: what stands before the content, and the rest, marked where the assistant speaks.

    `+` in a tag keeps the white space around it, which chat templates otherwise lose at the ends of lines.
    """
    left, right = output[1], output[3]
    space = following[len(following.rstrip()) :]
    said = "{{" + "+".join(terms[number:]) + right + "}}" + following.rstrip()
    head = "{{" + left + "+".join(terms[:number]) + "}}" if number else ""
    opening = "{%+ if" if head or not left else f"{{%{left} if"
    if not following.strip():
        # The output's own `-}}` would no longer reach the white space that it removes.
        said, closing = "{{" + "+".join(terms[number:]) + "}}", "-%}" if right else "+%}"
    else:
        closing = "+%}"
    choice = f"{opening} {turn}['role'] == 'assistant' +%}}{{% generation %}}{said}{{% endgeneration %}}"
    return f"{head}{choice}{{% else +%}}{said}{{% endif {closing}{space}"


def _next_statement(template: str, place: int) -> int:
    """Return where the next statement or comment begins: up to there everything is printed in one go."""
    found = re.compile(r"\{[%#]").search(template, place)
    return found.start() if found else len(template)


def _terms(expression: str) -> list[str]:
    """Return what the expression adds up, in order; a single term when it adds nothing at its outermost level."""
    terms, depth = [""], 0
    for piece in _PIECE.findall(expression):
        depth += (piece in "([{") - (piece in ")]}")
        if piece in "+~" and not depth:
            terms.append("")
        else:
            terms[-1] += piece
    return terms
