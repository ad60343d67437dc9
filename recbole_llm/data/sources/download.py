"""Files from a publisher's host: over https only, resumed where they were cut, checked."""

from __future__ import annotations

import errno
import hashlib
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock
from tqdm import tqdm

from recbole_llm.data.sources.table import RemoteFile
from recbole_llm.errors import DownloadError
from recbole_llm.files import sha256, sync

BLOCK, TIMEOUT = 1 << 20, 60
AGENT = {"User-Agent": "recbole-llm (research dataset reader)"}
HERE = ("127.0.0.1", "localhost", "::1")  # needs no encryption: nothing leaves the machine
OF_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
BUSY = 429  # and 5xx: a host that may answer later


@dataclass(frozen=True)
class Download:
    """A file that is here now.

    Attributes:
        path: Where.
        url: Whence.
        sha256: Its digest, to compare with others'.
        is_checked: Whether the publisher gives a digest, which it has.
    """

    path: Path
    url: str
    sha256: str
    is_checked: bool


def download(file: RemoteFile, folder: Path) -> Download:
    """Return a file of a host, fetching what is not here yet.

    What came before a cut stays in ``<name>.part``, and the next call goes on behind it if the
    host's file is still the same one.

    Raises:
        DownloadError: If the host does not give the file, or it has another digest.
    """
    _require_safe(file.url)
    path = folder / Path(urlsplit(file.url).path).name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            _bring(file, path)
    except OSError as error:
        raise DownloadError(
            f"{folder}: cannot be written ({error.strerror}). Name another cache by XDG_CACHE_HOME,"
            " or fetch the file by hand and name its place with --from."
        ) from None
    return Download(path, file.url, sha256(path), file.md5 is not None)


def _bring(file: RemoteFile, path: Path) -> None:
    if path.is_file():
        _require_md5(path, file)
        return
    part = path.with_name(f"{path.name}.part")
    _fetch(file.url, part)
    _require_md5(part, file)
    sync(part)
    part.replace(path)
    _tag(part).unlink(missing_ok=True)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> urllib.request.Request | None:
        _require_safe(args[-1])
        return super().redirect_request(*args)


def _require_safe(url: str) -> None:
    address = urlsplit(url)
    if address.scheme != "https" and not (address.scheme == "http" and address.hostname in HERE):
        raise DownloadError(f"{url}: files are fetched over https only.")


def _tag(part: Path) -> Path:
    """Return the file that remembers which version of the host's file a part is of."""
    return part.with_name(f"{part.name}.tag")


def _fetch(url: str, part: Path) -> None:
    tag = _tag(part).read_text("utf-8") if _tag(part).is_file() and part.is_file() else ""
    begin = part.stat().st_size if tag else 0
    headers = AGENT | ({"Range": f"bytes={begin}-", "If-Range": tag} if begin else {})
    opener = urllib.request.build_opener(_SafeRedirects)
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as answer:
            _receive(answer, part, begin=begin if answer.status == 206 else 0)
    except urllib.error.HTTPError as error:
        if error.code == 416 and begin:
            if error.headers.get("Content-Range") == f"bytes */{begin}":
                return  # the part is all that the host has
            _tag(part).unlink()  # it is no beginning of what the host has now
            return _fetch(url, part)
        raise _refused(url, error) from None
    except (OSError, HTTPException) as error:  # URLError is an OSError
        if getattr(error, "errno", None) in OF_DISK:
            raise  # of this machine, not of the host
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise DownloadError(
            f"{url}: could not be fetched ({reason}). Run the same command again, which goes on "
            "where it stopped, or name files with --from."
        ) from None


def _refused(url: str, error: urllib.error.HTTPError) -> DownloadError:
    reason = " ".join(error.reason.split())
    is_busy = error.code == BUSY or error.code >= 500
    return DownloadError(
        f"{url}: the host answers {error.code} ({reason}). "
        + ("Run the same command again later, or" if is_busy else "The file may have moved:")
        + " fetch it by hand and name its place with --from."
    )


def _receive(answer: Any, part: Path, *, begin: int) -> None:
    if begin and not answer.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
        raise HTTPException("the host sent another range than was asked for")
    tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    if tag.startswith("W/"):  # a weak tag does not promise the same bytes
        tag = ""
    _tag(part).write_text(tag, "utf-8")
    length = answer.headers.get("Content-Length")
    total = None if length is None else begin + int(length)
    progress = tqdm(
        total=total, initial=begin, unit="B", unit_scale=True, desc=part.stem, disable=None
    )
    with progress, part.open("ab" if begin else "wb") as file:
        while block := answer.read(BLOCK):
            file.write(block)
            progress.update(len(block))
        received = file.tell()
    if total is not None and received != total:
        raise HTTPException(f"{received:,} of {total:,} bytes came")


def _require_md5(path: Path, file: RemoteFile) -> None:
    """Delete and refuse a file that has another digest than a publisher gives who gives one."""
    if file.md5 is None:
        return
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as content:
        while block := content.read(BLOCK):
            digest.update(block)
    if digest.hexdigest() != file.md5:
        path.unlink()
        raise DownloadError(
            f"{file.url}: the publisher gives the md5 {file.md5}, the file that came has "
            f"{digest.hexdigest()} and was deleted. Run the command again; if that does not help, "
            "the host's file has changed."
        )
