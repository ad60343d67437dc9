"""Which YAML file of ours tells of a dataset, and what it says about it."""

from __future__ import annotations

from pathlib import Path

import recbole_llm
from recbole_llm.parsing import load_yaml

FAMILIES = ("amazon2018", "amazon2023")  # one file for all of a family's categories


def dataset_config_file(dataset: str) -> Path | None:
    """Return our YAML of a dataset, in a checkout or in an installed wheel, or None.

    ``amazon2018-Video_Games`` has the file of its family, ``amazon2018.yaml``.
    """
    family, dash, _ = dataset.partition("-")
    stem = family if dash and family in FAMILIES else dataset
    files = (folder / f"{stem}.yaml" for folder in _folders())
    return next((file for file in files if file.is_file()), None)


def described_datasets() -> list[str]:
    """Return the names of the datasets that have a YAML of ours to themselves."""
    names = {file.stem for folder in _folders() for file in folder.glob("*.yaml")}
    return sorted(names - set(FAMILIES))


def _folders() -> tuple[Path, Path]:
    package = Path(recbole_llm.__file__).parent
    return package.parent / "dataset_configs", package / "dataset_configs"


def about(dataset: str) -> dict[str, str]:
    """Return a dataset's source, licence, citation and protocol; nothing where we have no YAML."""
    file = dataset_config_file(dataset)
    return {} if file is None else dict(load_yaml(file)["about"])
