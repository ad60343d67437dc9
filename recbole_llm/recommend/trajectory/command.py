"""The command ``recbole-llm trajectory``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_llm.errors import RequestError, all_problems, how_to_install
from recbole_llm.files import write_files
from recbole_llm.parsing import run_named, split_command, whole_number
from recbole_llm.recommend.command import lines_of
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.recommend.requests import Request
from recbole_llm.recommend.trajectory.atlas import Atlas

PLACE = "recbole-llm trajectory"
OPTIONS = ("run", "user", "history", "out", "users", "most", "device")


def trajectory(argv: Sequence[str]) -> dict[str, Any]:
    """Run the command and return what it wrote.

    Raises:
        RequestError: If the request is wrong, or a package for figures is not there.
    """
    run, given, is_gallery = _request(argv)
    try:
        from recbole_llm.recommend.trajectory import figures, gallery
    except ImportError as error:
        raise RequestError(f"{PLACE}: needs {error.name}. {how_to_install('figures')}") from None
    out = Path(given["out"])
    if out.exists() and not out.is_dir():
        raise RequestError(f"--out: {out} is a file. Name a folder with --out=DIR.")
    users = lines_of("users", Path(given["users"])) if "users" in given else None
    recommender = Recommender.load(run, device=given.get("device", "cpu"))
    atlas = Atlas(recommender)
    said: dict[str, Any] = {}
    contents: dict[Path, str | bytes] = {}
    if is_gallery:
        if users is None:
            users = gallery.drawn_users(recommender.requests, int(given.get("most", "12")))
        name = Path(recommender.place).name
        contents[out / "index.html"] = gallery.gallery(atlas, users, run=name)
        said["users"] = users
    else:
        request, name = _whose(given)
        found = atlas.trajectory(request, name=name)
        facts = atlas.facts(found)
        contents[out / "trajectory.json"] = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
        for one in figures.pictures(found, atlas.maps(found), atlas.titles(found)):
            contents |= {out / f"{one.name}.svg": one.svg, out / f"{one.name}.png": one.png}
        said |= {key: facts[key] for key in ("name", "changes", "stretches")}
    try:
        write_files(contents)
    except OSError as error:
        raise RequestError(
            f"{out}: cannot be written ({error.strerror}). Name another folder with --out=DIR."
        ) from None
    return said | {"files": [str(path) for path in contents]}


def _whose(given: Mapping[str, str]) -> tuple[Request, str]:
    """Return whose trajectory is asked for, and what to call them."""
    if "user" in given:
        return Request(user=given["user"]), f"user {given['user']}"
    return Request(history=tuple(given["history"].split())), "this history"


def _request(argv: Sequence[str]) -> tuple[str, dict[str, str], bool]:
    """Return the run, the options, and whether a gallery is wanted, if they make a request."""
    problems: list[str] = []
    words, given, chosen = split_command(
        argv,
        place=PLACE,
        wants="one run directory",
        options=OPTIONS,
        flags=("gallery",),
        num_words=None,
        problems=problems,
    )
    run = run_named(words, given, problems)
    whom = [f"--{name}" for name in ("user", "history", "gallery") if name in {*given, *chosen}]
    if len(whom) != 1:
        known = "--user, --history, --gallery"
        problems.append(f"give one of {known}; received {', '.join(whom) or 'none'}.")
    if "out" not in given:
        problems.append("--out: name the folder to write into.")
    for name in ("users", "most"):
        if name in given and "gallery" not in chosen:
            problems.append(f"--{name}: is of --gallery.")
    if {"users", "most"} <= given.keys():
        problems.append("--users and --most are given. Keep one.")
    if whole_number(given.get("most", "12"), least=1) is None:
        problems.append(f"--most: must be a number of users, received {given['most']!r}.")
    if problems:
        raise RequestError(all_problems(PLACE, problems))
    return run, given, "gallery" in chosen
