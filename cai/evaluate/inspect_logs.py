"""Logs in the format of inspect_ai (https://inspect.aisi.org.uk, version 2 of its EvalLog), one a model.

Written by us and not with their library, which is heavy: the format is JSON that is documented, and a test has their
own reader open it. A sample is a prompt with the response and its scores: what the judge's gates say, whether it
refuses, what the oracle knows. The metrics of a score are the evaluation's own measurements, with their intervals.
Prompts that failed are samples with an error. Nothing in a log differs when it is written again.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from cai import __version__
from cai.core.identity import fingerprint
from cai.core.records import Failure, Usage
from cai.evaluate.measures import BREAKS_ANY, Measure
from cai.evaluate.measuring import ModelAnswers
from cai.evaluate.records import CLEARLY_BROKEN, Answer
from cai.evaluate.results import Evaluation, ModelResult

_VERSION = 2
_SCORER = "cai"
_BROKEN = f"{CLEARLY_BROKEN:g}"


def inspect_logs(evaluation: Evaluation, answered: Sequence[ModelAnswers]) -> dict[str, bytes]:
    """Return a log of every model by its file's name; `answered` is what was said to the evaluation's prompts."""
    logs = {}
    for model in answered:
        log = _log(evaluation, evaluation.model(model.label), model.answers, model.failures)
        moment = evaluation.finished.replace(":", "-")
        logs[f"{moment}_{_task(evaluation)}_{model.label}.json"] = orjson.dumps(log, option=orjson.OPT_INDENT_2) + b"\n"
    return logs


def _task(evaluation: Evaluation) -> str:
    return evaluation.constitution.split(" ")[0]


def _log(
    evaluation: Evaluation, result: ModelResult, answers: Mapping[str, Answer], failures: Mapping[str, Failure]
) -> dict[str, Any]:
    task, engine = _task(evaluation), result.engine
    unique = fingerprint([evaluation.constitution, evaluation.judge, engine, result.label, evaluation.finished])
    usage = _usage(sum((answer.usage for answer in answers.values()), Usage()))
    samples = [*(_sample(answer, engine) for answer in answers.values()), *map(_failed, failures.values())]
    return {
        "version": _VERSION,
        "status": "success",
        "eval": {
            "eval_id": f"eval-{unique}",
            "run_id": f"run-{unique}",
            "created": evaluation.finished,
            "task": task,
            "task_id": f"task-{unique}",
            "task_version": 0,
            "task_attribs": {},
            "task_args": {},
            "dataset": {
                "name": task,
                "samples": evaluation.prompts,
                "sample_ids": [sample["id"] for sample in samples],
                "shuffled": True,
            },
            "model": engine,
            "model_generate_config": {},
            "model_args": {},
            "config": {"epochs": 1},
            "packages": {"cai": __version__},
            "metadata": {
                "constitution": evaluation.constitution,
                "judge": evaluation.judge,
                "label": result.label,
                "seed": evaluation.seed,
            },
        },
        "plan": {"name": "cai evaluate", "steps": [], "config": {}},
        "results": {
            "total_samples": len(samples),
            "completed_samples": len(answers),
            "scores": list(_scores(evaluation, result)),
        },
        "stats": {
            "started_at": evaluation.finished,
            "completed_at": evaluation.finished,
            "model_usage": {engine: usage},
        },
        "samples": samples,
    }


def _scores(evaluation: Evaluation, result: ModelResult) -> Iterator[dict[str, Any]]:
    """Yield the measurements that a sample's scores are of, each as a score with its metrics."""
    for measure in evaluation.measures:
        found = result.told(measure)
        if found is None or not _is_of_samples(measure):
            continue
        metrics = {"mean": found.value, "low": found.low, "high": found.high}
        yield {
            "name": measure.name,
            "scorer": _SCORER,
            "params": {},
            "scored_samples": found.count,
            "metrics": {
                name: {"name": name, "value": value, "params": {}}
                for name, value in metrics.items()
                if value is not None
            },
            "metadata": {"about": measure.about, "better": measure.better},
        }


def _is_of_samples(measure: Measure) -> bool:
    return measure.principle is not None or measure.name in (BREAKS_ANY, "refuses, benign", "refuses, harmful")


def _sample(answer: Answer, engine: str) -> dict[str, Any]:
    said = {"role": "assistant", "content": answer.response, "source": "generate", "model": engine}
    return {
        "id": answer.id,
        "epoch": 1,
        "input": [dict(turn) for turn in answer.messages],
        "target": "",
        "messages": [*(dict(turn) for turn in answer.messages), said],
        "output": {
            "model": engine,
            "choices": [{"message": said, "stop_reason": "max_tokens" if answer.truncated else "stop"}],
            "completion": answer.response,
        },
        "scores": dict(_values(answer)),
        "metadata": {"tags": list(answer.tags), "ordinal": answer.ordinal},
        "model_usage": {engine: _usage(answer.usage)},
    }


def _values(answer: Answer) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what is known of an answer; of a gate without an answer nothing is."""
    if answer.breaks is not None:
        yield BREAKS_ANY, {"value": answer.breaks, "answer": answer.response}
    for gate in answer.gates:
        if gate.probability is not None:
            broken = gate.probability > CLEARLY_BROKEN
            told = f"the judge finds it broken with the probability {gate.probability:g}; above {_BROKEN} it is"
            yield f"breaks {gate.principle_id}", {"value": broken, "explanation": told}
            yield f"gate {gate.principle_id}", {"value": gate.probability}
    yield "refuses", {"value": answer.refuses, "explanation": "by its words"}
    if answer.truth is not None:
        told = ", ".join(answer.truth.broken) or "nothing is broken"
        yield "oracle: good", {"value": answer.truth.good, "explanation": told}


def _failed(failure: Failure) -> dict[str, Any]:
    return {
        "id": failure.id,
        "epoch": 1,
        "input": "",
        "target": "",
        "messages": [],
        "output": {"choices": []},
        "scores": {},
        "metadata": {"stage": failure.stage, "ordinal": failure.ordinal},
        "error": {"message": failure.cause, "traceback": "", "traceback_ansi": ""},
    }


def _usage(usage: Usage) -> dict[str, int]:
    """Return tokens of a model and of the judge together, as both are counted in a row."""
    return {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "input_tokens_cache_read": usage.cached_tokens,
    }
