"""YAML with lines: every place is known, everything unusual is a problem with its line, nothing is a traceback."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.core.yamlfile import Location, YamlFile, read_yaml


def read(tmp_path: Path, content: str | bytes) -> YamlFile:
    path = tmp_path / "file.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_yaml(path)


def test_lines_of_keys_and_items(tmp_path: Path) -> None:
    file = read(tmp_path, "# first\na: 1\nb:\n  - x\n  - c: >\n      long\n      text\n    d: 2024-01-02\n")
    assert file.data == {"a": 1, "b": ["x", {"c": "long text\n", "d": "2024-01-02"}]}
    assert file.problems == ()
    places: dict[Location, int] = {("a",): 2, ("b",): 3, ("b", 0): 4, ("b", 1): 5, ("b", 1, "c"): 5, ("b", 1, "d"): 8}
    assert {place: file.line(place) for place in places} == places
    assert file.line(("b", 1, "missing")) == 5
    assert file.line(("nowhere", 3)) == 2


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("", 1, "empty"),
        ("# only a comment\n", 1, "empty"),
        ("a: 1\nb: 2\na: 3\n", 3, "`a` is here a second time (first on line 1)"),
        ("a: &x [1]\nb: *x\n", 2, "the alias `*x` is not read"),
        ("a: 1\nb: [1, 2\n", 3, "starts on line 2"),
        ("a: 1\n\tb: 2\n", 2, "not YAML"),
        ("a: b: c\n", 1, "not YAML"),
        ("a: 1\nb: !!python/object:os.system x\n", 2, "leave the tag out"),
        ("a: 1\nb: !!int x\n", 2, "leave the tag out"),
        ("a: 1\n? [b, c]\n: 2\n", 2, "a key must be text"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        (b"a: 1\nb: \xff\n", 2, "UTF-8"),
        ("a: 1\nb: \x07\n", 2, "U+0007"),
        ("[" * 5000, 1, "too deep"),
        ("a: 1\nb: !!timestamp x\n", 2, "leave the tag out"),
        ("a: 1\nb: ! [x]\n", 2, "leave the tag out"),
        ("a: 1\nb: 9223372036854775808\n", 2, "64 bits"),
        ("a: 1\nb: " + "9" * 5000, 2, "64 bits"),
        ("a: 1\nb: 0x" + "f" * 400, 2, "64 bits"),
        ('a: 1\nb: "\\0"\n', 2, "U+0000"),
        ('a: 1\nb: "\\ud800"\n', 2, "U+D800"),
        ('a: 1\n"\\udfff": 1\n', 2, "U+DFFF"),
        (b"#" * ((16 << 20) + 1), 1, "larger than 16 MiB"),
    ],
)
def test_problems_have_lines(tmp_path: Path, content: str | bytes, line: int, message: str) -> None:
    file = read(tmp_path, content)
    assert [problem.line for problem in file.problems] == [line]
    assert message in file.problems[0].message
    assert "\n" not in file.problems[0].message
    assert file.describe(file.problems[0]).startswith(f"{file.path}:{line}: ")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("Off", "Off"),
        ("y", "y"),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-9223372036854775808", -(2**63)),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("TRUE", True),
        ("~", None),
        ("", None),
        ("'~'", "~"),
        ("2024-01-02", "2024-01-02"),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(tmp_path: Path, written: str, value: object) -> None:
    file = read(tmp_path, f"a: {written}\nb: [{written}]\n" if written else "a:\n")
    assert file.problems == ()
    assert file.data["a"] == value
    assert type(file.data["a"]) is type(value)
    assert file.spellings[("a",)] == written.strip("'")


def test_comments_behind_unquoted_text_are_known(tmp_path: Path) -> None:
    file = read(tmp_path, "a: see issue #12 here\nb: 'quoted' # no\nc:\n  - one # two\n# alone\nd: >\n  in #it\n")
    assert file.comments == {("a",): "12 here", ("c", 0): " two"}
    assert file.data["d"] == "in #it\n"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert "No such file" in read_yaml(tmp_path / "none.yaml").problems[0].message
    assert "directory" in read_yaml(tmp_path).problems[0].message


def test_a_billion_laughs_are_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [lol, lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    assert read(tmp_path, "\n".join(lines)).data is None


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc-é", min_size=1), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(values)
def test_plain_data_comes_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    class NoAliases(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    file = read(tmp_path_factory.getbasetemp(), yaml.dump(value, Dumper=NoAliases, allow_unicode=True))
    assert file.problems == ()
    assert file.data == value


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text("a:- []{}&*!|>'\"#\n\t?,%@`", max_size=40).map(str.encode))
def test_no_bytes_make_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = read(tmp_path_factory.getbasetemp(), content)
    assert all(problem.line >= 1 for problem in file.problems)
    assert file.problems or file.lines
