"""What can be wrong with an archive, named by file and line; nothing is extracted or run."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from recbole_llm.data.sources import archive as module
from recbole_llm.data.sources.archive import (
    Member,
    Release,
    identifier,
    labels,
    number,
    record_of,
    text,
)
from recbole_llm.errors import DataError, RequestError


def read(place: Path, name: str, **options) -> list[str]:
    return list(Release(place).find(name).rows(lambda line: line, **options))


def test_a_file_is_found_plain_packed_zipped_and_in_a_folder(tmp_path, pack, archive) -> None:
    (tmp_path / "a" / "below").mkdir(parents=True)
    (tmp_path / "a" / "below" / "x.dat").write_bytes(b"1\r\n\n2")
    pack(tmp_path / "b" / "x.dat.gz", ["1", "", "2"])
    archive(tmp_path / "c.zip", {"deep/er/x.dat": "1\n2\n", "__MACOSX/x.dat": "no"})
    archive(tmp_path / "d" / "any.zip", {"x.dat": "\ufeff1\n2\n"})
    for place in ("a", "b", "b/x.dat.gz", "c.zip", "d"):
        assert read(tmp_path / place, "x.dat") == ["1", "2"]


def test_a_member_that_points_outside_is_read_and_makes_no_file(tmp_path, archive) -> None:
    place = tmp_path / "in" / "evil.zip"
    archive(place, {"../../x.dat": "1\n"})
    before = sorted(tmp_path.rglob("*"))
    assert read(place, "x.dat") == ["1"]
    assert sorted(tmp_path.rglob("*")) == before


def test_no_place_no_member_and_two_members(tmp_path: Path, archive) -> None:
    with pytest.raises(RequestError, match=r"--from: .*nowhere does not exist"):
        Release(tmp_path / "nowhere")
    archive(tmp_path / "x.zip", {"a/x.dat": "1\n", "b/x.dat": "2\n"})
    with pytest.raises(DataError, match=r"holds no y\.dat \(nor y\.dat\.gz\); it holds x\.dat"):
        Release(tmp_path).find("y.dat")
    with pytest.raises(DataError, match=r"more than one x\.dat: .*a/x\.dat, .*b/x\.dat"):
        Release(tmp_path).find("x.dat")


def test_a_gz_that_was_cut_is_named_with_the_line(tmp_path: Path, pack) -> None:
    path = tmp_path / "x.json.gz"
    pack(path, [f"line {at} {hash(str(at))}" for at in range(20_000)])
    path.write_bytes(path.read_bytes()[:-2_000])
    with pytest.raises(DataError, match=r"x\.json\.gz: cannot be read beyond line \d{4,}.*cut"):
        read(tmp_path, "x.json")


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json.gz").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=r"a\.json\.gz: cannot be read beyond line 0"):
        read(tmp_path, "a.json")
    (tmp_path / "b.zip").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=r"b\.zip: is no zip archive"):
        Release(tmp_path)


def packed(path: Path, name: str = "x.dat") -> bytearray:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, "1\n")
    return bytearray(path.read_bytes())


def test_a_zip_that_is_sound_but_cannot_be_read_is_to_be_unpacked(tmp_path: Path) -> None:
    path, central = tmp_path / "X.ZIP", b"PK\1\2"
    content = packed(path)
    assert read(path, "x.dat") == ["1"]  # whatever the case of its suffix
    content[6] |= 1  # encrypted
    content[content.index(central) + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"X\.ZIP/x\.dat: .*encrypted.*Unpack X\.ZIP and name"):
        read(path, "x.dat")
    content = packed(path)
    content[content.index(central) + 6] = 99  # the version that it needs
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"X\.ZIP: cannot be read \(.*9\.9\)\. Unpack it"):
        Release(path)
    content = packed(path, "\u00e9.dat")
    content[content.index(central) + 46] = 0xFF  # its name is no UTF-8
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"X\.ZIP: cannot be read \(.*utf-8.*\)\. Unpack it"):
        Release(path)


def test_a_flipped_byte_in_a_zip_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr("x.dat", "1\n" * 5_000)
    content = bytearray(path.read_bytes())
    content[5_000] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"x\.zip/x\.dat: cannot be read beyond line .*CRC"):
        read(path, "x.dat")


def test_a_line_in_another_encoding_and_one_without_end(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "x.dat"
    path.write_bytes(b"ok\ncaf\xe9\n")
    assert read(path, "x.dat", encoding="latin-1") == ["ok", "café"]
    with pytest.raises(DataError, match=r"x\.dat:2: byte 0xe9 is not utf-8"):
        read(path, "x.dat")
    monkeypatch.setattr(module, "MAX_LINE", 100)
    path.write_bytes(b"ok\n" + b"x" * 1_000)
    with pytest.raises(DataError, match=r"x\.dat:2: the line has more than 100 bytes"):
        read(path, "x.dat")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n1,2\n3\n", r"x\.csv:3: .*expected 2 cells"),
        ("a,b\n1,2\n3,4,5\n", r"x\.csv:3: .*expected 2 cells"),
        ('a,b\n1,"2\n3', r"x\.csv:2: .*unexpected end of data"),
        ('"a,b\n1,2\n', r"x\.csv:1: .*unexpected end of data"),
        ("a,c\n1,2\n", r"x\.csv:1: the header must have the columns a, b; received a, c"),
        ("", r"x\.csv:1: .*received an empty file"),
        ("a,b\nx,2\n", r"x\.csv:2: .*invalid literal for int"),
    ],
)
def test_what_is_wrong_in_a_csv_is_named_by_line(tmp_path: Path, content, words) -> None:
    path = tmp_path / "x.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=words):
        list(Member(path).records(lambda row: int(row["a"]), columns=("a", "b")))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{'a': 1", "was never closed"),
        ("[1]", "it is a list, not a record"),
        ('{"b": 1}', "it has no 'a'"),
        ("__import__('pathlib').Path('canary').touch()", "malformed node"),
        ("{'a': __import__('pathlib').Path('canary').touch()}", "malformed node"),
        ("[" * 100_000, "is no row"),
    ],
)
def test_a_line_that_is_no_record_is_named_and_never_run(tmp_path, line, words, pack) -> None:
    pack(tmp_path / "x.json.gz", ['{"a": 1}', "{'a': 'it\\'s'}", line])
    with pytest.raises(DataError, match=rf"x\.json\.gz:3: .*{words}"):
        list(Release(tmp_path).find("x.json").rows(lambda row: record_of(row)["a"]))
    assert not Path("canary").exists()


def test_cells() -> None:
    assert text("  two \n lines\tand\u2028more ") == "two lines and more"
    assert text(None) == ""
    assert labels(["Great Soundtrack", "RPG"]) == "Great-Soundtrack RPG" and labels(None) == ""
    assert text("a \ud83d\ude00 b \ud83d") == "a \U0001f600 b \ufffd"  # halves of characters
    assert identifier("\ude00x") == "\ufffdx" and labels(["\ud83d\ude00"]) == "\U0001f600"
    assert (number(5.0), number(" 7 ")) == ("5.0", "7")
    for wrong in ("nan", "inf", "soon"):
        with pytest.raises(ValueError, match=wrong):
            number(wrong)
