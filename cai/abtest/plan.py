"""`cai abtest plan`: how many units each metric needs, and how many days that is."""

from collections.abc import Iterator
from pathlib import Path

import orjson

from cai.abtest.metrics import METRICS
from cai.abtest.outcome import AbtestPlan, Size
from cai.abtest.settings import PlanSettings
from cai.abtest.sizes import Effect, incident_units, units_daily, units_once
from cai.core.errors import InputError, UsageError


def plan_test(settings: PlanSettings) -> AbtestPlan:
    """Return the sizes for what is planned; writes them to `out` if that is given. Raises UsageError."""
    found = AbtestPlan(tuple(_sizes(settings)), settings.alpha, settings.power, settings.share, settings.daily)
    if settings.out is not None:
        try:
            settings.out.write_bytes(orjson.dumps(found.as_json(), option=orjson.OPT_INDENT_2))
        except OSError as error:
            raise UsageError(f"{settings.out} cannot be written: {error.strerror}") from error
    return found


def _sizes(settings: PlanSettings) -> Iterator[Size]:
    if settings.preference is not None:
        share = settings.preference
        # Each unit has both answers in front of it: one sample, against one half.
        effect = Effect(share - 0.5, 0.0, share * (1.0 - share))
        yield _size(settings, "preference", 0.5, share, effect, share_new=1.0)
    for name, expected in (("thumbs", settings.thumbs), ("completion", settings.completion)):
        if expected is not None:
            effect = Effect.of_shares(expected.old, expected.new)
            yield _size(settings, name, expected.old, expected.new, effect, settings.share)
    if settings.engagement is not None:
        yield _size(
            settings, "engagement", 0.0, settings.engagement, Effect(settings.engagement, 1.0, 1.0), settings.share
        )
    if settings.incidents is not None:
        old, new = settings.incidents.old, settings.incidents.new
        once = units_once(Effect.of_shares(old, new), settings.share, 2 * settings.alpha, settings.power)
        daily = incident_units(old, new, settings.share, settings.alpha, settings.power)
        yield Size("incidents", old, new, once, daily, _days(settings, once), _days(settings, daily))


def _size(settings: PlanSettings, name: str, old: float, new: float, effect: Effect, share_new: float) -> Size:
    once = units_once(effect, share_new, settings.alpha, settings.power)
    daily = units_daily(effect, share_new, settings.alpha, settings.power)
    return Size(name, old, new, once, daily, _days(settings, once), _days(settings, daily))


def _days(settings: PlanSettings, units: int) -> float | None:
    return None if settings.daily is None else units / settings.daily


def load_plan(path: Path) -> AbtestPlan:
    """Return a plan that was written; raises InputError."""
    try:
        values = orjson.loads(path.read_bytes())
        sizes = tuple(Size(**size) for size in values["sizes"])
        plan = AbtestPlan(sizes, float(values["alpha"]), float(values["power"]), float(values["share"]), None)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no plan that `cai abtest plan --out` wrote.") from error
    if not (0.0 < plan.alpha < 1.0 and 0.0 < plan.share < 1.0):
        raise InputError(f"{path} is no plan that `cai abtest plan --out` wrote.")
    unknown = [size.metric for size in sizes if size.metric not in METRICS]
    if unknown:
        raise InputError(f"{path} plans for {unknown[0]!r}, which is no metric; there are {', '.join(METRICS)}.")
    return plan
