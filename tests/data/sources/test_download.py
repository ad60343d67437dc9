"""Downloads, from a server on this machine: ranges, cuts, digests, and hosts that fail."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from recbole_llm.data.sources.download import download
from recbole_llm.data.sources.table import SOURCES, RemoteFile
from recbole_llm.errors import DownloadError

CONTENT = bytes(range(256)) * 4_000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Host:
    """What the server has and does, and what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.content, self.tag, self.status = CONTENT, '"one"', 200
        self.cut: int | None = None
        self.has_ranges = True
        self.location = ""
        self.asked: list[str | None] = []


@pytest.fixture
def host(monkeypatch) -> Iterator[Host]:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            return

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            made.asked.append(asked)
            begin = 0
            if asked and made.has_ranges and self.headers.get("If-Range") == made.tag:
                begin = int(asked.removeprefix("bytes=").removesuffix("-"))
            status = 206 if begin and made.status == 200 else made.status
            if begin >= len(made.content):
                status = 416
            self.send_response(status)
            if made.location:
                self.send_header("Location", made.location)
            body = made.content[begin:]
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", made.tag)
            if status == 416:
                self.send_header("Content-Range", f"bytes */{len(made.content)}")
            if status == 206:
                self.send_header("Content-Range", f"bytes {begin}-{len(made.content) - 1}/*")
            self.end_headers()
            self.wfile.write(body if made.cut is None else body[: made.cut])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Host(f"http://127.0.0.1:{server.server_address[1]}/data/x.zip?version=1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_file_comes_once(host: Host, tmp_path: Path) -> None:
    for _ in range(2):
        found = download(RemoteFile(host.url, MD5), tmp_path / "new")
        assert found.path == tmp_path / "new" / "x.zip" and found.path.read_bytes() == CONTENT
        assert found.is_checked and found.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert host.asked == [None]
    assert {path.name for path in (tmp_path / "new").iterdir()} <= {"x.zip", "x.zip.lock"}


def test_a_file_without_a_published_digest_says_so(host: Host, tmp_path: Path) -> None:
    assert not download(RemoteFile(host.url), tmp_path).is_checked


def cut_at(host: Host, tmp_path: Path, size: int) -> None:
    host.cut = size
    with pytest.raises(DownloadError, match=rf"{size:,} of 1,024,000 bytes came.*goes on"):
        download(RemoteFile(host.url, MD5), tmp_path)
    host.cut = None
    assert not (tmp_path / "x.zip").exists()
    assert (tmp_path / "x.zip.part").read_bytes() == CONTENT[:size]


def test_what_was_cut_is_resumed(host: Host, tmp_path: Path) -> None:
    cut_at(host, tmp_path, 300_000)
    assert download(RemoteFile(host.url, MD5), tmp_path).path.read_bytes() == CONTENT
    assert host.asked == [None, "bytes=300000-"]


def test_a_part_that_is_whole_is_not_fetched_again(host: Host, tmp_path: Path) -> None:
    cut_at(host, tmp_path, 300_000)
    (tmp_path / "x.zip.part").write_bytes(CONTENT)  # and the process ended before it was renamed
    assert download(RemoteFile(host.url, MD5), tmp_path).path.read_bytes() == CONTENT
    assert host.asked == [None, "bytes=1024000-"]


@pytest.mark.parametrize("change", ["the file", "no ranges", "a shorter file"])
def test_what_cannot_be_resumed_begins_again(change: str, host: Host, tmp_path: Path) -> None:
    cut_at(host, tmp_path, 300_000)
    if change == "the file":
        host.content, host.tag = CONTENT[::-1], '"two"'
    elif change == "a shorter file":
        host.content = CONTENT[:1000]
    else:
        host.has_ranges = False
    assert download(RemoteFile(host.url), tmp_path).path.read_bytes() == host.content


def test_a_part_of_an_unknown_version_is_not_trusted(host: Host, tmp_path: Path) -> None:
    host.tag = 'W/"weak"'
    cut_at(host, tmp_path, 300_000)
    assert download(RemoteFile(host.url, MD5), tmp_path).path.read_bytes() == CONTENT
    assert host.asked == [None, None]


def test_a_wrong_digest_deletes_what_came(host: Host, tmp_path: Path) -> None:
    host.content = CONTENT[:-1] + b"!"
    with pytest.raises(DownloadError, match=rf"gives the md5 {MD5}, the file that came has"):
        download(RemoteFile(host.url, MD5), tmp_path)
    assert not {path.name for path in tmp_path.iterdir()} & {"x.zip", "x.zip.part"}


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, "may have moved"), (403, "may have moved"), (429, "later"), (503, "later")],
)
def test_a_host_that_refuses_is_named(status: int, words: str, host: Host, tmp_path: Path) -> None:
    host.status = status
    found = rf"{host.url[:30]}.* answers {status}.*{words}.*--from"
    with pytest.raises(DownloadError, match=found):
        download(RemoteFile(host.url), tmp_path)


def test_a_host_that_sends_in_circles_is_named_in_a_line(host: Host, tmp_path: Path) -> None:
    host.status, host.location = 302, host.url
    with pytest.raises(DownloadError, match=r"answers 302 \(.*redirect.*\)") as told:
        download(RemoteFile(host.url), tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_not_the_hosts_fault(host: Host, tmp_path: Path) -> None:
    (tmp_path / "x.zip.part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match=r"cannot be written \(No space left.*XDG_CACHE_HOME"):
        download(RemoteFile(host.url), tmp_path)


def test_no_host(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"could not be fetched \(.*refused"):
        download(RemoteFile("http://127.0.0.1:9/x.zip"), tmp_path)


def test_https_only_even_behind_a_redirect(host: Host, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"http://example\.org/x\.zip: .*https only"):
        download(RemoteFile("http://example.org/x.zip"), tmp_path)
    host.content, host.status, host.location = b"moved", 302, "http://example.org/y.zip"
    with pytest.raises(DownloadError, match=r"http://example\.org/y\.zip: .*https only"):
        download(RemoteFile(host.url), tmp_path)
    assert not (tmp_path / "x.zip").exists()


def test_addresses_are_publishers_own_over_https() -> None:
    urls = [file.url for source in SOURCES.values() for file in source.files]
    hosts = {"files.grouplens.org", "snap.stanford.edu", "mcauleylab.ucsd.edu"}
    hosts |= {"cseweb.ucsd.edu", "recsys.westlake.edu.cn"}
    assert {tuple(url.split("/")[:3]) for url in urls} == {("https:", "", host) for host in hosts}
    for name, source in SOURCES.items():
        assert bool(source.files) != bool(source.by_hand), name


def test_a_file_that_is_here_is_checked_too(host: Host, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"another release")
    with pytest.raises(DownloadError, match="was deleted"):
        download(RemoteFile(host.url, MD5), tmp_path)
    assert download(RemoteFile(host.url, MD5), tmp_path).is_checked and host.asked == [None]


def test_a_cache_that_cannot_be_written_says_what_to_do(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match=r"file.*cannot be written.*XDG_CACHE_HOME"):
        download(RemoteFile(host.url, MD5), tmp_path / "file")
