"""Evolution layers that torch.compile makes faster."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.utils import counters

from recbole_llm.errors import RequestError


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LLMInterestLSTM", "LLMInterestTransformer"])
def test_a_compiled_model_is_the_same_model(name: str, ring) -> None:
    """Names of weights, loss, gradients and scores are those of the plain one."""
    found = []
    for is_compiled in (False, True):
        world = ring(name, compile_evolution=is_compiled, dropout_prob=0.0, enable_amp=False)
        batch = next(iter(world.train))
        loss = world.model.calculate_loss(batch)
        loss.backward()
        cases = next(iter(world.test))[0]
        gradients = {n: weight.grad for n, weight in world.model.named_parameters()}
        world.model.eval()
        with torch.no_grad():
            scores = world.model.full_sort_predict(cases)
        found.append({"loss": loss.detach(), "scores": scores, **gradients})
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_compiled_model_learns_the_ring(ring) -> None:
    world = ring("LLMInterestTransformer", compile_evolution=True)
    batch = next(iter(world.train))
    before = world.model.calculate_loss(batch).item()
    world.fit()
    assert world.model.calculate_loss(batch).item() < before / 4
    assert counters["stats"]["unique_graphs"] > 0  # else nothing was compiled


@pytest.mark.parametrize(
    ("compiler", "more", "words"),
    [
        ("/no/such/g++", {}, r"compile_evolution: needs a C\+\+ compiler"),
        ("true", {"adversarial_weight": 0.5}, "compile_evolution: .* adversarial_weight"),
    ],
)
def test_what_cannot_be_compiled_is_refused(monkeypatch, ring, compiler, more, words) -> None:
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(RequestError, match=words):
        ring("LLMInterestLSTM", compile_evolution=True, **more)
