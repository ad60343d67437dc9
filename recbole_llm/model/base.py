"""RecBole's contract, kept once for all our models.

Letters: B batch, L or T history length, P positions with a target, N items, H item-vector size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor
from torch.nn import functional

from recbole_llm.data.batches import WindowBatch
from recbole_llm.data.dataset import InterestDataset
from recbole_llm.data.features import text_places, tuned_encoder
from recbole_llm.errors import RequestError
from recbole_llm.model.building import build_items, build_loss, build_repeats, build_target_weights
from recbole_llm.model.evolution import Combination, Evolution, Past, SequenceDropout
from recbole_llm.model.items import ItemRepresentation, VectorFeature
from recbole_llm.model.known import KnownItems
from recbole_llm.model.losses import FullSoftmax, item_scores
from recbole_llm.model.propensity import popularity_offset
from recbole_llm.model.repeats import with_repeats
from recbole_llm.model.robust import Contrast, ItemNoise, adversarial_table
from recbole_llm.model.tuned import TunedFeature
from recbole_llm.settings import Settings


class InterestModel(SequentialRecommender):
    """Predicts the next interest from a history and scores items by inner product with it.

    A subclass says how interests evolve; everything else is here. Loss, ``predict`` and
    ``full_sort_predict`` all go through :meth:`interest`.
    """

    input_type = InputType.POINTWISE
    offset: Tensor | None  # is added to the scores of items, (N,)

    def __init__(self, config: Any, dataset: InterestDataset) -> None:
        super().__init__(config, dataset)
        settings = Settings.from_config(config)
        self.label_field = config["LABEL_FIELD"]
        self.temperature = settings.temperature
        self.modality_vectors = dataset.modality_vectors()  # first: texts may take long
        self.item_vectors = dataset.item_vectors()
        text = {} if self.item_vectors is None else {"text": self.item_vectors}
        tables = {name: vectors.table for name, vectors in (text | self.modality_vectors).items()}
        self.items = self.build_items(settings, tables)
        self.noise = ItemNoise(share=settings.item_noise)
        self.input_dropout = SequenceDropout(settings.dropout_prob)
        self.evolution = self.build_evolution(settings)
        if settings.compile_evolution:
            self.evolution.compile(dynamic=True)  # in place, at its first call
        self.is_cosine = settings.scoring == "cosine"
        counts = torch.bincount(dataset.inter_feat[self.ITEM_ID], minlength=self.n_items)
        self.target_weights = build_target_weights(settings, counts=counts)
        adjustment = settings.popularity_adjustment
        offset = popularity_offset(counts, adjustment=adjustment) if adjustment else None
        self.register_buffer("offset", offset)  # kept with the weights, if there is one
        self.repeats = build_repeats(settings, dataset)
        self.known = KnownItems.of(dataset.known_items, num_items=self.n_items)
        if self.known is not None:
            self.items.zero_ids_but(self.known.rows)
            counts = counts[self.known.rows]
        self.loss = build_loss(settings, counts=counts)
        self.combination = Combination(
            kind=settings.interest_combination, size=settings.embedding_size
        )
        self.adversarial_weight = settings.adversarial_weight
        self.adversarial_epsilon = settings.adversarial_epsilon
        self.contrastive_weight = settings.contrastive_weight
        self.contrast = Contrast(
            views=settings.contrastive_views, temperature=settings.contrastive_temperature
        )
        self.needs_windows = bool(settings.augmentation) or settings.has_augmented_views

    def build_items(self, settings: Settings, tables: Mapping[str, Tensor]) -> ItemRepresentation:
        """Return what items are to the model; ``tables`` are the given vectors by feature."""
        text: Any = VectorFeature
        encoder = tuned_encoder(settings, self.item_vectors, device=str(self.device))
        if encoder is not None and self.item_vectors is not None:
            most, places = settings.text_tuning_items, text_places(self.item_vectors)
            text = partial(TunedFeature, encoder=encoder, places=places, most=most)
        return build_items(settings, num_items=self.n_items, tables=tables, text_feature=text)

    @property
    def tuned_encoder(self) -> Any:
        """The text encoder that is trained with the model, None where it is frozen."""
        tuned = (part.encoder for part in self.items.features if isinstance(part, TunedFeature))
        return next(tuned, None)

    def build_evolution(self, settings: Settings) -> Evolution:
        """Return the layer that turns item vectors ``(B, L, H)`` into interests ``(B, L, H)``."""
        raise NotImplementedError(f"{type(self).__name__} must build its evolution layer")

    def interest(self, history: Tensor, table: Tensor) -> Tensor:
        """Return the predicted next interest after each item of a history.

        Args:
            history: Item ids, ``(B, L)``, right-padded with 0.
            table: The item vectors, ``(N, H)``.

        Returns:
            ``(B, L, H)``; position t has read items 0..t only.
        """
        return self.interest_of(self.items.lookup(table, history))

    def interest_of(self, items: Tensor) -> Tensor:
        """Return the interest after each item vector of histories, both ``(B, L, H)``."""
        own = self.input_dropout(self.noise(self.items.own(items)))
        return self.items.joined(self.compared(self.combination(self.evolution(own), own)), items)

    def resume(self, items: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """Read more of a history in evaluation, in O(1) an item, where the evolution can.

        Args:
            items: Vectors of the items that come next, ``(B, L, H)``.
            past: What the items before them left; None at the beginning.

        Returns:
            The interest after each item, ``(B, L, H)``, as :meth:`interest` gives it for the whole
            history, and the past with these items in it.
        """
        own = self.items.own(items)
        past = Past.none(own) if past is None else past
        current, now = self.evolution.resume(own, past)
        states = self.compared(self.combination(current, own, past))
        return self.items.joined(states, items), now

    def compared(self, states: Tensor) -> Tensor:
        """Return interests as they are compared with candidates."""
        return functional.normalize(states, dim=-1) if self.is_cosine else states

    def candidates(self, table: Tensor) -> Tensor:
        """Return the vectors ``(N, H)`` that interests are compared with."""
        if not self.is_cosine:
            return table
        own = functional.normalize(self.items.own(table), dim=-1)
        return torch.cat([own, table[:, self.items.size :]], 1)

    def last_interest(self, interaction: Interaction, table: Tensor) -> Tensor:
        """Return the interest after the last item of each history, ``(B, H)``."""
        states = self.interest(interaction[self.ITEM_SEQ], table)  # (B, L, H)
        last = (interaction[self.ITEM_SEQ_LEN] - 1).clamp(min=0)  # no history: one of padding
        return self.gather_indexes(states, last)

    def window_loss(self, batch: WindowBatch) -> Tensor:
        """Return the loss over every position that has a target, and the terms of robustness."""
        table = self.items.of_step(torch.cat([batch.history, batch.targets]))
        states = self.interest(batch.history, table)  # (B, T, H)
        loss = self.target_loss(states, table, batch)
        if self.adversarial_weight:  # dropout of the table is shared; all else is drawn again
            moved = adversarial_table(
                table, loss=loss, epsilon=self.adversarial_epsilon, size=self.items.size
            )
            misled = self.interest(batch.history, moved)
            loss = loss + self.adversarial_weight * self.target_loss(misled, moved, batch)
        if self.contrastive_weight:
            own = self.items.own
            apart = self.contrast(
                own(states), batch, read=lambda ids: own(self.interest(ids, table))
            )
            loss = loss + self.contrastive_weight * apart
        return loss

    def target_loss(self, states: Tensor, table: Tensor, batch: WindowBatch) -> Tensor:
        """Return the loss of interests ``(B, T, H)`` where a batch has targets."""
        has_target = batch.targets > 0  # (B, T), P of them true
        candidates, wanted = self.candidates(table), batch.targets[has_target]
        weights = None if self.target_weights is None else self.target_weights(wanted)
        history = batch.history if self.known is None else self.known.places(batch.history)
        read = None if self.repeats is None else self.repeats.before(history, batch.targets)
        if self.known is not None:
            candidates, wanted = self.known(candidates, wanted)
            weights = None if weights is None else weights[self.known.rows]
        texts = self.items.similarity if isinstance(self.loss, FullSoftmax) else None
        if read is not None and texts is not None:
            similar = texts.before(history[has_target], candidates)
            read = replace(read, similar=similar.divided_by(self.temperature))
        return self.loss(states[has_target], candidates, wanted, weights, read)

    def calculate_loss(self, interaction: Interaction | WindowBatch) -> Tensor:
        """Return the loss of windows, or of RecBole's prefix cases."""
        if isinstance(interaction, WindowBatch):
            return self.window_loss(interaction)
        if (
            self.label_field in interaction
        ):  # plain RecBole drew negatives; the softmax has them all
            interaction = interaction[interaction[self.label_field] > 0]
        return self.window_loss(self._as_windows(interaction))

    def _as_windows(self, cases: Interaction) -> WindowBatch:
        """Return windows of which only the last position has a target."""
        if self.needs_windows:
            raise RequestError(
                "augmentation and contrastive_views: augmented change windows; received prefixes. "
                "Use training: all_positions, without benchmark_filename."
            )
        history, lengths = cases[self.ITEM_SEQ], cases[self.ITEM_SEQ_LEN]
        target = cases[self.POS_ITEM_ID][:, None]
        targets = torch.zeros_like(history).scatter(1, lengths[:, None] - 1, target)
        return WindowBatch(history, lengths, targets, users=cases[self.USER_ID])

    def predict(self, interaction: Interaction) -> Tensor:
        """Return the score of one item a row, ``(B,)``."""
        table = self.items.table()
        states = self.last_interest(interaction, table)
        candidate = self.items.lookup(self.candidates(table), interaction[self.ITEM_ID])
        scores = (states * candidate).sum(-1) / self.temperature
        if self.offset is not None:
            scores = scores + self.offset[interaction[self.ITEM_ID]]
        return with_repeats(
            self.repeats, scores, interaction[self.ITEM_SEQ], interaction[self.ITEM_ID]
        )

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Return the scores of all items, ``(B, N)``."""
        table = self.items.table()
        states = self.last_interest(interaction, table)
        scores = item_scores(
            states, self.candidates(table), temperature=self.temperature, offset=self.offset
        )
        return with_repeats(self.repeats, scores, interaction[self.ITEM_SEQ])
