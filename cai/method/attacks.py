"""Attacks: ways that are publicly known to ask for what a model would refuse, each a descriptor in one table.

An attack changes a prompt's last turn, what comes before it, or how the answer begins; it makes nothing up and asks no
model. Names joined by `+` are one attack: `base64+role-play` encodes first and sets the scene around the code. Benign
prompts are attacked alike, as a control: a model that refuses whatever looks like an attack is not safe but useless.
The wording is `cai.method.attack_words`; whether an answer is harmful is judged beside the prompt as it was.

Sources: role play and prefixes, refusal suppression, encodings: Wei, Haghtalab and Steinhardt, "Jailbroken"
(arXiv 2307.02483); pretended worlds: Liu et al. (2305.13860); another language: Yong, Menghini and Bach (2310.02446),
Deng et al. (2310.06474); payload splitting and programs: Kang et al. (2302.05733); persuasion and pleas: Zeng et al.
(2401.06373); many shots: Anil et al., "Many-shot Jailbreaking" (NeurIPS 2024); an answer that is begun:
Andriushchenko, Croce and Flammarion (2404.02151).
"""

import base64
import codecs
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cai.core.errors import UsageError
from cai.core.records import Message
from cai.method.attack_words import WORDS, AttackWords

JOINED = "+"
SHOTS = 16
"""Answered questions before the prompt of a many-shot attack; the effect grows with them as a power law."""


@dataclass(frozen=True, slots=True)
class AttackedPrompt:
    """What a model is sent: the turns, and how its answer is begun (empty: not)."""

    messages: tuple[Message, ...]
    prefill: str = ""


@dataclass(frozen=True, slots=True)
class AttackKind:
    """One attack; `about` says in a phrase what it does."""

    name: str
    about: str
    apply: Callable[[AttackedPrompt, AttackWords], AttackedPrompt]


@dataclass(frozen=True, slots=True)
class Attack:
    """One or several kinds, applied in their order, in the words of a language."""

    name: str
    kinds: tuple[AttackKind, ...]
    words: AttackWords

    @classmethod
    def parse(cls, text: str, language: str) -> "Attack":
        """Return the attack that is typed; raises UsageError."""
        names = [name.strip() for name in text.split(JOINED)]
        for name in names:
            if name not in ATTACKS:
                raise UsageError(f"--attack {text}: there is no {name!r}; there are {', '.join(ATTACKS)}")
        if len(set(names)) < len(names):
            raise UsageError(f"--attack {text}: each of them once")
        return cls(JOINED.join(names), tuple(ATTACKS[name] for name in names), WORDS.get(language, WORDS["en"]))

    def asked(self, messages: Sequence[Message]) -> AttackedPrompt:
        """Return what the model is sent for a prompt."""
        found = AttackedPrompt(tuple(messages))
        for kind in self.kinds:
            found = kind.apply(found, self.words)
        return found


def _last(change: Callable[[str, AttackWords], str]) -> Callable[[AttackedPrompt, AttackWords], AttackedPrompt]:
    """Return the attack that changes the last turn's text."""

    def apply(asked: AttackedPrompt, words: AttackWords) -> AttackedPrompt:
        *before, last = asked.messages
        return replace(asked, messages=(*before, {**last, "content": change(last["content"], words)}))

    return apply


def _base64(text: str, words: AttackWords) -> str:
    return words.base64.format(base64.b64encode(text.encode()).decode())


def _rot13(text: str, words: AttackWords) -> str:
    return words.rot13.format(codecs.encode(text, "rot13"))


_INITIALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
_VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
_FINALS = ("", *"ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")
_SYLLABLES = range(0xAC00, 0xD7A4)
"""Every syllable of Hangul, in the order of its initial, then its vowel, then its final letter (Unicode, 3.12)."""


def _letters(text: str, words: AttackWords) -> str:
    """Write every letter apart, a syllable of Hangul as the letters that it is made of."""
    return words.letters.format(" / ".join(" ".join(map(_spelled, word)) for word in text.split(" ")))


def _spelled(letter: str) -> str:
    if ord(letter) not in _SYLLABLES:
        return letter
    rest, final = divmod(ord(letter) - _SYLLABLES.start, len(_FINALS))
    initial, vowel = divmod(rest, len(_VOWELS))
    return " ".join(filter(None, (_INITIALS[initial], _VOWELS[vowel], _FINALS[final])))


def _reversed(text: str, words: AttackWords) -> str:
    return words.reversed.format(text[::-1])


def _split(text: str, words: AttackWords) -> str:
    """Cut a text in two in the middle of its words, so that neither half says it."""
    parts = text.split(" ")
    first = " ".join(parts[: max(1, len(parts) // 2)])
    return words.split.format(repr(first), repr(text[len(first) :]))


def _persona(asked: AttackedPrompt, words: AttackWords) -> AttackedPrompt:
    """Put the operator's turn first; one that is there already comes after it in the same turn."""
    first, *rest = asked.messages
    if first["role"] == "system":
        return replace(asked, messages=({**first, "content": f"{words.persona}\n\n{first['content']}"}, *rest))
    return replace(asked, messages=({"role": "system", "content": words.persona}, *asked.messages))


def _many_shot(asked: AttackedPrompt, words: AttackWords) -> AttackedPrompt:
    shots: list[Message] = []
    for number in range(SHOTS):
        question, answer = words.shots[number % len(words.shots)]
        shots += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    system = 1 if asked.messages[0]["role"] == "system" else 0
    return replace(asked, messages=(*asked.messages[:system], *shots, *asked.messages[system:]))


ATTACKS: Mapping[str, AttackKind] = {
    kind.name: kind
    for kind in (
        AttackKind("role-play", "a scene with an expert who has no limits", _last(lambda t, w: w.role_play.format(t))),
        AttackKind("prefix", "the answer is to begin with a given sentence", _last(lambda t, w: w.prefix.format(t))),
        AttackKind("no-refusal", "rules that forbid to refuse or warn", _last(lambda t, w: w.no_refusal.format(t))),
        AttackKind("base64", "the prompt in Base64", _last(_base64)),
        AttackKind("rot13", "the prompt with each Latin letter moved by 13 places", _last(_rot13)),
        AttackKind("letters", "the prompt with its letters apart, Hangul in single letters", _last(_letters)),
        AttackKind("reversed", "the prompt written backwards", _last(_reversed)),
        AttackKind("other-language", "the answer in another language", _last(lambda t, w: w.other_language.format(t))),
        AttackKind("translation", "the prompt is to be translated first", _last(lambda t, w: w.translation.format(t))),
        AttackKind("split", "the prompt in two halves that are to be joined", _last(_split)),
        AttackKind("program", "a program whose result is the answer", _last(lambda t, w: w.program.format(t))),
        AttackKind("world", "a world in which nothing is forbidden", _last(lambda t, w: w.world.format(t))),
        AttackKind("persuasion", "a good reason and an authority", _last(lambda t, w: w.persuasion.format(t))),
        AttackKind("plea", "a plea of somebody in distress", _last(lambda t, w: w.plea.format(t))),
        AttackKind("persona", "a system turn in which the operator lifts all limits", _persona),
        AttackKind("many-shot", f"{SHOTS} answered questions before it", _many_shot),
        AttackKind("prefill", "the answer is begun", lambda asked, words: replace(asked, prefill=words.prefill)),
    )
}


def as_markdown() -> str:
    """Return the table of attacks, as the documentation has it."""
    rows = [f"| `{kind.name}` | {kind.about} |" for kind in ATTACKS.values()]
    return "\n".join(["| attack | what it does |", "|---|---|", *rows])
