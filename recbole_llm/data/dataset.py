"""RecBole datasets in exact time order; ours store sequences flat.

RecBole turns timestamps into float32, in which neighbouring events collapse, and copies the history
of every event into a row of its own. Here events are put in order while times are still float64,
and a history is gathered from one flat array when a batch asks for it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils.enum_type import FeatureSource, FeatureType

from recbole_llm.atomic import read_atomic, read_header, refuse_missing_times
from recbole_llm.data.columns import (
    require_columns,
    require_ids,
    require_loaded,
    require_types,
)
from recbole_llm.data.events import EVENT, interactions_of, take
from recbole_llm.data.features import ItemVectors, item_vectors
from recbole_llm.data.modalities import ModalityVectors, modality_vectors
from recbole_llm.data.splits import Splits
from recbole_llm.errors import DataError, RequestError


class ExactOrder(Splits):
    """Mixin for any RecBole dataset: reads files without losing rows, keeps events in exact order.

    With ``time_precision: exact`` events are put in the order of their float64 timestamps, ties in
    file order, before they become float32; every later sort is stable and float32 preserves ``<=``.
    ``time_precision: recbole`` leaves RecBole's own order untouched.

    Attributes:
        given_vectors: Text vectors that were prepared elsewhere, or None to prepare them here.
        given_modalities: Likewise the vectors that come in files.
        source: What the model begins with where ``init_from`` says so; ``transfer.source_of`` reads
            it.
    """

    given_vectors: ItemVectors | None = None
    given_modalities: dict[str, ModalityVectors] | None = None
    source: Any = None

    def _load_data(self, token: str, dataset_path: str) -> None:
        if not Path(dataset_path).is_dir():
            raise DataError(
                f"{dataset_path}: no such folder for dataset {token!r}. Set data_path to the "
                f"folder that holds {token}.inter, or to its parent."
            )
        for part in self.config["benchmark_filename"] or [None]:
            self._check_interactions(Path(dataset_path), token=token, part=part)
        super()._load_data(token, dataset_path)

    def _check_interactions(self, folder: Path, *, token: str, part: str | None) -> None:
        """Refuse a missing file; a sequence model's benchmark files must bring histories."""
        path = folder / (f"{token}.inter" if part is None else f"{token}.{part}.inter")
        separator, encoding = self.config["field_separator"], self.config["encoding"]
        types = read_header(path, separator=separator, encoding=encoding)
        histories = f"{self.config['ITEM_ID_FIELD']}{self.config['LIST_SUFFIX']}"
        if part and isinstance(self, SequentialDataset) and histories not in types:
            raise DataError(
                f"{path}:1: benchmark files of a sequence model need a column "
                f"{histories}:token_seq, the items before; received {', '.join(types)}."
            )

    def _load_feat(self, filepath: str, source: FeatureSource | str) -> pd.DataFrame | None:
        wanted, unwanted = self._get_load_and_unload_col(source)
        if wanted == set():
            return None
        path, config = Path(filepath), self.config
        separator, encoding = config["field_separator"], config["encoding"]
        types = read_header(path, separator=separator, encoding=encoding)
        if wanted is None:
            columns = [name for name in types if name not in (unwanted or ())]
        else:
            columns = [name for name in types if name in wanted]
        require_columns(path, set(wanted or unwanted or ()), types)
        if not columns:
            return None
        needed = {self.uid_field: "token", self.iid_field: "token", self.time_field: "float"}
        require_types(path, types, needed)
        table = read_atomic(path, columns=columns, separator=separator, encoding=encoding)
        frame = {}
        for name in columns:
            if name in (self.uid_field, self.iid_field):
                require_ids(table, name)
            kind = FeatureType(types[name])
            if source != "link":
                self.field2source[name], self.field2type[name] = source, kind
            frame[name] = self._column(table, name, kind)
        if self.time_field in frame and source is FeatureSource.INTERACTION:
            refuse_missing_times(path, table.lines, frame[self.time_field])
        return pd.DataFrame(frame)

    def _column(self, table: Any, name: str, kind: FeatureType) -> Any:
        """Return a column as RecBole holds it: float64, strings, or arrays of either."""
        if kind in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ):
            self.field2bucketnum[name] = 2
        if kind is FeatureType.FLOAT:
            self.field2seqlen[name] = 1
            return table.floats(name)
        if kind is FeatureType.TOKEN:
            self.field2seqlen[name] = 1
            return pd.Series([cell or np.nan for cell in table.columns[name]], dtype=object)
        separator = self.config["seq_separator"]
        rows = [[part for part in cell.split(separator) if part] for cell in table.columns[name]]
        longest = max(map(len, rows), default=0)
        limit = (self.config["seq_len"] or {}).get(name, longest)
        self.field2seqlen[name] = min(limit, longest)
        rows = [row[:limit] for row in rows]
        is_float = kind is FeatureType.FLOAT_SEQ
        arrays = table.float_rows(name, rows) if is_float else [np.array(row) for row in rows]
        return pd.Series(arrays, dtype=object)

    def _data_processing(self) -> None:
        if len(self.inter_feat) == 0:
            raise DataError(f"{self.dataset_path}: {self.dataset_name}.inter has no rows.")
        require_loaded(self)
        super()._data_processing()
        if self._is_put_in_order():
            self._report_collapse()

    def _reset_index(self) -> None:
        for name in self.feat_name_list:
            if getattr(self, name).empty:
                raise DataError(
                    f"{self.dataset_path}: no row of {name} is left after filtering. Loosen "
                    "user_inter_num_interval, item_inter_num_interval or val_interval."
                )
        super()._reset_index()

    def _remove_duplication(self) -> None:
        keep = self.config["rm_dup_inter"]
        if keep is None or not self._has_exact_times():
            super()._remove_duplication()
            return
        self._sort_by_time()  # RecBole's own sort is not stable: which of two ties stays is chance
        self.inter_feat = self.inter_feat.drop_duplicates(
            [self.uid_field, self.iid_field], keep=keep
        )

    def _change_feat_format(self) -> None:
        if self._is_put_in_order() and self._has_exact_times():
            self._sort_by_time()
        super()._change_feat_format()

    def _is_put_in_order(self) -> bool:
        return self.config["eval_args"]["order"] == "TO" and self.benchmark_filename_list is None

    def item_vectors(self) -> ItemVectors | None:
        """Return the text vectors of the catalogue, or None where no item feature is text."""
        if self.config["init_from"] and self.source is None:
            raise RequestError("init_from: RecBole's own run_recbole cannot do it. Use ours.")
        return self.given_vectors or item_vectors(
            self.config,
            folder=Path(self.dataset_path),
            dataset=self.dataset_name,
            catalogue=[str(token) for token in self.field2id_token[self.iid_field]],
            matrix=None if self.source is None else self.source.matrix,
        )

    def modality_vectors(self) -> dict[str, ModalityVectors]:
        """Return the vectors of each item feature that comes with a file of them."""
        if self.given_modalities is not None:
            return self.given_modalities
        return modality_vectors(self.config, catalogue=self.field2id_token[self.iid_field])

    def _has_exact_times(self) -> bool:
        return self.config["time_precision"] != "recbole" and self.time_field in self.inter_feat

    def _sort_by_time(self) -> None:
        self.inter_feat = self.inter_feat.sort_values(
            self.time_field, kind="stable", ignore_index=True
        )

    def _report_collapse(self) -> None:
        """Say how many of the times float32 can tell apart."""
        if self.time_field not in self.inter_feat:
            return
        times = self.inter_feat[self.time_field].to_numpy()
        exact, single = len(np.unique(times)), len(np.unique(times.astype(np.float32)))
        if self._has_exact_times():
            self.logger.info(f"Exact time order: {exact} distinct times ({single} in float32).")
        elif single < exact:
            self.logger.warning(
                f"time_precision=recbole: {exact} distinct times become {single} in float32; "
                "events that collapse keep the order of the file, not of time."
            )


@lru_cache(maxsize=32)
def with_exact_order(dataset_class: type) -> type:
    """Return a dataset class that orders events exactly and is otherwise the one given."""
    if issubclass(dataset_class, ExactOrder):
        return dataset_class
    return type(dataset_class.__name__, (ExactOrder, dataset_class), {})


class InterestDataset(ExactOrder, SequentialDataset):
    """A sequential dataset in O(interactions) memory.

    It has the rows, fields and splits of RecBole's ``SequentialDataset``: one case for each event
    but a user's first, with the events before it as history. A case stores only where its target
    stands; ``dataset[index]`` gathers the history fields.

    Attributes:
        events: All interactions, user after user, in time order.
    """

    def data_augmentation(self) -> None:
        """Make one case for each event that has a history."""
        self._aug_presets()
        self._check_field("uid_field", "time_field")
        self.sort(by=[self.uid_field, self.time_field])
        self.events = self.inter_feat
        users = self.events[self.uid_field]
        is_first = torch.ones(len(users), dtype=torch.bool)
        is_first[1:] = users[1:] != users[:-1]
        at = torch.arange(len(users))
        start = torch.cummax(torch.where(is_first, at, 0), dim=0).values
        target = at[~is_first]
        cases = take(self.events, target)
        length = (target - start[target]).clamp(max=self.max_item_list_len)
        cases.update(Interaction({self.item_list_length_field: length, EVENT: target}))
        self.inter_feat = cases

    def sort(self, by: str | list[str], ascending: bool = True) -> None:
        """Sort the interactions in place, stably, by one field or by several."""
        names = [by] if isinstance(by, str) else by
        order = torch.arange(len(self.inter_feat))
        for name in reversed(names):
            keys = self.inter_feat[name][order]
            order = order[torch.argsort(keys, stable=True, descending=not ascending)]
        self.inter_feat = take(self.inter_feat, order)

    def __getitem__(self, index: Any, join: bool = True) -> Interaction:
        cases = self.inter_feat[index]
        if EVENT in cases.interaction:
            event = cases.interaction.pop(EVENT)
            length = cases[self.item_list_length_field]
            step = torch.arange(self.max_item_list_len)  # (L,)
            is_history = step < length[..., None]  # (..., L)
            at = torch.where(is_history, (event - length)[..., None] + step, 0)
            for name, values in self.events.interaction.items():
                if name != self.uid_field:
                    history = values[at]  # (..., L) or, of a sequence field, (..., L, S)
                    mask = is_history.view(is_history.shape + (1,) * (history.dim() - at.dim()))
                    list_name = name + self.config["LIST_SUFFIX"]
                    cases.interaction[list_name] = torch.where(mask, history, 0)
        return self.join(cases) if join else cases

    def inter_matrix(self, form: str = "coo", value_field: str | None = None) -> Any:
        """Return the sparse users × items matrix of this split, first events included.

        Of benchmark files it holds the targets, and the histories that are one event long.
        """
        if not self.is_flat:
            return super().inter_matrix(form, value_field)
        rows = interactions_of(self)
        return self._create_sparse_matrix(rows, self.uid_field, self.iid_field, form, value_field)

    @property
    def is_flat(self) -> bool:
        """Whether histories lie in ``events``; benchmark files bring theirs along in rows."""
        return EVENT in self.inter_feat.interaction

    def training_sequences(self) -> tuple[np.ndarray, np.ndarray]:
        """Return each user's first event and number of targets in this split, ``(U,)`` each."""
        event = np.sort(self.inter_feat[EVENT].numpy())
        user = self.events[self.uid_field].numpy()[event]
        _, begin, count = np.unique(user, return_index=True, return_counts=True)
        starts = event[begin] - 1
        if np.any(event[begin + count - 1] - starts != count):
            raise DataError(
                "training: all_positions needs each user's training events to be the first ones in "
                "time; this split leaves gaps. Use training: prefixes."
            )
        return starts, count
