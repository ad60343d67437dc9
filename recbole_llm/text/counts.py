"""Texts to vectors by the words in them: cheap anchors, which a language model should beat.

Letters: n texts, D text-vector size.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from recbole_llm.errors import EncoderError
from recbole_llm.text.encoders import Encoding

SIZE = 384  # D, if nothing else is asked for: that of the bundled language model
WORD = r"(?u)\b\w+\b"


class WordCounts:
    """Encodes texts by their words; stands where a ``TextEncoder`` does.

    ``tfidf`` is latent semantic analysis (Deerwester et al., 1990): words weighed by how rare they
    are, as 1 + log of their number, on the axes of most weight of the catalogue, which it is fitted
    to whenever it is needed. ``hashing`` adds each word to the entry that its hash says
    (Weinberger et al., 2009, arXiv 0902.2206) and knows no catalogue. Vectors are of length 1, or
    zero where a text has no word that is known.

    Args:
        kind: ``tfidf`` or ``hashing``.
        texts: Those of the catalogue.
        dim: D; 384 by default, or as many axes as the texts have.

    Attributes:
        name: The kind.
    """

    def __init__(self, kind: str, texts: Sequence[str], *, dim: int | None = None) -> None:
        self.name, self.dim = kind, dim
        self._texts = sorted(set(texts))

    def fingerprint(self) -> dict[str, Any]:
        """Return what identifies the vectors; of ``tfidf`` the catalogue's texts are part of it."""
        about = {"name": self.name, "dim": self.dim or SIZE, "dtype": "float32", "recipe": 1}
        if self.name == "hashing":
            return about
        digest = hashlib.sha256(json.dumps(self._texts).encode()).hexdigest()
        return about | {"fitted_to": digest}

    def encode(self, texts: Sequence[str]) -> Encoding:
        """Encode texts; the seconds are those of the fit too, if it comes first.

        Raises:
            EncoderError: If the catalogue has no words, or fewer axes than ``dim``.
        """
        begin = time.perf_counter()
        found = self._fitted.transform(list(texts))
        dense = found if isinstance(found, np.ndarray) else found.toarray()
        vectors = torch.from_numpy(dense.astype(np.float32))
        return Encoding(vectors, 0, 0, seconds=time.perf_counter() - begin)

    @functools.cached_property
    def _fitted(self) -> Any:
        from sklearn.feature_extraction.text import HashingVectorizer

        if self.name == "hashing":
            return HashingVectorizer(n_features=self.dim or SIZE, token_pattern=WORD)
        return self._fitted_to_catalogue()

    def _fitted_to_catalogue(self) -> Any:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import Normalizer

        words = TfidfVectorizer(sublinear_tf=True, token_pattern=WORD)
        try:
            weights = words.fit_transform(self._texts)  # (n, words)
        except ValueError:
            raise EncoderError(
                f"text_encoder: tfidf finds no word in {len(self._texts)} texts. Choose other "
                "text_fields, or another encoder."
            ) from None
        most = min(weights.shape)
        if self.dim is not None and self.dim > most:
            raise EncoderError(
                f"text_dim: {len(self._texts)} texts of {weights.shape[1]} words have {most} axes, "
                f"received {self.dim}. Use at most {most}."
            )
        axes = TruncatedSVD(self.dim or min(SIZE, most), random_state=0)
        scale = Normalizer(copy=False)
        scale.fit(axes.fit_transform(weights))
        return make_pipeline(words, axes, scale)
