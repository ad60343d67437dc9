"""Ranks under digests, as records have them."""

from __future__ import annotations

import numpy as np

from recbole_llm import ranks
from recbole_llm.ranks import Ranks, digest, pack, under_digests, unpack


def ranks_of(*users: str) -> Ranks:
    counts = np.arange(len(users))
    items = [f"film {user}" for user in users]
    return Ranks(
        list(users), items, counts, counts + 10, counts + 20, ["none"], counts + 30, counts + 40
    )


def test_whoever_has_the_data_joins_them_and_nobody_else_reads_an_id() -> None:
    plain = ranks_of("u1", "u2", "u1", "ü \t3")
    found = unpack(pack(under_digests(plain, dataset="toy")))
    assert found.users == sorted(found.users)
    assert all(len(one) == 10 for one in found.users + found.items)
    names = {digest(user, dataset="toy"): user for user in plain.users}
    rows = zip(found.users, found.items, found.above, found.popularity, strict=True)
    assert sorted((names[user], item, *counts) for user, item, *counts in rows) == sorted(
        (user, digest(f"film {user}", dataset="toy"), at, at + 30)
        for at, user in enumerate(plain.users)
    )
    assert found.users_without_case == [digest("none", dataset="toy")]
    assert (found.history - found.above == 40).all()
    assert digest("u1", dataset="toy") != digest("u1", dataset="other")


def test_digests_are_as_long_as_users_need_to_be_told_apart(monkeypatch) -> None:
    monkeypatch.setattr(ranks, "DIGITS", 1)
    found = under_digests(ranks_of(*map(str, range(17))), dataset="toy")
    assert len(set(found.users)) == 17 and len(found.users[0]) > 1
    assert digest("7", dataset="toy", digits=len(found.users[0])) in found.users
