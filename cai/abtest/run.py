"""`cai abtest read`: what feedback says of two models, at the end of each day and now."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import groupby
from math import erfc, sqrt

import numpy as np

from cai.abtest.deciding import recommend
from cai.abtest.feedback import VOTES, Event, Feedback, read_feedback
from cai.abtest.metrics import METRICS, Metric
from cai.abtest.outcome import AbtestPlan, AbtestReading, Incidents, Look, Reading, Size
from cai.abtest.plan import load_plan
from cai.abtest.sequential import ALPHA, FEWEST_UNITS, ArmSample, Difference, incident_evidence, look
from cai.abtest.settings import ReadSettings
from cai.core.shares import NORMAL_95, holm, wilson

_RESAMPLES = 2000
_EVEN = ArmSample(0, 0.5, 0.0)
"""What votes are held against: as many for the one as for the other."""


class Arm:
    """Units with the mean of their values each; `add` costs the same however many there are."""

    def __init__(self) -> None:
        self._units: defaultdict[str, tuple[float, int]] = defaultdict(lambda: (0.0, 0))
        self._sum = self._squares = 0.0
        self.rows = 0
        """Rows in which something was there: with a value above 0."""
        self.touched = 0
        """Units with such a row."""

    def add(self, unit: str, value: float) -> None:
        """Take in a value of a unit."""
        total, count = self._units[unit]
        before = total / count if count else 0.0
        after = (total + value) / (count + 1)
        self._units[unit] = (total + value, count + 1)
        self._sum += after - before
        self._squares += after**2 - before**2
        self.rows += value > 0
        self.touched += value > 0 and total <= 0

    @property
    def count(self) -> int:
        """How many units there are."""
        return len(self._units)

    @property
    def means(self) -> list[float]:
        """The mean of each unit."""
        return [total / count for total, count in self._units.values()]

    def sample(self) -> ArmSample:
        """Return what is known of the units; their variance needs two of them, and is 0 of fewer."""
        if not self._units:
            return ArmSample(0, 0.0, 0.0)
        mean = self._sum / self.count
        spread = max(0.0, self._squares - self.count * mean**2)
        return ArmSample(self.count, mean, spread / (self.count - 1) if self.count > 1 else 0.0)


def read_test(settings: ReadSettings) -> AbtestReading:
    """Read the feedback, and return what it says and what to do; raises InputError."""
    plan = None if settings.plan is None else load_plan(settings.plan)
    sizes = {} if plan is None else {size.metric: size for size in plan.sizes}
    alpha = settings.alpha or (ALPHA if plan is None else plan.alpha)
    feedback = read_feedback(settings.feedback, settings.new, settings.old)
    events: defaultdict[str, list[Event]] = defaultdict(list)
    for event in feedback.events:
        events[event.metric].append(event)
    readings = _corrected(
        [
            _read(metric, events[name], settings, sizes.get(name), alpha)
            for name, metric in METRICS.items()
            if metric.kind != "incidents" and events[name]
        ]
    )
    incidents = _read_incidents(feedback.events, settings, plan, alpha) if events["incidents"] else None
    return AbtestReading(
        new=settings.new,
        old=settings.old,
        primary=settings.primary,
        readings=readings,
        incidents=incidents,
        recommendation=recommend(settings.primary, readings, incidents, alpha),
        rows=feedback.rows,
        users=feedback.named_users,
        unusable=feedback.unusable,
        remarks=tuple(_remarks(feedback, plan, alpha, readings, incidents)),
    )


def _read(
    metric: Metric, events: Sequence[Event], settings: ReadSettings, planned: Size | None, alpha: float
) -> Reading:
    """Take the events in day by day, with a look at the end of each."""
    arms: defaultdict[str, Arm] = defaultdict(Arm)
    looks: list[Look] = []
    always = None
    for day, of_day in groupby(events, key=lambda event: event.day):
        for event in of_day:
            arms[event.arm].add(event.unit, event.value)
        new, old = _samples(metric, arms, settings)
        if _enough(new, old):
            found = Difference.of(new, old) if old.count else Difference(new.mean - old.mean, new.variance / new.count)
            always = look(found, _scale(metric, new, old, planned), alpha)
            looks.append(Look(day, new.count + old.count, found.value, always.low, always.high))
    new, old = _samples(metric, arms, settings)
    once, p_once = _at_one_look(metric, arms, settings) if _enough(new, old) else (None, None)
    return Reading(
        metric=metric.name,
        new=new,
        old=old,
        difference=new.mean - old.mean,
        always=always,
        once=once,
        p_once=p_once,
        p_all=None,
        planned=None if planned is None else planned.daily,
        looks=tuple(looks),
    )


def _samples(metric: Metric, arms: Mapping[str, Arm], settings: ReadSettings) -> tuple[ArmSample, ArmSample]:
    if metric.kind == "votes":
        return arms[VOTES].sample(), _EVEN
    return arms[settings.new].sample(), arms[settings.old].sample()


def _enough(new: ArmSample, old: ArmSample) -> bool:
    return new.count >= FEWEST_UNITS and (old is _EVEN or old.count >= FEWEST_UNITS)


def _scale(metric: Metric, new: ArmSample, old: ArmSample, planned: Size | None) -> float:
    """Return the difference that is looked for, in the metric's own units."""
    deviation = sqrt((new.variance + old.variance) / (2 if old.count else 1)) or 1.0
    found = metric.scale if planned is None else planned.scale
    return found * deviation if metric.kind == "mean" else found


def _at_one_look(
    metric: Metric, arms: Mapping[str, Arm], settings: ReadSettings
) -> tuple[tuple[float, float], float | None]:
    """Return the 95 % interval and the p-value that are right if nobody looked before.

    Of a mean the interval is the bootstrap's over units, whose values need not be normal, and there is no p-value.
    """
    new, old = _samples(metric, arms, settings)
    if metric.kind == "mean":
        draws = np.random.default_rng(settings.seed)
        means = [_resampled(draws, arms[name].means) for name in (settings.new, settings.old)]
        low, high = np.quantile(means[0] - means[1], [0.025, 0.975])
        return (float(low), float(high)), None
    difference = new.mean - old.mean
    error = sqrt(new.variance / new.count + (old.variance / old.count if old.count else 0.0))
    return (difference - NORMAL_95 * error, difference + NORMAL_95 * error), _p_value(difference, new, old)


def _p_value(difference: float, new: ArmSample, old: ArmSample) -> float:
    """Return the two-sided p-value of a z-test, of two shares with their variance as if they were one."""
    if not old.count:
        variance = new.variance / new.count
    else:
        pooled = (new.mean * new.count + old.mean * old.count) / (new.count + old.count)
        # Of units with several rows the values lie between 0 and 1, and vary less than this: p is then too large.
        variance = pooled * (1.0 - pooled) * (1.0 / new.count + 1.0 / old.count)
    return erfc(abs(difference) / sqrt(2.0 * variance)) if variance > 0.0 else 1.0


def _resampled(draws: np.random.Generator, values: Sequence[float]) -> np.ndarray:
    """Return the means of units drawn again with replacement."""
    array = np.asarray(values)
    return np.array([array[draws.integers(0, len(array), len(array))].mean() for _ in range(_RESAMPLES)])


def _corrected(readings: Sequence[Reading]) -> tuple[Reading, ...]:
    """Return the readings with p-values that consider that there are several (Holm 1979)."""
    tested = [reading.always.p for reading in readings if reading.always is not None]
    corrected = iter(holm(tested))
    return tuple(one if one.always is None else replace(one, p_all=next(corrected)) for one in readings)


def _read_incidents(
    events: Sequence[Event], settings: ReadSettings, plan: AbtestPlan | None, alpha: float
) -> Incidents:
    """Count units with an incident; the guard rail is looked at at the end of each day, and an alarm stays one."""
    arms: defaultdict[str, Arm] = defaultdict(Arm)
    first: date | None = None
    evidence, alarm_at, rang = 1.0, 1.0 / alpha, False
    told = [event for event in events if METRICS[event.metric].kind == "incidents"]
    for day, of_day in groupby(told, key=lambda event: event.day):
        for event in of_day:
            arms[event.arm].add(event.unit, event.value)
        new, old = arms[settings.new], arms[settings.old]
        if new.count and old.count:
            share = new.count / (new.count + old.count)
            evidence = incident_evidence(new.touched, old.touched, share)
            if evidence >= alarm_at and not rang:
                first, rang = day, True
    new, old = arms[settings.new], arms[settings.old]
    everyone = {
        name: len({event.unit for event in events if event.arm == name}) for name in (settings.new, settings.old)
    }
    sizes = () if plan is None else plan.sizes
    return Incidents(
        new=new.touched,
        old=old.touched,
        new_rows=new.rows,
        old_rows=old.rows,
        new_units=new.count,
        old_units=old.count,
        new_all=everyone[settings.new],
        old_all=everyone[settings.old],
        new_rate=wilson(new.touched, max(1, new.count)),
        old_rate=wilson(old.touched, max(1, old.count)),
        evidence=evidence,
        alarm_at=alarm_at,
        first_alarm=first,
        planned=next((size.daily for size in sizes if size.metric == "incidents"), None),
        share=0.5 if plan is None else plan.share,
    )


def _remarks(
    feedback: Feedback,
    plan: AbtestPlan | None,
    alpha: float,
    readings: Sequence[Reading],
    incidents: Incidents | None,
) -> Iterator[str]:
    if feedback.unusable:
        count = sum(feedback.unusable.values())
        yield f"{count:,} of {feedback.rows:,} rows were not used; the first is {feedback.first_unusable}"
    if not feedback.named_users:
        yield "no row names a user, so each row counts as one: several of one person say less than they seem to"
    if not feedback.days:
        yield "no row has a date under `time`, so this is one look, and no alarm of an earlier day is known"
    if plan is None:
        yield "no --plan: whether enough units have been seen is not known, and nothing is held"
    elif plan.alpha != alpha:
        yield f"the plan is for false alarms in {plan.alpha:g} of tests, and this is read at {alpha:g}"
    few = [one.metric for one in readings if one.always is None]
    if few:
        yield f"fewer than {FEWEST_UNITS} units an arm, so nothing is said: {', '.join(few)}"
    if incidents is not None and (incidents.new_rows, incidents.old_rows) != (incidents.new, incidents.old):
        yield (
            f"incidents are counted once a unit: {incidents.new_rows:,} rows of {incidents.new:,} units of the new "
            f"model, {incidents.old_rows:,} of {incidents.old:,} of the old one"
        )
