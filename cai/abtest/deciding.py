"""What to do: ship, hold, roll back or go on; the rules in the order in which they are asked.

1. More incidents than the old model has, by the guard rail: roll back.
2. Any metric that may decide is worse, at a level that holds at every look and for all metrics (Holm): roll back.
3. The primary metric is better and the guard rail has seen, of each model, what was planned for it: ship.
4. The primary metric is better, but of too few units of either model it is known whether there was an incident: go on.
5. As many units as planned and no difference found: hold.
6. Otherwise: go on.
"""

from collections.abc import Sequence

from cai.abtest.metrics import METRICS
from cai.abtest.outcome import AbtestDecision, Incidents, Reading
from cai.abtest.sequential import FEWEST_UNITS


def recommend(primary: str, readings: Sequence[Reading], incidents: Incidents | None, alpha: float) -> AbtestDecision:
    """Return what to do, with the reasons in sentences."""
    if incidents is not None and incidents.is_alarm:
        return AbtestDecision("roll back", (_told_alarm(incidents),))
    worse = [one for one in readings if METRICS[one.metric].decides and _is_worse(one, alpha)]
    if worse:
        return AbtestDecision("roll back", tuple(f"{told(one)}: worse" for one in worse))
    first = next((one for one in readings if one.metric == primary), None)
    if first is None or first.always is None:
        return AbtestDecision("go on", (f"{primary} decides, and too little is known of it", *_about(incidents)))
    reasons = (told(first), *_about(incidents))
    if first.always.is_better:
        unseen = _unseen(incidents)
        return AbtestDecision("go on", (*reasons, unseen)) if unseen else AbtestDecision("ship", reasons)
    if first.is_full:
        return AbtestDecision("hold", (*reasons, "as many units as planned were seen, and no difference was found"))
    if first.planned is not None:
        left = first.planned - first.units
        return AbtestDecision("go on", (*reasons, f"{left:,} units are left of the {first.planned:,} planned"))
    return AbtestDecision(
        "go on", (*reasons, "no difference was found yet, and no plan says how many units are enough")
    )


def _is_worse(one: Reading, alpha: float) -> bool:
    return one.always is not None and one.always.is_worse and one.p_all is not None and one.p_all <= alpha


def told(reading: Reading) -> str:
    """Return a metric's difference with its interval, in words."""
    ends = reading.always
    interval = "" if ends is None else f" [{ends.low:+.3f}, {ends.high:+.3f}]"
    held = "one half" if reading.metric == "preference" else f"{reading.old.mean:.3f}"
    return f"{reading.metric} {reading.new.mean:.3f} against {held}, {reading.difference:+.3f}{interval}"


def _about(incidents: Incidents | None) -> tuple[str, ...]:
    if incidents is None:
        return ("incidents were not recorded: nobody can say that it is as safe",)
    return (
        f"incidents: {incidents.new:,} in {incidents.new_units:,} units against {incidents.old:,} in "
        f"{incidents.old_units:,}; evidence of more {incidents.evidence:.2f}, alarm at {incidents.alarm_at:.0f}",
    )


def _unseen(incidents: Incidents | None) -> str | None:
    """Return why it cannot be shipped yet although users like it better, if so."""
    if incidents is None:
        return "what is better liked is not shipped unseen: record `incident` for each conversation"
    arms = ((incidents.new_units, incidents.new_all), (incidents.old_units, incidents.old_all))
    if any(units < FEWEST_UNITS or 2 * units < everyone for units, everyone in arms):
        (new, new_all), (old, old_all) = arms
        return (
            f"whether there was an incident is known of {new:,} of the new model's {new_all:,} units and of {old:,} of "
            f"the old one's {old_all:,}: record `incident` for each conversation, also where there was none"
        )
    if not incidents.left:
        return None
    return f"{incidents.left:,} units are left of the {incidents.planned:,} that the guard rail was planned for"


def _told_alarm(incidents: Incidents) -> str:
    since = "" if incidents.first_alarm is None else f", first on {incidents.first_alarm.isoformat()}"
    return (
        f"the new model has more incidents: {incidents.new:,} in {incidents.new_units:,} units against "
        f"{incidents.old:,} in {incidents.old_units:,}; evidence {incidents.evidence:.1f}, alarm at "
        f"{incidents.alarm_at:.0f}{since}"
    )
