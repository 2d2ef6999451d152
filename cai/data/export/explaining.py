"""Why a run gave few pairs or cut answers, in one sentence each, with what would change it."""

from collections.abc import Iterator, Mapping

from cai.core.counts import counted
from cai.data.export.preference import ABSTAINED
from cai.data.export.summary import ExportSummary
from cai.method.verdicts import CONTRADICTION, FAILED, IDENTICAL, LOW_MASS, TIE, UNREADABLE

_FEW = 4
"""Pairs are few when fewer than one comparison in so many gives one."""

_MANY_CUT = 10
"""Cut texts are many when one in so many is."""

_REMEDIES = {
    LOW_MASS: "another --judge answers with a letter, or --judge-reasoning leads this one to it",
    CONTRADICTION: "another --judge, or --judge-reasoning, looks at the answers and not at their places",
    UNREADABLE: "another --judge names a letter, or --judge-by logprobs reads what it is likely to name",
    TIE: "another --judge, or more --judge-principles, may prefer one",
    IDENTICAL: "a higher --temperature makes answers differ",
    FAILED: "mend the cause, then the same command with --retry-failed asks again",
    "truncated": "raise --max-tokens",
    "empty": "another --model writes something",
}
"""What would change it, by the reason for which most pairs are missing."""


def explain(summary: ExportSummary, identity: Mapping[str, str]) -> tuple[str, ...]:
    """Return the sentences on an export of a run of this identity; none where there is nothing to explain."""
    return (*_explain_pairs(summary, identity), *_explain_cuts(summary, identity))


def _explain_pairs(summary: ExportSummary, identity: Mapping[str, str]) -> Iterator[str]:
    pairs = summary.preference.train + summary.preference.test
    left_out = summary.preference.left_out
    compared = pairs + sum(left_out.values())
    if not summary.rows or _FEW * pairs >= compared > 0:
        return
    told = f"{counted(pairs, 'pair')} of {counted(summary.rows, 'prompt')}"
    if not compared:
        remedy = "--samples 2 gives two to compare" if identity.get("samples") == "1" else "see what failed"
        yield f"{told}: no two answers were compared; {remedy}"
        return
    main = max(left_out, key=lambda reason: left_out[reason])
    if main in (ABSTAINED, TIE) and summary.abstentions:
        reasons = sorted(summary.abstentions.items(), key=lambda item: -item[1])
        listed = ", ".join(f"{count:,} for {reason}" for reason, count in reasons)
        abstained = sum(summary.abstentions.values())
        yield f"{told}: {abstained:,} of {summary.verdicts:,} verdicts abstained, {listed}; {_REMEDIES[reasons[0][0]]}"
    else:
        remedy = f"; {_REMEDIES[main]}" if main in _REMEDIES else ""
        yield f"{told}: {left_out[main]:,} of {compared:,} comparisons were left out as {main}{remedy}"


def _explain_cuts(summary: ExportSummary, identity: Mapping[str, str]) -> Iterator[str]:
    limit = f" at {int(identity['max-tokens']):,} tokens" if identity.get("max-tokens", "").isdecimal() else ""
    for what, texts in summary.texts.items():
        if texts.cut and _MANY_CUT * texts.cut >= texts.count:
            yield f"{texts.cut:,} of {texts.count:,} {what} were cut{limit}: raise --max-tokens"
