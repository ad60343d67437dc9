"""The public datasets that we can read, and where their publishers keep them.

A checksum is given where the publisher gives one: GroupLens does, nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from recbole_llm.data.sources import amazon, food, grouplens, microlens, mind, steam
from recbole_llm.data.sources.archive import Release
from recbole_llm.data.sources.writer import Counts, Tables
from recbole_llm.errors import RequestError, unknown_name

GROUPLENS = "https://files.grouplens.org/datasets/movielens"
AMAZON_2014 = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
AMAZON_2018 = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2"
AMAZON_2023 = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw"
STEAM = "https://cseweb.ucsd.edu/~wckang"
MICROLENS = "https://recsys.westlake.edu.cn/MicroLens-50k-Dataset"


@dataclass(frozen=True)
class RemoteFile:
    """A file of a release on its publisher's host.

    Attributes:
        url: Its address.
        md5: What the publisher says its digest is, or None where nothing is said.
    """

    url: str
    md5: str | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """A public dataset.

    Attributes:
        read: Makes tables of a release.
        files: What a release consists of; none where no program may fetch it.
        by_hand: How a person gets it where none is listed.
    """

    read: Callable[[Release], Tables]
    files: tuple[RemoteFile, ...] = ()
    by_hand: str = ""


def _amazon_2014(category: str, *, published: Counts) -> Source:
    names = (f"reviews_{category}_5.json.gz", f"meta_{category}.json.gz")
    return Source(
        read=partial(amazon.amazon_2014, category=category, published=published),
        files=tuple(RemoteFile(f"{AMAZON_2014}/{name}") for name in names),
    )


def _amazon_2018(category: str, *, users: int | None = None, items: int | None = None) -> Source:
    published = Counts(users, items, amazon.REVIEWS_2018[category])
    names = (f"categoryFilesSmall/{category}_5.json.gz", f"metaFiles2/meta_{category}.json.gz")
    return Source(
        read=partial(amazon.amazon_2018, category=category, published=published),
        files=tuple(RemoteFile(f"{AMAZON_2018}/{name}") for name in names),
    )


def _amazon_2023(category: str) -> Source:
    names = (f"review_categories/{category}.jsonl.gz", f"meta_categories/meta_{category}.jsonl.gz")
    return Source(
        read=partial(amazon.amazon_2023, category=category),
        files=tuple(RemoteFile(f"{AMAZON_2023}/{name}") for name in names),
    )


SOURCES: Mapping[str, Source] = {
    "ml-100k": Source(
        read=grouplens.ml_100k,
        files=(RemoteFile(f"{GROUPLENS}/ml-100k.zip", "0e33842e24a9c977be4e0107933c0723"),),
    ),
    "ml-1m": Source(
        read=grouplens.ml_1m,
        files=(RemoteFile(f"{GROUPLENS}/ml-1m.zip", "c4d9eecfca2ab87c1945afe126590906"),),
    ),
    "ml-20m": Source(
        read=grouplens.ml_20m,
        files=(RemoteFile(f"{GROUPLENS}/ml-20m.zip", "cd245b17a1ae2cc31bb14903e1204af3"),),
    ),
    "amazon-beauty": _amazon_2014("Beauty", published=Counts(22_363, 12_101, 198_502)),
    "amazon-clothing": _amazon_2014(
        "Clothing_Shoes_and_Jewelry", published=Counts(39_387, 23_033, 278_677)
    ),
    "amazon-games": _amazon_2018("Video_Games", users=55_223, items=17_408),
    **{f"amazon2018-{category}": _amazon_2018(category) for category in amazon.REVIEWS_2018},
    **{f"amazon2023-{category}": _amazon_2023(category) for category in amazon.CATEGORIES_2023},
    "mind-small": Source(
        read=mind.mind_small,
        by_hand="accept Microsoft's terms on https://msnews.github.io and put MINDsmall_train.zip "
        "and MINDsmall_dev.zip into one folder",
    ),
    "steam": Source(
        read=steam.steam,
        files=(
            RemoteFile(f"{STEAM}/steam_reviews.json.gz"),
            RemoteFile(f"{STEAM}/steam_games.json.gz"),
        ),
    ),
    "food": Source(
        read=food.food,
        by_hand="sign in at https://www.kaggle.com/datasets/shuyangli94/"
        "food-com-recipes-and-user-interactions and download the archive",
    ),
    "microlens-50k": Source(
        read=microlens.microlens_50k,
        files=(
            RemoteFile(f"{MICROLENS}/MicroLens-50k_pairs.csv"),
            RemoteFile(f"{MICROLENS}/MicroLens-50k_titles.csv"),
        ),
    ),
}


def find_source(name: str) -> Source:
    """Return a source by its dataset's name.

    Raises:
        RequestError: If we know no release of that name.
    """
    if name not in SOURCES:
        raise RequestError(
            f"{unknown_name('dataset', name, SOURCES, list_known=False)} docs/datasets.md lists "
            "all; atomic files of any other dataset need no conversion."
        )
    return SOURCES[name]
