"""Whitening: the identity as covariance, and no harm where there is no variance."""

from __future__ import annotations

import pytest
import torch

from recbole_llm.errors import RequestError
from recbole_llm.text.whiten import anisotropy, fit_whitening, whiten


def correlated(count: int = 500) -> torch.Tensor:
    mixing = torch.tensor([[2.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 0.2]])
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(0)) @ mixing + 5


def covariance(vectors: torch.Tensor) -> torch.Tensor:
    centred = vectors - vectors.mean(0)
    return centred.T @ centred / len(vectors)


@pytest.mark.parametrize("method", ["zca", "pca"])
def test_covariance_is_the_identity(method: str) -> None:
    white = whiten(correlated(), method=method)
    assert torch.allclose(covariance(white), torch.eye(3), atol=1e-3)
    assert torch.allclose(white.mean(0), torch.zeros(3), atol=1e-5)


def test_zca_of_independent_axes_only_scales_them() -> None:
    vectors = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    # variances 2 and 1/2, so that the axes are divided by √2 and √(1/2)
    expected = torch.tensor([[2**0.5, 0.0], [-(2**0.5), 0.0], [0.0, 2**0.5], [0.0, -(2**0.5)]])
    assert torch.allclose(whiten(vectors, method="zca"), expected, atol=1e-4)


def test_standard_scales_each_entry_alone() -> None:
    vectors = torch.tensor([[1.0, 10.0], [3.0, 30.0]])  # means 2 and 20, deviations 1 and 10
    expected = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])  # as correlated as before
    assert torch.allclose(whiten(vectors, method="standard"), expected, atol=1e-3)


def test_zca_stays_closer_to_its_input_than_pca() -> None:
    centred = correlated() - correlated().mean(0)
    near = (whiten(correlated(), method="zca") - centred).norm()
    assert near < (whiten(correlated(), method="pca") - centred).norm()


def test_pca_keeps_the_axes_of_most_variance() -> None:
    kept = whiten(correlated(), method="pca", dim=1).squeeze(1)
    widest = torch.linalg.eigh(covariance(correlated())).eigenvectors[:, -1]
    assert abs(torch.corrcoef(torch.stack([kept, correlated() @ widest]))[0, 1]) > 0.999


@pytest.mark.parametrize(
    "vectors",
    [
        torch.randn(3, 8),
        torch.randn(1, 4),
        torch.randn(1, 4).expand(6, 4),
        torch.cat([torch.randn(9, 2), torch.ones(9, 2)], 1),
        torch.zeros(5, 3),
        torch.zeros(0, 3),
    ],
    ids=["fewer than dimensions", "one", "all the same", "constant columns", "zeros", "none"],
)
@pytest.mark.parametrize("method", ["none", "standard", "zca", "pca"])
def test_poor_input_gives_finite_vectors_of_bounded_size(vectors, method: str) -> None:
    white = whiten(vectors, method=method)
    assert white.shape == vectors.shape and white.dtype == torch.float32
    assert torch.isfinite(white).all() and white.abs().sum() < 1e3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "pca", "dim": 4}, "at most 3"),
        ({"method": "zca", "dim": 2}, "whitening: pca"),
        ({"method": "standard", "dim": 2}, "whitening: pca"),
    ],
)
def test_what_is_refused(settings, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        whiten(correlated(), **settings)


@pytest.mark.parametrize(
    ("method", "dim"), [("standard", None), ("zca", None), ("pca", None), ("pca", 1)]
)
def test_new_vectors_are_whitened_by_what_was_fitted(method: str, dim: int | None) -> None:
    vectors = correlated()
    fitted = fit_whitening(vectors, method=method, dim=dim)
    white = whiten(vectors, method=method, dim=dim)
    assert torch.equal(fitted(vectors), white)
    assert torch.allclose(fitted(vectors[3:4]), white[3:4], atol=1e-6)  # not by its own mean
    matrix = (vectors.double() - fitted.mean) @ fitted.matrix()
    assert torch.allclose(matrix.float(), white, atol=1e-5)


def test_without_whitening_there_is_nothing_to_fit() -> None:
    assert fit_whitening(correlated(), method="none") is None


def test_anisotropy_is_the_mean_cosine_of_all_pairs() -> None:
    vectors = torch.tensor([[2.0, 0.0], [0.0, 0.5], [-3.0, 0.0], [0.0, 0.0]])  # the last has none
    assert anisotropy(vectors) == pytest.approx((0 - 1 + 0) / 3)
    assert anisotropy(correlated()) == pytest.approx(mean_cosine(correlated()), abs=1e-5)
    assert anisotropy(vectors[2:]) is None


def mean_cosine(vectors: torch.Tensor) -> float:
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    return float((unit @ unit.T)[~torch.eye(len(unit), dtype=torch.bool)].mean())
