"""No password, key or signature that a command is given is ever written, printed or logged, whatever becomes of it."""

import asyncio
import base64
import copy
import json
import os
import pickle
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.cli.main import main
from cai.core.addresses import DataSource
from cai.core.errors import CaiError, ModelError
from cai.core.redaction import redact
from cai.core.settings import plain
from cai.evaluate.settings import EvaluateSettings
from cai.generate.settings import GenerateSettings
from cai.models import open_engine
from cai.models.base import Request, Sampling
from cai.models.spec import LabelledModel, ModelSpec
from cai.train.settings import DataSettings
from tests.echoing import Echoing, echoing

PASSWORD = "p@ss/w:0,rd%41?é#"
KEY = "sk-environment-5f2a9b"
HUB_KEY = "hf_environment7c41d"
SIGNATURE = "c2lnbmF0dXJl/+=%41"
BEARER = "bearer-token-8831"
SECRETS = (PASSWORD, KEY, HUB_KEY, SIGNATURE, BEARER, "s3cr3t-typed")

Run = Callable[..., int]


def forms(secret: str) -> set[bytes]:
    """Return the bytes that a secret may be found as."""
    quoted = urllib.parse.quote(secret, safe="")
    texts = {secret, quoted, quoted.lower(), json.dumps(secret)[1:-1], repr(secret)[1:-1], urllib.parse.unquote(secret)}
    coded = {base64.b64encode(text.encode()) for text in (secret, f"al@ice:{secret}", f"{secret}:")}
    return {text.encode() for text in texts} | {code.rstrip(b"=") for code in coded}


def found_in(data: bytes) -> list[str]:
    return [secret for secret in SECRETS if any(form in data for form in forms(secret))]


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what one test knows be no secret in another, and every drawn password a secret of its own test only."""
    monkeypatch.setattr("cai.core.redaction._known", Bounded())


class Bounded(set[str]):
    """Remembers the last few secrets."""

    def update(self, *secrets: Iterable[str]) -> None:
        if len(self) > 60:
            self.clear()
        super().update(*secrets)


@pytest.fixture
def server() -> Iterator[Echoing]:
    with echoing() as one:
        prompts = "".join(json.dumps({"prompt": f"Is tea safe? {i}"}) + "\n" for i in range(3))
        rows = "".join(json.dumps({"prompt": f"Hello {i}?", "completion": "Hello."}) + "\n" for i in range(8))
        one.files = {"/prompts.jsonl": prompts.encode(), "/rows.jsonl": rows.encode()}
        yield one


@pytest.fixture
def cai(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run commands in a world of their own, which is searched in the end."""
    for name in ("work", "home", "state", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for name, value in {
        "HOME": tmp_path / "home",
        "XDG_STATE_HOME": tmp_path / "state",
        "TMPDIR": tmp_path / "tmp",
        "OPENAI_API_KEY": KEY,
        "HF_TOKEN": HUB_KEY,
    }.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr("tempfile.tempdir", None)
    printed = []

    def run(*words: str) -> int:
        with pytest.raises(SystemExit) as left:
            main(words)
        out, err = capfd.readouterr()
        printed.append(f"{words[0]}: {out}{err}")
        assert "Traceback" not in err
        return int(left.value.code or 0)

    yield run
    for text in printed:
        assert not found_in(text.encode()), text
    for path in tmp_path.rglob("*"):
        assert not found_in(os.fsencode(path)), path
        if path.is_file() and path.name != "config.yaml":
            assert not found_in(path.read_bytes()), path


def with_password(server: Echoing) -> str:
    return f"openai:m@http://al%40ice:{urllib.parse.quote(PASSWORD, safe='')}@{server.host}/v1"


def signed(server: Echoing, name: str) -> str:
    query = urllib.parse.urlencode({"sig": SIGNATURE, "access_token": BEARER})
    return f"http://{server.host}/{name}?{query}#{BEARER}"


GENERATE = ("generate", "--constitution", "medical", "--max-tokens", "8", "--rounds", "1")


@pytest.mark.slow
def test_a_run_its_copy_and_its_exports(cai: Run, server: Echoing) -> None:
    model, prompts = with_password(server), signed(server, "prompts.jsonl")
    run = ("--model", model, "--judge", f"openai:j@http://{server.host}/v1", "--prompts", prompts)
    assert cai(*GENERATE, *run, "--dry-run", "--out", "r") == 0
    assert cai(*GENERATE, *run, "--out", "r") == 0
    assert any(told.startswith("Basic ") for told in server.told)
    assert f"Bearer {KEY}" in server.told
    assert cai("show", "r") == 0
    assert cai("show", "r", "--json") == 0
    assert cai("export", "r", "--json") == 0
    assert cai("judge", "r", "--judge", model) == 0
    for where in (KEY, HUB_KEY, model):
        assert cai("drop", "r", "--where", f"prompt={where}") == 2, "no row has it"
    assert cai("drop", "r", "--where", "prompt=e", "--json") == 0
    assert cai("show", "r", "--left-out") == 0
    assert cai("drop", "r", "--where", "prompt=e", "--undo") == 0
    recorded = json.loads(Path("r/run.json").read_text())["settings"]
    assert recorded["model"] == f"openai:m@http://{server.host}/v1"
    assert recorded["prompts"] == f"http://{server.host}/prompts.jsonl"


@pytest.mark.parametrize(
    "status", [400, pytest.param(404, marks=pytest.mark.chaos), pytest.param(422, marks=pytest.mark.chaos), 401]
)
@pytest.mark.slow
def test_a_server_that_repeats_what_it_was_told(cai: Run, server: Echoing, status: int) -> None:
    server.fails = status
    prompts = ("--prompts", signed(server, "prompts.jsonl"))
    assert cai(*GENERATE, "--model", with_password(server), *prompts, "--out", "r") == 1
    assert cai(*GENERATE, "--model", f"openai:m@http://{server.host}/v1", *prompts, "--out", "s", "--json") == 1
    assert cai("models", "check", with_password(server)) == 1
    assert cai("models", "check", f"openai:m@http://{server.host}/v1?api_key={BEARER}") == 1


@pytest.mark.slow
def test_an_answer_that_repeats_the_key_is_not_kept(cai: Run, server: Echoing) -> None:
    server.repeats = True
    prompts = ("--prompts", signed(server, "prompts.jsonl"))
    for number, model in enumerate((with_password(server), f"openai:m@http://{server.host}/v1")):
        assert cai(*GENERATE, "--model", model, *prompts, "--out", f"r{number}") == 1
        failed = [json.loads(line) for line in Path(f"r{number}/failures.jsonl").read_text().splitlines()]
        assert all("repeats the key it was sent" in failure["cause"] for failure in failed)


@pytest.mark.slow
def test_an_evaluation(cai: Run, server: Echoing) -> None:
    models = (f"a={with_password(server)}", "--baseline", f"b=openai:m@http://:{BEARER}@{server.host}/v1")
    evaluate = ("evaluate", *models, "--constitution", "medical", "--limit", "2", "--max-tokens", "8", "--out", "e")
    assert cai(*evaluate) == 0
    assert cai(*evaluate, "--judge", with_password(server)) == 0
    server.fails = 400
    cai(*evaluate, "--seed", "1", "--fresh")


def test_training_and_the_loop_as_planned(cai: Run, server: Echoing) -> None:
    judge = ("--judge", with_password(server), "--constitution", "medical")
    assert cai("train", "sft", "--data", signed(server, "rows.jsonl"), "--out", "t", "--dry-run", "--json") == 0
    online = ("train", "grpo", "--data", signed(server, "prompts.jsonl"), "--out", "g", *judge)
    assert cai(*online, "--dry-run", "--json") == 0
    assert cai(*online, "--dry-run") == 0
    assert cai("loop", *judge, "--method", "grpo", "--prompts", signed(server, "prompts.jsonl"), "--dry-run") == 0
    assert cai("loop", *judge, "--method", "dpo", "--dry-run", "--json") == 0


@pytest.mark.chaos
@pytest.mark.parametrize("method", ["grpo", "rloo", "ppo"])
def test_training_with_a_judge(cai: Run, server: Echoing, method: str) -> None:
    data = ("--data", signed(server, "prompts.jsonl"), "--max-tokens", "48", "--group", "2", "--batch-size", "4")
    judge = ("--judge", with_password(server), "--constitution", "medical", "--max-steps", "1")
    assert cai("train", method, *data, *judge, "--out", "t") == 0
    assert any(told.startswith("Basic ") for told in server.told)
    server.fails = 401
    assert cai("train", method, *data, *judge, "--out", "u") != 0


@pytest.mark.chaos
@pytest.mark.parametrize("method", ["sft", "dpo", "reward", "kto", "orpo"])
def test_training_on_signed_data(cai: Run, server: Echoing, method: str) -> None:
    pairs = {"completion": "Hello."} if method in ("sft", "kto") else {"chosen": "Hello.", "rejected": "Go."}
    labels = [{"label": i % 2 == 0} if method == "kto" else {} for i in range(8)]
    rows = [json.dumps({"prompt": f"Hello {i}?", **pairs, **label}) for i, label in enumerate(labels)]
    server.files["/rows.jsonl"] = "\n".join(rows).encode()
    train = ("train", method, "--data", signed(server, "rows.jsonl"), "--max-steps", "1", "--batch-size", "2")
    assert cai(*train, "--test-share", "0", "--out", "t") == 0
    assert cai(*train, "--split", "x", "--out", "u") == 2


@pytest.mark.chaos
def test_a_loop_with_a_judge(cai: Run, server: Echoing) -> None:
    small = ("--max-tokens", "96", "--group", "2", "--samples", "1", "--evaluation-limit", "2", "--limit", "3")
    steps = ("--sft-max-steps", "1", "--second-max-steps", "1", "--sft-batch-size", "2", "--second-batch-size", "2")
    judge = ("--judge", with_password(server), "--constitution", "medical", "--method", "grpo")
    assert cai("loop", *judge, *small, *steps, "--out", "l") == 0
    assert Path("l/evaluation/evaluation.json").exists()


@pytest.mark.parametrize(
    "typed",
    [
        "opanai:m@http://u:s3cr3t-typed@h/v1",
        "openai:m http://u:s3cr3t-typed@h/v1",
        "openai:m@u:s3cr3t-typed@h/v1",
        "openai:m@http:/u:s3cr3t-typed@h/v1",
        "openai:m@http://u:s3cr3t-typed",
        "openai:m@http://u:x/s3cr3t-typed@h/v1",
        "openai:m@http://u:p@s3cr3t-typed/x@127.0.0.1:1/v1",
        "openai:m@http://u:x,s3cr3t-typed@127.0.0.1:1/v1",
        "openai:m@http://127.0.0.1:1/v1,u:s3cr3t-typed@127.0.0.1:2/v1",
        "http://u:s3cr3t-typed@h/v1",
        "u:s3cr3t-typed@h",
        "transformers:http://u:s3cr3t-typed@h/v1",
        "scripted?api_key=s3cr3t-typed",
        "openai:m@http://127.0.0.1:1/v1?api_key=s3cr3t-typed",
        "NAME=opanai:m@http://u:s3cr3t-typed@h",
    ],
)
def test_a_mistyped_model(cai: Run, typed: str) -> None:
    assert cai(*GENERATE, "--limit", "1", "--model", typed, "--out", "r") != 0
    assert cai(*GENERATE, "--limit", "1", "--judge", typed, "--out", "r") != 0
    assert cai("evaluate", typed, "--constitution", "medical", "--limit", "1", "--out", "e") != 0
    assert cai("train", "sft", "--model", typed, "--data", "x.jsonl", "--out", "t") == 2
    assert cai("models", "check", typed) != 0


@pytest.mark.parametrize(
    "typed",
    [
        "http://u:s3cr3t-typed@127.0.0.1:1/p.jsonl",
        "http://127.0.0.1:1/p.jsonl?token=s3cr3t-typed",
        "https://127.0.0.1:1/p.jsonl#s3cr3t-typed",
        "s3:/u:s3cr3t-typed@bucket/p.jsonl",
        "sftp://u:s3cr3t-typed@127.0.0.1:1/p.jsonl",
        "nope://u:x/s3cr3t-typed@h/p.jsonl",
        "u:s3cr3t-typed@h/p.jsonl",
    ],
)
def test_a_place_that_cannot_be_read(cai: Run, typed: str) -> None:
    assert cai(*GENERATE, "--prompts", typed, "--out", "r") != 0
    assert cai("train", "sft", "--data", typed, "--out", "t") == 2
    assert cai("show", typed) != 0
    assert cai("export", typed) != 0
    assert cai("evaluate", "scripted", "--constitution", "medical", "--prompts", typed, "--out", "e") != 0
    assert cai("constitution", "check", typed) == 2
    assert cai("loop", "--constitution", typed, "--dry-run") == 2


def test_a_run_at_a_url(cai: Run, server: Echoing) -> None:
    url = f"memory://u:{BEARER}@runs/r"
    run = ("--model", "scripted", "--limit", "2", "--out", url)
    assert cai(*GENERATE, *run) == 0
    assert cai(*GENERATE, *run, "--limit", "3") == 0
    assert cai("show", url) == 0
    assert cai("judge", url, "--judge", "scripted", "--seed", "3") == 0
    assert (
        cai(*GENERATE, "--model", "scripted", "--limit", "2", "--out", f"nope://u:{BEARER}@runs/r?sig={SIGNATURE}") == 2
    )


def test_a_config_file(cai: Run, server: Echoing) -> None:
    config = Path("config.yaml")
    for content in (
        f"model: '{with_password(server)}'\nprompts: '{signed(server, 'prompts.jsonl')}'\nlimit: 1\nout: r\n",
        f"model: openai:m@http://u:{BEARER}@h: x\n",
        f"openai:m@http://u:{BEARER}@h: x\n",
        f"model: {{a: 'http://u:{BEARER}@h'}}\n",
        f"limit: http://u:{BEARER}@h\n",
        f'model: "http://u:{BEARER}@h\n',
    ):
        config.write_text(content)
        cai(*GENERATE, "--config", str(config))


def test_what_a_constitution_extends(cai: Run) -> None:
    Path("other.yaml").write_text("user: x\npassword: planted\n")
    Path("c.yaml").write_text("name: c\nversion: '1'\nextends: [other.yaml, http://u:s3cr3t-typed@h/c.yaml]\n")
    Path("c.yaml").rename("config.yaml")
    assert cai("constitution", "check", "config.yaml") == 2


def test_an_engine_option_that_is_a_secret(cai: Run) -> None:
    assert cai(*GENERATE, "--model", "vllm:m", "--engine-option", "hf-token=s3cr3t-typed", "--dry-run") == 2


def test_a_template_option_that_is_a_secret(cai: Run) -> None:
    assert cai(*GENERATE, "--model", "tiny", "--template-option", "api_key=s3cr3t-typed", "--dry-run") == 2


def test_a_password_may_be_typed_as_it_is(server: Echoing) -> None:
    async def ask(typed: str) -> None:
        engine = await open_engine(ModelSpec.parse(typed))
        try:
            await engine.complete(Request(({"role": "user", "content": "Hello?"},), Sampling(), 0))
        finally:
            await engine.close()

    for password in ("p@ss", "p/w:0", "p,w?x#y", "p%40ss", "é한"):
        server.told.clear()
        asyncio.run(ask(f"openai:m@http://ann:s3cr3t-typed{password}@{server.host}/v1"))
        told = base64.b64encode(f"ann:s3cr3t-typed{urllib.parse.unquote(password)}".encode()).decode()
        assert server.told == {f"Basic {told}"}


# The types


def everything_of(value: Any) -> str:
    parts = [str(value), repr(value), f"{value}", f"{value!r:>40}", repr(pickle.loads(pickle.dumps(value)))]
    return "\n".join([*parts, repr(copy.copy(value)), repr(copy.deepcopy(value)), repr(vars(type(value)))])


@pytest.mark.parametrize(
    "value",
    [
        ModelSpec.parse(f"openai:m@http://u:{BEARER}@h/v1,https://h2/v1?sig={BEARER}"),
        LabelledModel.parse(f"x=openai:m@http://u:{BEARER}@h/v1"),
        DataSource.parse(f"s3://u:{BEARER}@bucket/x"),
        DataSource.parse(f"https://h/x?sig={BEARER}"),
    ],
)
def test_what_a_type_shows_anywhere(value: Any) -> None:
    assert BEARER not in everything_of(value)
    assert BEARER in (value.spec if isinstance(value, LabelledModel) else value).reveal()
    assert BEARER not in json.dumps(value, default=str)
    copied = pickle.loads(pickle.dumps(value))
    assert BEARER not in (copied.spec if isinstance(value, LabelledModel) else copied).reveal()


def test_settings_can_be_written_down() -> None:
    spec = ModelSpec.parse(f"openai:m@http://u:{BEARER}@h/v1")
    source = DataSource.parse(f"https://h/x?sig={BEARER}")
    labelled = LabelledModel("a", spec)
    for chosen in (
        GenerateSettings("medical", model=spec, judge=spec, prompts=source),
        EvaluateSettings((labelled,), "medical", baseline=labelled, judge=spec, prompts=(source,)),
    ):
        written = f"{chosen}{asdict(chosen)}{json.dumps(plain(chosen))}{pickle.dumps(chosen)!r}"
        assert BEARER not in written
        assert "http://h/v1" in written
    assert BEARER not in f"{asdict(DataSettings((source,)))}"


PIECES = st.text(st.sampled_from("abXY01@:/?#,%&=;!$*+é한"), min_size=3, max_size=12)


@settings(deadline=None)
@given(PIECES, st.sampled_from(["h.example:8000", "h.example", "127.0.0.1:1"]), st.sampled_from(["/v1", "/a/b.jsonl"]))
def test_no_password_stays_in_an_address_however_it_is_typed(password: str, host: str, path: str) -> None:
    secret = f"QQ{password}QQ"
    for typed in (f"http://user:{secret}@{host}{path}", f"s3://user:{secret}@{host}{path}"):
        assert "QQ" not in str(DataSource.parse(typed))
        assert "QQ" not in redact(f"cannot open '{typed}' now")
        assert "QQ" not in str(CaiError(f"{typed}: no"))
    shown = str(DataSource.parse(f"http://user:{urllib.parse.quote(secret, safe='')}@{host}{path}"))
    assert shown == f"http://{host}{path}"


@settings(deadline=None)
@given(st.text(min_size=4, max_size=20).filter(lambda text: text.strip() == text))
def test_whatever_repeats_a_known_secret_does_not_keep_it(secret: str) -> None:
    try:
        ModelSpec.parse(f"openai:m@http://u:{urllib.parse.quote(secret, safe='')}@h/v1")
    except ModelError:
        return
    for form in forms(secret):
        assert form.decode() not in redact(f"said {form.decode()} and more") or len(form) < 4


def test_what_says_where_stays() -> None:
    for text in (
        "http://127.0.0.1:8000/v1 and s3://bucket/x/y.jsonl and hf://datasets/me/data@main/x",
        "openai:MODEL@URL[,URL…], e.g. openai:llama@http://127.0.0.1:8000/v1",
        "http://[::1]:8000/v1",
        "mail a@b.c, ratio 3:4@5, C:\\x",
    ):
        assert redact(text) == text
