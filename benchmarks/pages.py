"""What pages of docs/ show of results/; ``figures.py`` writes it between their marks."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from suite_pages import ROOT, ablations, causality, defaults, heads, transfer, tuning
from sweep_pages import costs, replays, sweeps

LEAST_COSINE = 0.999  # of an encoder that is as good as float32


def read(name: str) -> Any:
    """Return a result."""
    return json.loads((ROOT / "results" / name).read_text(encoding="utf-8"))


def encoders() -> str:
    """Return the table of backends for docs/encoders.md."""
    encoding = read("encoding.json")
    machine, chosen = encoding["machine"], fastest(encoding)
    backend, precision = chosen.split()
    lines = [
        f"On {machine['processor']}, {machine['threads']} threads: {encoding['short']['texts']:,} "
        f"titles and {encoding['long']['texts']:,} long texts; times are those as fast as "
        "`SentenceTransformer.encode` as it comes.",
        "",
        "| encoder | precision | titles/s | times | cosine: mean, least | long texts/s | times "
        "| cosine: mean, least |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in encoding["short"]["encoders"]:
        cells = []
        for length in ("short", "long"):
            one = encoding[length]["encoders"][name]
            cells += [f"{one['vectors_per_second']:,.0f}", f"{one['median_ratio']:.1f}"]
            cells.append(f"{one['mean_cosine']:.5f}, {one['min_cosine']:.5f}")
        lines.append(f"| {' | '.join([*name.split(), *cells])} |")
    lines += [
        "",
        f"The fastest whose cosine to float32 is {LEAST_COSINE} or more for every text: "
        f"`text_backend: {backend}` with `text_dtype: {precision}`.",
    ]
    return "\n".join(lines) + "\n"


def fastest(encoding: Mapping[str, Any]) -> str:
    """Return the encoder of most vectors a second of those of cosine 0.999 and more everywhere."""
    short, long = encoding["short"]["encoders"], encoding["long"]["encoders"]
    good = [n for n in short if min(short[n]["min_cosine"], long[n]["min_cosine"]) >= LEAST_COSINE]
    return max(good, key=lambda name: short[name]["median_ratio"] * long[name]["median_ratio"])


def scale() -> str:
    """Return the table of what encode_scale.py measured, for docs/encoders.md."""
    lines = [
        "| items | file | shards | killed at | left to encode | MiB before the first shard "
        "| in the first eighth | at the kill | of the resumed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in sorted(read("encode_scale.json").values(), key=lambda case: case["items"]):
        mib = ("before_shards", "of_the_first_eighth", "at_the_kill", "of_the_rest")
        cells = [f"{one['items']:,}", f"`.{one['file']}`", f"{one['shards']}"]
        cells += [f"{one['killed_at_shards']}", f"{one['encoded_after_the_kill']:,}"]
        cells += [f"{one[f'mib_{name}']:,.0f}" for name in mib]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def faithful() -> str:
    """Return the tables of deletion curves for docs/movement.md."""
    whole, part = (
        read("faithfulness/faithfulness.json"),
        read("faithfulness/words/faithfulness.json"),
    )
    gain = whole["influence_below_latest"]
    lines = [
        *_deletions(whole),
        "",
        f"That by influence is {gain['mean']:.3f} ± {gain['standard_error']:.3f} below that of the "
        "latest first.",
        "",
        *_deletions(part, also=f", integrated gradients of {part['steps']} steps among the orders"),
    ]
    return "\n".join(lines) + "\n"


def _deletions(found: Mapping[str, Any], *, also: str = "") -> list[str]:
    lines = [
        f"{found['users']} users of ml-100k, {found['most']} events deleted{also}; scores in "
        "standard deviations, ± the standard error over users:",
        "",
        "| order of deletion | area | below random deletion's |",
        "|---|---|---|",
    ]
    for name, gain in sorted(found["gains"].items(), key=lambda one: found["areas"][one[0]]):
        below = f"{gain['mean']:+.3f} ± {gain['standard_error']:.3f}"
        cells = name, f"{found['areas'][name]:.3f}", "–" if name == "at random" else below
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def recalls() -> str:
    """Return the table of approximate lists for docs/recommend.md."""
    lines = ["| items | recall of exact lists of 10 | exact, ms a list | approximate, ms a list |"]
    lines += ["|---|---|---|---|"]
    for file, what in (("ml-100k", "of a run on ml-100k"), ("random", "made at random")):
        one = read(f"recall/{file}.json")
        lines.append(
            f"| {one['items']:,}, {what} | {one['recall']:.3f} | {one['exact_ms']:.2f} "
            f"| {one['approximate_ms']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def updating() -> str:
    """Return tables and figures of frozen against updated runs, for docs/updating.md."""
    files = sorted((ROOT / "results" / "prequential").glob("*.json"))
    return "".join(_over_time(read(f"prequential/{file.name}")) for file in files)


def _over_time(found: Mapping[str, Any]) -> str:
    """Return a dataset's table and figure."""
    periods, seeds = found["periods"], len(found["seeds"])
    cases, new = (sum(one[key] for one in periods) for key in ("cases", "cases_of_new_items"))
    lines = [
        f"**{found['model']} on {found['dataset']}**, trained on {found['base_events']:,} events, "
        f"then {len(periods)} periods, {periods[0]['from']} to {periods[-1]['to']}: {cases:,} "
        f"cases, {new:,} of items that are new. {seeds} {'seeds' if seeds > 1 else 'seed'}, "
        f"`epochs` {found['epochs']}, `replay` {found['replay']:g}; NDCG@10, ± a standard error.",
        "",
        "| method | all cases | known items | new items | above frozen |",
        "|---|---|---|---|---|",
    ]
    for name, one in found["methods"].items():
        cells = [f"{statistics.mean(one[key]):.4f}" for key in ("all", "known_items", "new_items")]
        gain = "{mean:+.4f} ± {standard_error:.4f}".format(**one["gain"])
        lines.append(f"| {name} | {' | '.join(cells)} | {'–' if name == 'frozen' else gain} |")
    lines += ["", f"![NDCG@10 over time](../results/prequential/{found['dataset']}.svg)", "", ""]
    return "\n".join(lines)


def estimators() -> str:
    """Return the tables of estimators for docs/causality.md, one an effect."""
    parts = []
    for name, effect in read("propensity.json")["effects"].items():
        lines = [
            f"Exposed {name}: {effect['pairs']:,} of them, mean propensity "
            f"{effect['mean_propensity']:.3f}; the true effect is {effect['truth']:.4f}.",
            "",
            "| estimator | bias ± standard error | variance | RMSE |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {label} | {one['bias']:+.4f} ± {one['bias_standard_error']:.4f} "
            f"| {one['variance']:.1e} | {one['rmse']:.4f} |"
            for label, one in effect["estimators"].items()
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


PAGES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "docs/ablations.md": {"suite": ablations, "defaults": defaults},
    "docs/causality.md": {"estimators": estimators, "suite": causality},
    "docs/encoders.md": {"figures": encoders, "scale": scale, "suite": heads},
    "docs/movement.md": {"faithfulness": faithful},
    "docs/recommend.md": {"recall": recalls},
    "docs/text_tuning.md": {"figures": tuning},
    "docs/transfer.md": {"figures": transfer},
    "docs/tuning.md": {"sweeps": sweeps, "costs": costs, "replays": replays},
    "docs/updating.md": {"prequential": updating},
}
"""By page, what stands between which marks."""


def fill(page: str, contents: Mapping[str, str]) -> None:
    """Put each content between its marks in a page."""
    file = ROOT / page
    text = file.read_text(encoding="utf-8")
    for name, content in contents.items():
        begin, end = marks(name)
        head, rest = text.split(begin)
        text = head + begin + content + end + rest.split(end)[1]
    file.write_text(text, encoding="utf-8")


def marks(name: str) -> tuple[str, str]:
    """Return between which lines a page holds what this script writes."""
    return f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
