"""From a board to grids: what tables say, before Markdown or LaTeX say how."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from recbole_llm.bench.boards import Board, Row
from recbole_llm.bench.cells import NONE, Cell, Grid, difference_texts, p_text, slice_label
from recbole_llm.bench.claim_grids import claim_grids
from recbole_llm.bench.metrics import METRICS, metric
from recbole_llm.bench.rulers import NOT_SAID, shown
from recbole_llm.bench.speeds import NAME as SPEED
from recbole_llm.bench.speeds import SPEEDS
from recbole_llm.bench.stats import Summary, summarise
from recbole_llm.slices import gaps

MOST_GROUPS = 8


def grids(board: Board) -> Iterator[Grid]:
    """Yield the tables of a board that have rows."""
    made = [_accuracy(board), *claim_grids(board.claim, board.metric)]
    made += [_absences(board), _differences(board), _encoders(board)]
    for name, groups in board.slices().items():
        if len(groups) <= MOST_GROUPS:  # of more, a page has no room but for the gap
            made.append(_slice(board, name, groups))
    made += [_gaps(board), _lists(board), _protocol(board)]
    yield from (grid for grid in made if grid.rows)


def spread(summary: Summary | None, name: str) -> str:
    """Return mean ± standard deviation; of one seed there is no deviation."""
    if summary is None:
        return NONE
    known = metric(name)
    return f"{known.text(summary.mean)} ± {known.text(summary.deviation)}"


def notes(board: Board) -> list[str]:
    """Return what a reader must know of a board's tests, and in what its ruler differs."""
    lines = [f"Mean ± standard deviation over seeds; {NONE} with one seed."]
    if tests := board.tests():
        lines.append(
            f"Reference: {board.reference}. * it is better (one-sided paired permutation test "
            f"over users, p < .05 after Holm's correction for {len(tests)} comparisons); "
            "† it is worse (the whole 95 % interval of the difference is below 0)."
        )
        limits = {metric(name).label: board.detectable(name) for name in board.metrics}
        told = ", ".join(f"±{limits[label]:.4f} in {label}" for label in limits if limits[label])
        if told:
            lines.append(
                f"{max(one.num_users for one in tests):,} users show a true difference of about "
                f"{told} in 80 % of the cases (two-sided 5 %; median of the comparisons), and a "
                "smaller one less often, in half of them where it is 0.7 of that."
            )
        lines.append(
            "A user's differences are averaged over the seeds that both rows have, and users are "
            "what chance draws: what other seeds would do is in the deviations only. Where one row "
            "has more seeds, a difference need not be that of the means shown."
        )
    lines += _precision(board)
    reasons = {why for why in board.comparisons.values() if isinstance(why, str)}
    lines += [f"Not tested where there is no p: {why}." for why in sorted(reasons)]
    lines += [
        f"Not shown by {slice_label(name)}: the groups are not the same test cases in all rows, as "
        "where popularity is counted in the events of other shares of the users."
        for name in board.unlike_slices()
    ]
    devices = board.devices()
    if len(devices) > 1:
        lines.append(
            f"Trained on {', '.join(devices)}: seconds of different devices do not compare, and a "
            "row whose seeds were trained on several has no mean of them."
        )
    if held_up := board.held_up():
        lines.append(
            "Left out of the seconds, for one epoch took far longer than the others, as where a "
            f"machine slept: {'; '.join(held_up)}."
        )
    if board.differs:
        told = "; ".join(f"{key}: {shown(board.differs[key])}" for key in board.differs)
        lines.append(f"Not comparable with the other tables of {board.dataset}. Here {told}.")
    return lines


def _precision(board: Board) -> Iterator[str]:
    """Yield how far chance in the choice of users alone moves the best recall."""
    cases = board.num_cases()
    for name in board.metrics:
        found = [row.mean("test_result", name) for row in board.rows]
        best = max((value for value in found if value is not None), default=None)
        if name.startswith("recall@") and cases and best is not None:
            error = (best * (1 - best) / cases) ** 0.5
            known = metric(name)
            yield (
                f"{known.label} of {known.text(best)} over {cases:,} test cases has a standard "
                f"error of {known.text(error)}."
            )


def absences(row: Row) -> list[tuple[str, str, str]]:
    """Return seeds, status and reason of the runs that a row lacks, equal reasons together."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for one in row.absences:
        reason = " ".join(one.reason.split())
        by_reason.setdefault((one.status, reason), []).append(str(one.seed))
    return [(", ".join(seeds), *why) for why, seeds in by_reason.items()]


def _absences(board: Board) -> Grid:
    rows = [[Cell(row.label), *map(Cell, line)] for row in board.rows for line in absences(row)]
    head = ("Model", "Seeds", "Status", "Reason")
    return Grid("Runs that are not there", head, rows, "llll")


def _protocol(board: Board) -> Grid:
    rows = [[Cell(key), Cell(value)] for key, value in protocol(board)]
    return Grid("Protocol", ("Rule", f"Ruler {board.fingerprint}"), rows, "ll")


def protocol(board: Board) -> list[tuple[str, str]]:
    """Return the ruler, and then what runs may differ in: other versions, devices and commits."""
    lines = [(key, shown(value)) for key, value in board.ruler.items()]
    versions = dict.fromkeys(name for row in board.rows for name in row.names("versions"))
    keys = [("versions", name) for name in versions if f"versions.{name}" not in board.ruler]
    found = {".".join(path): board.distinct(*path) for path in keys}
    found |= {"device": board.devices(), "precision": _precisions(board)}
    found["commit"] = board.distinct("commit")
    return lines + [(name, ", ".join(values)) for name, values in found.items() if values]


def _precisions(board: Board) -> list[str]:
    """Return what runs computed in; older records do not say it."""
    found = board.distinct("precision")
    runs = [run for row in board.rows for run in row.runs]
    return found + [NOT_SAID] * (bool(found) and any("precision" not in one.facts for one in runs))


def _accuracy(board: Board) -> Grid:
    columns = [_metric_cells(board, name) for name in board.metrics]
    rows = [
        [
            Cell(row.label),
            *(column[at] for column in columns),
            Cell(row.seeds),
            _seconds(row),
            Cell(METRICS["parameters"].text(row.mean("parameters", "trainable"))),
        ]
        for at, row in enumerate(board.rows)
    ]
    labels = [metric(name).label for name in board.metrics]
    extra = [METRICS[name].label for name in ("train_seconds", "parameters")]
    head = ["Model", *labels, "Seeds", *extra]
    return Grid("Accuracy and cost", head, rows, "l" + "r" * (len(head) - 1), notes(board))


def _seconds(row: Row) -> Cell:
    summary = row.train_seconds
    return Cell(METRICS["train_seconds"].text(None if summary is None else summary.mean))


def _metric_cells(board: Board, name: str) -> list[Cell]:
    cells = _column([row.summary("test_result", name) for row in board.rows], name)
    tests = [board.comparison(row.label, name) for row in board.rows]
    return [
        replace(cell, mark=test.mark) if test else cell
        for cell, test in zip(cells, tests, strict=True)
    ]


def _column(summaries: Sequence[Summary | None], name: str) -> list[Cell]:
    """Return the cells of a column, the best and the second marked, as they are shown."""
    known = metric(name)
    shown = {known.text(one.mean): one.mean for one in summaries if one is not None}
    best_first = sorted(shown, key=lambda text: shown[text], reverse=known.higher_is_better)
    places = dict(zip(best_first, ("best", "second"), strict=False))
    return [
        Cell(spread(one, name), place=places.get(known.text(one.mean), "") if one else "")
        for one in summaries
    ]


def _differences(board: Board) -> Grid:
    rows = []
    for row in board.rows:
        if (test := board.comparison(row.label, board.metric)) is None:
            continue
        texts = [
            *difference_texts(test),
            p_text(test.p),
            p_text(test.p_holm),
            f"{test.num_users:,}",
            f"{test.num_seeds}",
            f"±{test.detectable:.4f}",
        ]
        rows.append([Cell(row.label), *map(Cell, texts)])
    head = ["Model", "Difference", "95 % interval", "p", "p (Holm)", "Users", "Seeds", "Detectable"]
    title = f"{metric(board.metric).label}: {board.reference} minus the model"
    return Grid(title, head, rows, "lrrrrrrr")


def _encoders(board: Board) -> Grid:
    """Return what rows with text are worth on items that training hardly knows, and their vectors.

    Numbers of the vectors have no best: what is right depends on the model that reads them.
    """
    names, slices = board.text_facts(), board.slices()
    rows = [row for row in board.rows if any(row.mean("text", name) is not None for name in names)]
    parts = [("item_popularity", group) for group in ("tail", "cold")]
    parts = [part for part in parts if part[1] in slices.get(part[0], ())]
    parts += [(name, one) for name in ("weights", "candidates") for one in slices.get(name, ())]
    columns = [_column([row.summary("test_result", board.metric) for row in rows], board.metric)]
    columns += [
        _column([_in_slice(row, *part, board.metric) for row in rows], board.metric)
        for part in parts
    ]
    columns += [[Cell(metric(name).text(row.mean("text", name))) for row in rows] for name in names]
    groups = [f"{group} ({num_cases(board, name, group):,})" for name, group in parts]
    head = ["Model", metric(board.metric).label, *groups, *(metric(name).label for name in names)]
    lines = [[Cell(row.label), *(column[at] for column in columns)] for at, row in enumerate(rows)]
    about = [
        "Anisotropy: the mean cosine of all pairs of items, of the encoder's vectors and of those "
        "that the model is given."
    ]
    if SPEED in names:
        about.append(
            "Vectors/s: distinct texts a second of one core, of all encoders in turn on one "
            f"machine ({SPEEDS} says which), a model's loading apart; of a control those of its "
            "encoder."
        )
    return Grid("Text encoders", head, lines, "l" + "r" * (len(head) - 1), about)


def _slice(board: Board, name: str, groups: Sequence[str]) -> Grid:
    measured = [row for row in board.rows if row.runs]
    columns = [
        _column([_in_slice(row, name, group, board.metric) for row in measured], board.metric)
        for group in groups
    ]
    head = ["Model", *(f"{group} ({num_cases(board, name, group):,})" for group in groups)]
    rows = [
        [Cell(row.label), *(column[at] for column in columns)] for at, row in enumerate(measured)
    ]
    title = f"{metric(board.metric).label} by {slice_label(name)} (test cases)"
    return Grid(title, head, rows, "l" + "r" * len(groups))


def _in_slice(row: Row, name: str, group: str, metric_name: str) -> Summary | None:
    return row.summary("slices", name, group, "metrics", metric_name)


def num_cases(board: Board, name: str, group: str) -> int:
    """Return how many test cases a group of ``board.slices()`` has, in every run the same."""
    found = (row.mean("slices", name, group, "cases") for row in board.rows)
    return int(max((value for value in found if value is not None), default=0))


def _gaps(board: Board) -> Grid:
    texts = {row.label: gap_texts(row, board.metric) for row in board.rows if row.runs}
    names = list(dict.fromkeys(name for found in texts.values() for name in found))
    rows = [
        [Cell(label), *(Cell(found.get(name, NONE)) for name in names)]
        for label, found in texts.items()
        if names
    ]
    head = ["Model", *map(slice_label, names)]
    title = f"{metric(board.metric).label}: gap between the best and the worst group of users"
    return Grid(title, head, rows, "l" + "r" * len(names))


def gap_texts(row: Row, name: str) -> dict[str, str]:
    """Return, by kind of user group, a metric's gap over seeds and what is worst in one of them.

    Records have gaps of their own, each in the metric that stopped its training.
    """
    runs = [gaps(run.facts.get("slices") or {}, metric=name) for run in row.runs]
    texts = {}
    for kind in dict.fromkeys(kind for run in runs for kind in run):
        found = [run[kind] for run in runs if kind in run]
        worst = ", ".join(sorted({str(gap["worst"]) for gap in found}))
        texts[kind] = f"{spread(summarise([gap['gap'] for gap in found]), name)}, worst {worst}"
    return texts


def _lists(board: Board) -> Grid:
    names = board.lists()
    rows = [
        [Cell(row.label), *(Cell(spread(row.summary("lists", name), name)) for name in names)]
        for row in board.rows
        if row.runs and names
    ]
    head = ["Model", *(metric(name).label for name in names)]
    return Grid("What the lists are made of", head, rows, "l" + "r" * len(names))
