"""Interactions as cases of a classifier: what a user had before, a candidate, and a label.

Letters: B batch, L history length, E events, N items (row 0 is padding).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_llm.atomic import read_header
from recbole_llm.data.dataset import ExactOrder
from recbole_llm.data.encoders import encoder_spec
from recbole_llm.data.events import EVENT
from recbole_llm.data.features import catalogue_texts
from recbole_llm.errors import DataError, unknown_name
from recbole_llm.settings import Settings
from recbole_llm.text.items import CoverageReport
from recbole_llm.text.pair_encoder import PairEncoder
from recbole_llm.text.pairs import PairTokens

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextSource:
    """What a model that reads texts itself was made of.

    Attributes:
        content: Digest of the texts and the encoder.
        report: How the catalogue and the text file met.
        truncated: Items whose text alone is longer than a pair.
        encoder: What identifies the encoder.
    """

    content: str
    report: CoverageReport
    truncated: int = 0
    encoder: Mapping[str, Any] | None = None

    def facts(self) -> dict[str, Any]:
        """Return what a result says of the text."""
        about = {"key": self.content, "truncated": self.truncated, "encoder": self.encoder}
        return about | vars(self.report)


class PurchaseDataset(ExactOrder, Dataset):
    """RecBole's dataset, whose rows know what their user had before.

    Histories are found before anything is split, in exact time order (ties in file order), so that
    they hold earlier events only, whatever part of the data those are in. Only where a history
    ends is stored; ``dataset[index]`` gathers ``item_id_list``, ``(B, L)``, and ``item_length``.
    """

    def _set_label_by_threshold(self) -> None:
        for field in self.config["threshold"] or ():
            if field not in self.inter_feat:
                known = unknown_name("column", field, self._columns_of_file())
                raise DataError(
                    f"threshold: {known} It must be a column of the .inter file that is loaded."
                )
        super()._set_label_by_threshold()
        if self.config["threshold"] and self.inter_feat[self.label_field].nunique() == 1:
            is_bought = self.inter_feat[self.label_field].iloc[0] > 0
            raise DataError(
                f"threshold: by {self.config['threshold']} {'all' if is_bought else 'none'} of "
                f"{len(self.inter_feat)} rows of {self.dataset_path} are bought, so that nothing "
                "can be learned. Choose another value."
            )
        modes = set(self.config["eval_args"]["mode"].values())
        draws = self.config["train_neg_sample_args"]["distribution"] != "none"
        if self.label_field not in self.inter_feat and ("labeled" in modes or not draws):
            raise DataError(
                f"{self.dataset_path}: there is no column {self.label_field!r} (LABEL_FIELD) with "
                "what was bought. Set threshold, as {rating: 4}, or draw negatives: "
                "train_neg_sample_args and eval_args.mode uni1."
            )

    def _columns_of_file(self) -> list[str]:
        file = Path(self.dataset_path) / f"{self.dataset_name}.inter"
        separator, encoding = self.config["field_separator"], self.config["encoding"]
        return list(read_header(file, separator=separator, encoding=encoding))

    def _is_put_in_order(self) -> bool:
        return True  # histories need it, however the data is split

    def _change_feat_format(self) -> None:
        self._check_field("uid_field", "time_field")
        super()._change_feat_format()
        rows = self.inter_feat
        users = rows[self.uid_field]
        order = torch.argsort(rows[self.time_field], stable=True)  # changes nothing in exact order
        order = order[torch.argsort(users[order], stable=True)]  # (E,), user after user
        is_kept = torch.ones(len(order), dtype=torch.long)
        if Settings.from_config(self.config).classifier_history == "bought":
            is_kept = (rows[self.label_field][order] > 0).long()
        self.history_items = rows[self.iid_field][order][is_kept > 0]
        end = torch.empty_like(order)
        end[order] = is_kept.cumsum(0) - is_kept  # where each row's history ends
        self.history_starts = torch.full((self.user_num,), len(order))
        self.history_starts.scatter_reduce_(0, users, end, "amin")
        rows.update(Interaction({EVENT: end}))

    def __getitem__(self, index: Any, join: bool = True) -> Interaction:
        cases = self.inter_feat[index]
        if EVENT in cases.interaction:
            end = cases.interaction.pop(EVENT)
            most = self.config["MAX_ITEM_LIST_LENGTH"]
            length = (end - self.history_starts[cases[self.uid_field]]).clamp(max=most)
            step = torch.arange(most)  # (L,)
            is_history = step < length[..., None]  # (..., L)
            at = torch.where(is_history, (end - length)[..., None] + step, 0)
            items = torch.where(is_history, self._history_at(at), 0)
            cases.interaction[self.iid_field + self.config["LIST_SUFFIX"]] = items
            cases.interaction[self.config["ITEM_LIST_LENGTH_FIELD"]] = length
        return self.join(cases) if join else cases

    def _history_at(self, at: torch.Tensor) -> torch.Tensor:
        return self.history_items[at] if len(self.history_items) else torch.zeros_like(at)

    def item_pairs(self) -> tuple[PairTokens, PairEncoder, TextSource]:
        """Return what makes pairs of item texts, what encodes them, and what both are made of."""
        settings = Settings.from_config(self.config)
        catalogue = [str(token) for token in self.field2id_token[self.iid_field]]
        folder, name = Path(self.dataset_path), self.dataset_name
        found = catalogue_texts(self.config, folder=folder, dataset=name, catalogue=catalogue)
        logger.info("Item text: %s", found.report.summary())
        spec, device = encoder_spec(settings), str(self.config["device"])
        encoder = PairEncoder(
            spec,
            device=device,
            layers=settings.classifier_layers,
            token_budget=settings.classifier_tokens,
        )
        tokens = PairTokens(
            encoder.tokenizer,
            [None, *found.texts],
            max_length=encoder.max_length,
            prompt=settings.text_prompt,
        )
        if tokens.truncated:
            logger.warning("%d items have a text longer than a pair: it is cut.", tokens.truncated)
        about = spec.fingerprint(device)
        made_of = [{**about, "dtype": None}, catalogue, found.texts]
        content = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
        return tokens, encoder, TextSource(content, found.report, tokens.truncated, about)
