"""How the bytes of a text file become lines of UTF-8, whatever it was written in, and what is no text file at all.

UTF-8 is read as it is, UTF-16 and UTF-32 where a byte order mark says so, and CP949 (Korean spreadsheets) where nothing
speaks against it. A file in none of these is read as UTF-8, so that each line that is not is told.
"""

import codecs
import hashlib
import io
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, Protocol

from cai.core.errors import InputError

LINE_LIMIT = 1 << 24
"""Bytes of a line (characters, where it is not UTF-8); what is longer must not enter memory."""

_CHUNK = 1 << 20

_MARKS = (
    # The longer first: UTF-32's mark begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

GZIP = b"\x1f\x8b"

_FOREIGN = (
    (b"version https://git-lfs.github.com/spec/", "is a Git LFS pointer and not the file itself; run `git lfs pull`"),
    (GZIP, "is compressed with gzip; let its name end in .gz"),
    (b"\x28\xb5\x2f\xfd", "is compressed with Zstandard; unpack it"),
    (b"\xfd7zXZ\x00", "is compressed with xz; unpack it"),
    (b"BZh91AY&SY", "is compressed with bzip2; unpack it"),
    (b"PK\x03\x04", "is a ZIP archive or a spreadsheet; unpack it, or save it as CSV"),
    (b"\xd0\xcf\x11\xe0", "is an old spreadsheet or document; save it as CSV"),
    (b"PAR1\x15", "is a Parquet file; let its name end in .parquet"),
    (b"ARROW1\x00\x00", "is an Arrow file; save it as Parquet"),
    (b"SQLite format 3\x00", "is an SQLite database; export the table as CSV"),
)
"""How files begin that are no text; each is longer than a text could begin with by chance."""

SIGNATURE_BYTES = 48

_KS_X_1001 = 0xA1
"""The least byte of a pair of KS X 1001, which has the syllables in use; CP949 adds the others around it."""


class Utf8File(Protocol):
    """An open file whose bytes are UTF-8 or meant to be."""

    def read(self, size: int) -> bytes:
        """Return about `size` more bytes, none at the end."""

    def readline(self, size: int) -> bytes:
        """Return the rest of the line, or about `size` bytes of it."""


class TextLine(NamedTuple):
    """A line with its number, from 1; of one that is too long only the beginning is there."""

    number: int
    data: bytes
    whole: bool


def foreign_kind(beginning: bytes) -> str | None:
    """Return what a file that begins so is, and what to do with it, when it is no text."""
    return next((told for signature, told in _FOREIGN if beginning.startswith(signature)), None)


def require_text(file: BinaryIO, name: str) -> None:
    """Raise InputError when a file that is read from its beginning is of another kind."""
    kind = foreign_kind(file.read(SIGNATURE_BYTES))
    if kind is not None:
        raise InputError(f"{name} {kind}.")


def require_line_feeds(open_file: Callable[[], BinaryIO], name: str) -> None:
    """Raise InputError when a file has carriage returns and not one line feed: its lines would be read as one."""
    has_return = False
    with open_file() as file:
        while chunk := file.read(_CHUNK):
            if b"\n" in chunk:
                return
            has_return = has_return or b"\r" in chunk
    if has_return:
        raise InputError(f"{name} has lines that end in carriage returns alone; save it with the line ends of Unix.")


def survey(open_file: Callable[[], BinaryIO]) -> tuple[str, str]:
    """Return the content's digest, without the mark that some editors put first, and the name of its encoding.

    Raises whatever reading raises.
    """
    digest = hashlib.blake2b(digest_size=8)
    decoder: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()
    with open_file() as file:
        chunk = file.read(_CHUNK)
        marked = next((name for mark, name in _MARKS if chunk.startswith(mark)), None)
        chunk = chunk.removeprefix(codecs.BOM_UTF8)
        while chunk:
            digest.update(chunk)
            if decoder is not None:
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError:
                    decoder = None
            chunk = file.read(_CHUNK)
    if marked is None and not _is_ended(decoder):
        with open_file() as file:
            return digest.hexdigest(), "cp949" if _is_korean(file) else "utf-8"
    return digest.hexdigest(), marked or "utf-8"


def open_as_utf8(open_file: Callable[[], BinaryIO], encoding: str) -> "_Plain | _Transcoded":
    """Return the file's content as UTF-8; reading raises UnicodeDecodeError where it is not in its encoding."""
    return _Plain(open_file()) if encoding == "utf-8" else _Transcoded(open_file(), encoding)


def read_lines(file: Utf8File) -> Iterator[TextLine]:
    """Yield the lines, which only a line feed ends."""
    number = 1
    while data := file.readline(LINE_LIMIT):
        whole = data.endswith(b"\n") or len(data) < LINE_LIMIT
        if not whole:
            data = data[:_CHUNK]
            while (rest := file.readline(LINE_LIMIT)) and not rest.endswith(b"\n"):
                pass
        yield TextLine(number, data, whole)
        number += 1


def line_fault(line: TextLine) -> str | None:
    """Return why a line is no text that can be taken, or None."""
    if not line.whole:
        return f"the line is longer than {LINE_LIMIT >> 20} MiB"
    if b"\0" in line.data:
        return "the line has a NUL character (UTF-16 needs a byte order mark)"
    if not line.data.isascii():
        try:
            line.data.decode()
        except UnicodeDecodeError as error:
            return f"the line is not UTF-8 (byte {error.start + 1})"
    return None


class _Plain:
    """UTF-8, without its byte order mark."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._first = file.read(len(codecs.BOM_UTF8)).removeprefix(codecs.BOM_UTF8)

    def __enter__(self) -> "_Plain":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        first, self._first = self._first, b""
        return first + self._file.read(size)

    def readline(self, size: int) -> bytes:
        if not self._first:
            return self._file.readline(size)
        line, feed, self._first = self._first.partition(b"\n")
        return line + (feed or self._file.readline(size))


class _Transcoded:
    """Another encoding, as UTF-8."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._text = io.TextIOWrapper(file, encoding, newline="\n")

    def __enter__(self) -> "_Transcoded":
        return self

    def __exit__(self, *_: object) -> None:
        self._text.close()

    def read(self, size: int) -> bytes:
        return self._text.read(size).encode()

    def readline(self, size: int) -> bytes:
        return self._text.readline(size).encode()


def _is_ended(decoder: codecs.IncrementalDecoder | None) -> bool:
    """Tell whether everything was decoded, down to the last byte."""
    return decoder is not None and decoder.getstate()[0] == b""


def _is_korean(file: BinaryIO) -> bool:
    """Tell whether a file that is not UTF-8 is CP949 beyond doubt.

    Many files decode as CP949 that are something else: its pairs may end in an ASCII letter, so that Windows's
    apostrophe and an s make a syllable. Hence: all of it decodes, nine in ten of what is not ASCII are the syllables of
    KS X 1001 (rarer ones are what chance gives), and hardly a line is good UTF-8, as in a file with a damaged line.
    """
    lines = good = foreign = syllables = 0
    for line in read_lines(_Plain(file)):
        if line.data.isascii():
            continue
        try:
            text = line.data.decode("cp949")
        except UnicodeDecodeError:
            return False
        lines += 1
        good += _is_utf8(line.data)
        foreign += sum(character > "\x7f" for character in text)
        hangul = "".join(character for character in text if "가" <= character <= "힣").encode("cp949")
        syllables += sum(min(pair) >= _KS_X_1001 for pair in zip(hangul[::2], hangul[1::2], strict=True))
    return good * 10 < lines and syllables * 10 >= foreign * 9


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
