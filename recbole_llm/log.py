"""RecBole's familiar log, on stderr and in a file of the run, without leaking between runs."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import colorlog

COLORS = {"DEBUG": "cyan", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}
ANSI = re.compile(r"\x1B\[[0-9;]*m")


class PlainFormatter(logging.Formatter):
    """RecBole's log line without the colours in its text."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return ANSI.sub("", super().format(record))


def _is_ours(record: logging.LogRecord) -> bool:
    """Tell RecBole's records (it logs to the root logger) and ours from those of libraries."""
    is_known = record.name == "root" or record.name.startswith("recbole")
    return is_known or record.levelno >= logging.WARNING


@contextmanager
def run_log(file: Path, *, level: str) -> Iterator[None]:
    """Log to stderr and to ``file`` while the block runs, and leave the root logger as it was.

    The traceback of a failure goes to the file only.

    Args:
        file: The run's log file, UTF-8.
        level: RecBole's ``state``: a level name such as ``INFO``.
    """
    to_file = logging.FileHandler(file, encoding="utf-8")
    to_file.setFormatter(
        PlainFormatter("%(asctime)-15s %(levelname)s  %(message)s", "%a %d %b %Y %H:%M:%S")
    )
    to_screen = logging.StreamHandler(sys.stderr)
    layout, clock = "%(asctime)-15s %(levelname)s  %(message)s", "%d %b %H:%M"
    to_screen.setFormatter(
        colorlog.ColoredFormatter("%(log_color)s" + layout, clock, log_colors=COLORS)
        if sys.stderr.isatty()
        else PlainFormatter(layout, clock)
    )
    root = logging.getLogger()
    before, before_level = root.handlers[:], root.level
    root.handlers[:] = [to_screen, to_file]
    root.setLevel(level.upper())
    for handler in root.handlers:
        handler.addFilter(_is_ours)
    try:
        yield
    except Exception as error:
        failed = "The run failed: %s"
        to_file.handle(
            root.makeRecord("root", logging.ERROR, __file__, 0, failed, (error,), sys.exc_info())
        )
        raise
    finally:
        root.handlers[:] = before
        root.setLevel(before_level)
        to_file.close()


@contextmanager
def no_log() -> Iterator[None]:
    """Log nothing while the block runs, in a process beside the one that logs."""
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers[:] = [logging.NullHandler()]
    try:
        yield
    finally:
        root.handlers[:] = before
