"""How fast, how small, and how both grow: ours against stock RecBole, side by side in one run.

    uv run python benchmarks/speed.py [SECTION ...] [--data_path FOLDER] [--rounds 3]

Sections: epochs, passing, share, evaluation, preparation, growth, softmax, compile; all by default.
FOLDER holds ml-1m.inter and ml-1m.item, for what is measured on ml-1m. Every measurement is a
process of its own; rounds alternate the contestants, so that a drift of the machine meets all of
them; ratios are taken round by round. Each section writes its part of results/speed.json as it
goes and leaves the others' as they are. ``--small`` shows in minutes that all runs, and writes
nothing unless --result says where.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from recbole_llm.files import write_json
from sections import (
    compiled,
    epochs,
    evaluation,
    growth,
    passing,
    preparation,
    process,
    share,
    softmax,
)

SECTIONS: dict[str, Any] = {
    "epochs": epochs,
    "passing": passing,
    "share": share,
    "evaluation": evaluation,
    "preparation": preparation,
    "growth": growth,
    "softmax": softmax,
    "compile": compiled,
}
RESULT = Path(__file__).parents[1] / "results" / "speed.json"


def arguments() -> argparse.Namespace:
    """Return the request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--data_path", type=lambda path: str(Path(path).resolve()))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", nargs="+", default=["GRU4Rec", "SASRec"], help="to pass")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--result", type=Path)
    parser.add_argument("--child", choices=SECTIONS, help=argparse.SUPPRESS)
    request = parser.parse_args()
    if wrong := set(request.sections) - set(SECTIONS):
        parser.error(f"unknown section {', '.join(sorted(wrong))}; there are {', '.join(SECTIONS)}")
    request.result = request.result or (None if request.small else RESULT)
    return request


def measure(name: str, request: argparse.Namespace) -> None:
    """Run a section, write its part whenever it has more of it, and print its table."""
    section = SECTIONS[name]
    kept = json.loads(request.result.read_text()) if _exists(request.result) else {}
    print(f"{name}:", flush=True)
    part: dict[str, Any] = {}
    for part in section.run(request, kept.get(name, {})):
        if request.result:
            write_json(request.result, kept | {name: process.provenance() | part})
    for line in section.lines(part):
        print(f"  {line}", flush=True)


def _exists(path: Path | None) -> bool:
    return path is not None and path.exists()


def main() -> None:
    """Measure the sections asked for; or, in a child, what standard input says."""
    request = arguments()
    if request.child:
        sys.argv = sys.argv[:1]  # RecBole reads it
        print(json.dumps(SECTIONS[request.child].measure(json.load(sys.stdin))))
        return
    for name in request.sections or SECTIONS:
        measure(name, request)


if __name__ == "__main__":
    main()
