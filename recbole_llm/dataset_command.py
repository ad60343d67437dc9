"""The command ``recbole-llm dataset``: its words, and which part does what they ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recbole_llm.data.sources.convert import convert, download_folder, download_release
from recbole_llm.data.sources.table import find_source
from recbole_llm.data.sources.writer import require_absent
from recbole_llm.dataset_yaml import about
from recbole_llm.errors import DataError, RequestError
from recbole_llm.parsing import split_arguments, split_command

PLACE = "recbole-llm dataset"


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
    if any(word == "--stats" or word.startswith("--stats=") for word in argv):
        return _stats(argv)
    names, given, flags = split_command(
        argv, place=PLACE, wants="one dataset", options=("from", "out"), flags=("force",)
    )
    (name,) = names
    folder = Path(given["out"]) if "out" in given else Path("dataset") / name
    place = Path(given["from"]) if "from" in given else None
    return _convert(name, place=place, folder=folder, overwrite="force" in flags, say=say)


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
    try:
        result = convert(name, place=place, folder=folder, overwrite=overwrite)
    except DataError as error:
        if not downloads:
            raise
        raise DataError(f"{error} What is deleted from {place} is fetched anew.") from None
    if result["as_published"] is False:
        say(
            f"warning: the release has {result['release']}, its publisher counts "
            f"{result['published']}. Results on it do not compare with those of others."
        )
    if name == "ml-100k":
        say(f"{name}: a run reads the copy in RecBole's wheel, or with --data_path this one.")
    return {"dataset": name, **result, **facts, "downloads": downloads}


def _stats(argv: Sequence[str]) -> dict[str, Any]:
    from recbole_llm.compat import require_recbole

    settings = split_arguments([word for word in argv if word != "--force"])
    if "--force" in argv or "from" in settings:
        raise RequestError(f"{PLACE}: --from and --force are for a conversion, not for --stats.")
    name, out = settings.pop("stats"), settings.pop("out", None)
    require_recbole()
    from recbole_llm.dataset_stats import dataset_stats

    return dataset_stats(name, settings, picture=None if out is None else Path(out))
