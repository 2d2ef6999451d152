"""Prompts and training data at a URL: the same content is the same prompts, with the same fingerprint."""

import functools
import gzip
import http.server
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cai.cli.main import main
from cai.core.addresses import DataSource
from cai.core.errors import InputError, UsageError
from cai.core.settings import plain
from cai.core.urls import RemoteFolder
from cai.data import InputOptions, open_prompts
from cai.generate.settings import GenerateSettings
from cai.models.settings import DEFAULT_MODEL
from cai.rundir import working_copy
from cai.train.data.examples import load_examples
from cai.train.methods import find_method
from cai.train.plan import settings_as_json
from cai.train.settings import DataSettings, TrainSettings
from tests.remote import BUCKET, S3, Machines
from tests.storage import fill, make_row

ROWS = [{"id": str(number), "prompt": f"question {number}", "tags": ["tag"]} for number in range(20)]
LINES = b"".join(orjson.dumps(row) + b"\n" for row in ROWS) + b"no row\n"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the library's name)
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """Serve the directory of the test's prompts, and return its address."""
    folder = tmp_path / "here"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


Upload = Callable[[Path], str]


@pytest.fixture(params=["file", "s3"])
def upload(request: pytest.FixtureRequest, tmp_path: Path) -> Upload:
    """Return what puts a file or a directory elsewhere and returns its URL."""
    base = (tmp_path / "share").as_uri()
    if request.param == "s3":
        request.getfixturevalue("s3")
        base = f"s3://{BUCKET}/{tmp_path.name}"

    def put(path: Path) -> str:
        folder = RemoteFolder(base)
        for file in [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]:
            folder.put(file.relative_to(path.parent).as_posix(), file)
        return f"{base}/{path.name}"

    return put


def lines(path: Path) -> None:
    path.write_bytes(LINES)


def zipped(path: Path) -> None:
    path.write_bytes(gzip.compress(LINES))


def text(path: Path) -> None:
    path.write_text("one\ntwo\n\nthree\n")


def parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path)


def directory(path: Path) -> None:
    (path / "inner").mkdir(parents=True)
    lines(path / "b.jsonl")
    text(path / "inner" / "a.txt")
    (path / "inner" / "notes.md").write_text("no prompts")
    lines(path / ".hidden.jsonl")


def saved(path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("p.jsonl", lines),
        ("p.jsonl.gz", zipped),
        ("p.txt", text),
        ("p.parquet", parquet),
        ("several", directory),
        ("saved", saved),
    ],
)
def test_the_same_content_is_the_same_prompts(
    tmp_path: Path, upload: Upload, name: str, write: Callable[[Path], None]
) -> None:
    path = tmp_path / name
    write(path)
    url = upload(path)
    for options in (InputOptions(), InputOptions(shuffle=True, seed=3, limit=7)):
        here, there = open_prompts(DataSource.parse(str(path)), options), open_prompts(DataSource.parse(url), options)
        assert (there.fingerprint, there.size) == (here.fingerprint, here.size)
        assert list(there) == list(here) != []


def test_a_slash_at_the_end_is_no_difference(tmp_path: Path, upload: Upload) -> None:
    directory(tmp_path / "several.txt")
    url = upload(tmp_path / "several.txt")
    fingerprint = open_prompts(DataSource.parse(str(tmp_path / "several.txt")), InputOptions()).fingerprint
    assert open_prompts(DataSource.parse(f"{url}/"), InputOptions()).fingerprint == fingerprint


def test_prompts_on_the_web_whatever_follows_the_path(tmp_path: Path, web: str) -> None:
    lines(tmp_path / "here" / "p.jsonl")
    here = open_prompts(DataSource.parse(str(tmp_path / "here" / "p.jsonl")), InputOptions())
    for url in (f"{web}/p.jsonl", f"{web}/p.jsonl?signature=secret"):
        there = open_prompts(DataSource.parse(url), InputOptions())
        assert there.fingerprint == here.fingerprint
        assert list(there) == list(here)
        assert plain(GenerateSettings("medical", prompts=DataSource.parse(url)))["prompts"] == f"{web}/p.jsonl"
    with pytest.raises(InputError, match=f"{web}/absent.jsonl is not there: ") as caught:
        open_prompts(DataSource.parse(f"{web}/absent.jsonl?signature=secret"), InputOptions())
    assert "secret" not in str(caught.value)


def test_what_cannot_be_read_is_one_sentence(s3: S3, tmp_path: Path) -> None:
    for url, says in (
        (f"s3://{BUCKET}/absent.jsonl", "absent.jsonl is not there: "),
        (f"s3://{BUCKET}/{tmp_path.name}/absent/", "absent/ is not there."),
        ("s3://elsewhere/p.jsonl", "p.jsonl is not there: "),
        ("s3://elsewhere/several/", "is not there: The specified bucket does not exist."),
        ("foo://x/p.jsonl", "foo://x/p.jsonl cannot be opened: Protocol not known: foo."),
    ):
        with pytest.raises(UsageError) as caught:
            open_prompts(DataSource.parse(url), InputOptions())
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
    s3.stop()
    try:
        with pytest.raises(InputError, match=r"p\.jsonl cannot be read: Could not connect to the endpoint URL"):
            open_prompts(DataSource.parse(f"s3://{BUCKET}/p.jsonl"), InputOptions())
    finally:
        s3.start()


def test_a_directory_without_prompts_and_a_split_that_means_nothing(tmp_path: Path, upload: Upload) -> None:
    (tmp_path / "several").mkdir()
    (tmp_path / "several" / "notes.md").write_text("no prompts")
    with pytest.raises(InputError, match="several holds no file of a kind that can be read"):
        open_prompts(DataSource.parse(upload(tmp_path / "several")), InputOptions())
    text(tmp_path / "p.txt")
    url = upload(tmp_path / "p.txt")
    with pytest.raises(InputError) as caught:
        open_prompts(DataSource.parse(url), InputOptions(split="train"))
    assert str(caught.value) == f"--split is for datasets saved on disk or on the hub; {url} is neither."


def test_a_name_cannot_lead_out_of_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines(tmp_path / "p.jsonl")
    copied: list[Path] = []
    monkeypatch.setattr(RemoteFolder, "sizes", lambda _: {"p.jsonl": 1, "../../out.jsonl": 1, "state.json": 1})
    monkeypatch.setattr(RemoteFolder, "get", lambda _folder, _name, path: copied.append(path))
    with pytest.raises(InputError):
        open_prompts(DataSource.parse((tmp_path / "several").as_uri()), InputOptions())
    assert {path.name for path in copied} == {"p.jsonl", "state.json"}


def test_the_copy_goes_with_the_process(tmp_path: Path) -> None:
    lines(tmp_path / "p.jsonl")
    program = (
        "import sys\nfrom cai.core.addresses import DataSource\nfrom cai.data import InputOptions, open_prompts\n"
        "assert len(list(open_prompts(DataSource.parse(sys.argv[1]), InputOptions()))) == 21"
    )
    own = tmp_path / "tmp"
    own.mkdir()
    command = [sys.executable, "-c", program, (tmp_path / "p.jsonl").as_uri()]
    subprocess.run(command, check=True, env={"TMPDIR": str(own)}, cwd=Path(__file__).parent.parent)
    assert list(own.iterdir()) == []


def test_a_run_at_a_url_trains_as_the_same_run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Machines(tmp_path, monkeypatch).use("a")
    url = (tmp_path / "share" / "run").as_uri()
    rows = [make_row(number) for number in range(12)]
    fill(tmp_path / "run", rows)
    fill(working_copy(url), rows)
    Machines(tmp_path, monkeypatch).use("b")
    for kind in ("supervised", "pairs"):
        here, there = (
            load_examples(kind, DataSettings((DataSource.parse(place),), test_share=0.3), 0)
            for place in (str(tmp_path / "run"), url)
        )
        assert there.fingerprint == here.fingerprint
        assert list(there.train) == list(here.train)


def test_the_signature_of_a_web_address_is_kept_nowhere(
    tmp_path: Path, web: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "here" / "p.jsonl"
    path.write_bytes(b"".join(b'{"prompt": "p%d", "completion": "c"}\n' % number for number in range(9)))
    url = f"{web}/p.jsonl"
    data = DataSettings((DataSource.parse(f"{url}?signature=secret"),))
    assert load_examples("supervised", data, 0).parts[0].name == url
    settings = TrainSettings("sft", DEFAULT_MODEL, tmp_path / "out", data, own=find_method("sft").own())
    assert settings_as_json(settings)["data"] == [url]
    command = ["generate", "--constitution", "medical", "--dry-run", "--json", "--prompts", f"{url}?signature=secret"]
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 0
    assert orjson.loads(capsys.readouterr().out)["plan"]["prompts"] == url


def test_a_table_at_a_url_trains_as_the_same_file_here(tmp_path: Path, upload: Upload) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"".join(b'{"prompt": "p%d", "completion": "c"}\n' % number for number in range(9)))
    url = upload(path)
    here, there = (
        load_examples("supervised", DataSettings((DataSource.parse(place),)), 0) for place in (str(path), url)
    )
    assert there.fingerprint == here.fingerprint
    assert (there.parts[0].name, len(there.train)) == (url, len(here.train))
    with pytest.raises(InputError, match="--split is for datasets saved on disk or on the hub"):
        load_examples("supervised", DataSettings((DataSource.parse(url),), split="train"), 0)
