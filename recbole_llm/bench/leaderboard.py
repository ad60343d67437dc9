"""``recbole-llm leaderboard``: from a folder of records to tables, figures and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_llm.bench.boards import Boards
from recbole_llm.bench.cells import file_name
from recbole_llm.bench.collect import read_boards
from recbole_llm.bench.tables import csv_text, latex, markdown
from recbole_llm.errors import RequestError, how_to_install
from recbole_llm.files import write_files
from recbole_llm.parsing import split_command

OPTIONS = ("out", "reference")


def leaderboard(argv: Sequence[str]) -> dict[str, Any]:
    """Render the leaderboard that a command line asks for.

    Args:
        argv: The folder of results, ``--out=DIR`` for another place than that folder, and
            ``--reference=LABEL`` for another model to compare with.

    Returns:
        What was rendered, and where.

    Raises:
        RequestError: If the request or a file of results is wrong.
    """
    words, options, _ = split_command(
        argv, place="recbole-llm leaderboard", wants="one folder of results", options=OPTIONS
    )
    folder = Path(words[0])
    if not folder.is_dir():
        raise RequestError(f"{folder}: no such folder. Name one that recbole-llm bench has filled.")
    boards = read_boards(folder, reference=options.get("reference"))
    files = render(boards, Path(options.get("out", folder)))
    num_runs = sum(len(row.runs) for board in boards.boards for row in board.rows)
    return {
        "suite": boards.suite,
        "boards": [board.title for board in boards.boards],
        "runs": num_runs,
        "files": [str(path) for path in files],
    }


def render(boards: Boards, out: Path) -> list[Path]:
    """Write everything below a folder, each file whole or not at all, and return the files."""
    try:
        from recbole_llm.bench.figures import pictures
        from recbole_llm.bench.page import render_page
    except ImportError as error:
        raise RequestError(
            f"recbole-llm leaderboard: needs {error.name}. {how_to_install('figures')}"
        ) from None
    made = {board.name: list(pictures(board)) for board in boards.boards}
    contents: dict[Path, str | bytes] = {
        out / "leaderboard.md": markdown(boards),
        out / "leaderboard.csv": csv_text(boards),
        out / "leaderboard.tex": latex(boards),
        out / "index.html": render_page(boards, made),
    }
    for name, drawn in made.items():
        for picture in drawn:
            file = out / "figures" / file_name(name) / file_name(picture.name)
            contents[file.with_name(f"{file.name}.svg")] = picture.svg
            contents[file.with_name(f"{file.name}.png")] = picture.png
    try:
        write_files(contents)
    except OSError as error:
        raise RequestError(
            f"{out}: cannot be written ({error.strerror}). Name another folder with --out=DIR."
        ) from None
    return list(contents)
