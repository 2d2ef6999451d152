"""Sending an export to a stand-in of the hub: private, one commit, without the ledger, and no token in sight."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cai.core.errors import StoreError, UsageError
from cai.data.export import ExportOptions, export_run
from cai.data.export.hub import hub_target
from tests.command import Cai
from tests.hub import Hub, serving
from tests.layouts import make_run

TOKEN = "hf_t0ken5secret"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with serving() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", "plain")


def send(run: Path, name: str = "me/data", layout: str = "trl", share: float = 0.5, *, public: bool = False) -> str:
    summary = export_run(run, ExportOptions(test_share=share), layout, hub=hub_target(name, public=public))
    assert summary.pushed is not None
    return f"{summary.pushed.url} {summary.pushed.private}"


def test_an_export_is_sent_with_its_card_and_without_what_was_left_out(run: Path, hub: Hub) -> None:
    assert send(run) == f"{hub.url}/datasets/me/data True"
    files = hub.datasets["me/data"]
    assert files["README.md"] == (run / "README.md").read_bytes()
    assert set(files) >= {"README.md", "sft/train.parquet"}
    assert not any("ledger" in name or name.startswith("rows") for name in files)
    assert all((run / name).read_bytes() == data for name, data in files.items())
    # The library may ask the hub for what is nobody's secret, without a token.
    assert (hub.private, hub.commits, hub.keys - {""}) == ({"me/data": True}, 1, {f"Bearer {TOKEN}"})


def test_a_format_lies_at_the_top_of_its_dataset(run: Path, hub: Hub) -> None:
    send(run, layout="llama-factory")
    assert {"dataset_info.json", "kto/train.jsonl", "README.md"} <= set(hub.datasets["me/data"])


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the library's own upload
def test_large_files_go_the_way_that_the_hub_asks_for(run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub._commit_api.is_xet_available", lambda: False)  # no stand-in of its own
    hub.large = True
    send(run)
    files = hub.datasets["me/data"]
    assert files
    assert all((run / name).read_bytes() == data for name, data in files.items())


def test_sending_again_removes_what_is_gone_and_nothing_of_others(run: Path, hub: Hub) -> None:
    send(run, share=0.5)
    hub.datasets["me/data"] |= {"mine.txt": b"mine", "sft/test.parquet": b"earlier"}
    send(run, share=0.0)
    assert "mine.txt" in hub.datasets["me/data"]
    assert not any("test" in name for name in hub.datasets["me/data"])
    assert hub.commits == 2


def test_nothing_becomes_public_unless_that_is_said(run: Path, hub: Hub) -> None:
    hub.datasets["me/data"], hub.private["me/data"] = {}, False
    with pytest.raises(UsageError, match="me/data is public on the hub; --public says"):
        send(run)
    assert hub.datasets["me/data"] == {}
    assert send(run, public=True).endswith("False")
    assert send(run, "me/other", public=True).endswith("False")


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "the hub refuses to write me/data"), (403, "needs the right"), (500, "the hub did not take me/data")],
)
def test_a_refusal_is_one_sentence_without_the_token(
    run: Path, hub: Hub, capsys: pytest.CaptureFixture[str], status: int, said: str
) -> None:
    hub.refuses = status
    code, out, err = Cai(capsys)("export", str(run), "--push-to-hub", "me/data")
    assert code == 1
    assert said in " ".join(err.split())
    assert "Traceback" not in err
    assert TOKEN not in out + err
    assert (run / "sft").is_dir()


def test_no_network_is_one_sentence(run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(
        StoreError, match=r"me/data did not come to http://127\.0\.0\.1:1 \(.*the same command sends it"
    ):
        send(run)


def test_without_a_token_nothing_is_begun(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UsageError, match="there is no token for the hub; set HF_TOKEN, or run `hf auth login` once"):
        hub_target("me/data", public=False)


def test_a_name_that_is_none_is_told_before_any_work(hub: Hub) -> None:
    with pytest.raises(UsageError, match="'me/da ta' is no name of a dataset"):
        hub_target("me/da ta", public=False)


def test_the_token_is_in_no_text_of_the_target(hub: Hub) -> None:
    assert TOKEN not in repr(hub_target("me/data", public=False))


def test_the_command_says_where_it_lies(run: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = Cai(capsys)("export", str(run), "--push-to-hub", "me/data")
    assert code == 0, err
    assert f"sent to {hub.url}/datasets/me/data (private)" in out
    code, out, _ = Cai(capsys)("export", str(run), "--push-to-hub", "me/data", "--json")
    assert code == 0
    assert TOKEN not in out
