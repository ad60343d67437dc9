"""From a dataset's name to its atomic files: find the release, read it, write it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs

from recbole_llm.data.sources.archive import Release
from recbole_llm.data.sources.download import Download, download
from recbole_llm.data.sources.table import find_source
from recbole_llm.data.sources.writer import write_tables
from recbole_llm.errors import RequestError


def convert(name: str, *, place: Path, folder: Path, overwrite: bool) -> dict[str, Any]:
    """Write a dataset's atomic files from its official release.

    Args:
        name: The dataset, as in ``SOURCES``.
        place: The release: a folder, an archive or a file.
        folder: Where the atomic files go.
        overwrite: Whether files that are there may be replaced.

    Returns:
        What was read and written, in counts.

    Raises:
        RequestError: If the name, a place or the release is wrong.
    """
    tables = find_source(name).read(Release(place))
    return write_tables(tables, folder=folder, name=name, overwrite=overwrite)


def download_folder(name: str) -> Path:
    """Return where a dataset's release is kept once it has been fetched."""
    return Path(platformdirs.user_cache_dir("recbole-llm")) / "releases" / name


def download_release(name: str) -> Iterator[Download]:
    """Fetch a dataset's release from its publisher's host, file by file.

    Raises:
        RequestError: If no program may fetch it; the message says how a person gets it.
        DownloadError: If the host does not give it.
    """
    source = find_source(name)
    if not source.files:
        raise RequestError(
            f"{name}: its publisher lets no program fetch it: {source.by_hand}. Then name the "
            "place with --from."
        )
    for file in source.files:
        yield download(file, download_folder(name))
