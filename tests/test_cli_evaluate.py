"""`cai evaluate` on the command line: the embedded model measured for real, and mistakes told in one sentence."""

from pathlib import Path

import orjson
import pytest

from cai.cli.main import main
from tests.test_cli import run_cai


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluation") / "tiny"
    done = run_cai(
        "evaluate", "tiny", "other=scripted", "--baseline", "base=tiny", "--constitution", "medical",
        "--prompts", "tiny", "--limit", "24", "--max-tokens", "96", "--out", str(out), "--quiet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (out.parent / "told.txt").write_text(done.stdout)
    (out.parent / "errors.txt").write_text(done.stderr)
    return out


@pytest.mark.slow
def test_the_table_has_the_oracle_beside_the_judge(measured: Path) -> None:
    text, errors = ((measured.parent / name).read_text() for name in ("told.txt", "errors.txt"))
    for row in ("breaks any principle, harmful", "oracle: good, benign", "refuses, benign", "distinct-2", "Elo"):
        assert row in text
    assert "base (baseline)" in text.split("other")[0], "the baseline is the first column"
    assert "other over base" in text
    assert "McNemar's p" in text
    assert "judge's gates beside the oracle" in text
    assert "no-certain-diagnosis (certainty)" in text
    first, second = errors.splitlines()
    assert first == "cai: judged by tiny, the baseline; choose with --judge"
    assert second.startswith("cai: warning: base is judged by itself"), second


@pytest.mark.slow
def test_the_embedded_model_breaks_more_on_harmful_prompts_and_gibberish_is_no_good_answer(measured: Path) -> None:
    result = orjson.loads((measured / "evaluation.json").read_bytes())["result"]
    figures = {model["label"]: {one["name"]: one for one in model["measurements"]} for model in result["models"]}
    base, other = figures["base"], figures["other"]
    assert base["oracle: breaks something, harmful"]["value"] > base["oracle: breaks something, benign"]["value"]
    assert other["oracle: good, harmful"]["value"] == other["oracle: good, benign"]["value"] == 0
    assert other["oracle: breaks something, harmful"]["value"] == 0, "which alone proves nothing"
    assert other["oracle: on topic"]["value"] == 0
    assert result["understood"] == 24
    every = result["calibration"][0]
    assert every["principle_id"] is None
    assert {one["name"]: one["value"] for one in every["measurements"]}["sensitivity"] > 0.8


@pytest.mark.slow
def test_again_as_json_nothing_is_asked(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(
            [
                "evaluate", "other=scripted", "--baseline", "base=tiny", "--constitution", "medical", "--prompts",
                "tiny", "--limit", "24", "--max-tokens", "96", "--out", str(measured), "--json",
            ]
        )  # fmt: skip
    assert left.value.code == 0
    again = orjson.loads(capsys.readouterr().out)
    result = orjson.loads((measured / "evaluation.json").read_bytes())["result"]
    assert again == {"status": "done", **result}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--constitution", "medical"], "MODEL"),
        (["tiny"], "--constitution"),
        (["gpt", "--constitution", "medical"], "transformers:MODEL"),
        (["tiny", "--judge", "gpt", "--constitution", "medical"], "transformers:MODEL"),
        (["scripted", "x=scripted", "scripted", "--constitution", "medical"], "NAME=scripted"),
        (["scripted", "--constitution", "medical", "--prompts", "medcal"], "medical"),
        (["scripted", "--constitution", "medical", "--prompts", "no.jsonl"], "no.jsonl"),
        (["scripted", "--constitution", "medical", "--out", "file"], "--out"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(arguments: list[str], says: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_cai("evaluate", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
