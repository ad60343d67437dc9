"""The command ``recbole-llm dataset``: its words, and which part does what they ask."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from recbole_llm.data.sources.convert import convert, download_folder, download_release
from recbole_llm.data.sources.table import find_source
from recbole_llm.data.sources.writer import require_absent
from recbole_llm.dataset_yaml import about
from recbole_llm.errors import RequestError
from recbole_llm.parsing import split_arguments

PLACE = "recbole-llm dataset"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RequestError(
            f"{PLACE}: {message}. Write {PLACE} NAME [--from PLACE] [--out FOLDER] [--force], or "
            f"{PLACE} --stats NAME [--out FILE.png] [--key=value ...]."
        )


def run_dataset(argv: Sequence[str], *, say: Callable[[str], None]) -> dict[str, Any]:
    """Convert a dataset's release, or measure a dataset.

    Args:
        argv: The command's words.
        say: What a person should read before the work is done.

    Returns:
        What was counted, fit for JSON.

    Raises:
        RequestError: If the request is wrong.
        DownloadError: If a host does not give the release.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("name", nargs="?")
    parser.add_argument("--stats")
    parser.add_argument("--from", dest="place", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--force", action="store_true")
    given, rest = parser.parse_known_args(argv)
    if (given.name is None) == (given.stats is None):
        parser.error("name one dataset, behind --stats or alone")
    if given.stats is not None:
        if given.place or given.force:
            parser.error("--from and --force are for a conversion, not for --stats")
        return _stats(given.stats, split_arguments(rest), out=given.out)
    if rest:
        parser.error(f"unknown: {' '.join(rest)}")
    folder = given.out or Path("dataset") / given.name
    return _convert(given.name, place=given.place, folder=folder, overwrite=given.force, say=say)


def _convert(
    name: str, *, place: Path | None, folder: Path, overwrite: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    find_source(name)
    if not overwrite:
        require_absent(folder, name)  # before an hour of fetching
    facts = about(name)
    say(f"{name}: {facts['licence']}. From {facts['source']}. Please cite {facts['citation']}.")
    downloads = []
    if place is None:
        for file in download_release(name):
            downloads.append({"url": file.url, "sha256": file.sha256, "checked": file.is_checked})
            if not file.is_checked:
                say(f"{file.path.name}: no digest is published; its sha256 is {file.sha256}.")
        place = download_folder(name)
    result = convert(name, place=place, folder=folder, overwrite=overwrite)
    if result["as_published"] is False:
        say(
            f"warning: the release has {result['release']}, its publisher counts "
            f"{result['published']}. Results on it do not compare with those of others."
        )
    return {"dataset": name, **result, **facts, "downloads": downloads}


def _stats(name: str, arguments: dict[str, str], *, out: Path | None) -> dict[str, Any]:
    from recbole_llm.compat import require_recbole

    require_recbole()
    from recbole_llm.dataset_stats import dataset_stats

    return dataset_stats(name, arguments, picture=out)
