"""Amazon reviews of 2014, 2018 and 2023, one category: reviews and metadata, a record a line.

The 5-core files of 2014 and 2018 are taken where the release has them; of raw reviews the 5-core is
made here. Records are JSON or, in the metadata of 2014, Python literals.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from recbole_llm.data.sources.archive import Release, identifier, number, record_of, text
from recbole_llm.data.sources.writer import Counts, Table, Tables

REVIEWS = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
PRODUCTS = ("item_id:token", "title:token_seq", "categories:token_seq", "brand:token_seq")
CORE = 5
REVIEWS_2018 = {  # category to reviews in its 5-core, as the publisher counts them
    "AMAZON_FASHION": 3_176, "All_Beauty": 5_269, "Appliances": 2_277,
    "Arts_Crafts_and_Sewing": 494_485, "Automotive": 1_711_519, "Books": 27_164_983,
    "CDs_and_Vinyl": 1_443_755, "Cell_Phones_and_Accessories": 1_128_437,
    "Clothing_Shoes_and_Jewelry": 11_285_464, "Digital_Music": 169_781, "Electronics": 6_739_590,
    "Gift_Cards": 2_972, "Grocery_and_Gourmet_Food": 1_143_860, "Home_and_Kitchen": 6_898_955,
    "Industrial_and_Scientific": 77_071, "Kindle_Store": 2_222_983, "Luxury_Beauty": 34_278,
    "Magazine_Subscriptions": 2_375, "Movies_and_TV": 3_410_019, "Musical_Instruments": 231_392,
    "Office_Products": 800_357, "Patio_Lawn_and_Garden": 798_415, "Pet_Supplies": 2_098_325,
    "Prime_Pantry": 137_788, "Software": 12_805, "Sports_and_Outdoors": 2_839_940,
    "Tools_and_Home_Improvement": 2_070_831, "Toys_and_Games": 1_828_971, "Video_Games": 497_577,
}  # fmt: skip
CATEGORIES_2023 = (
    "All_Beauty", "Amazon_Fashion", "Appliances", "Arts_Crafts_and_Sewing", "Automotive",
    "Baby_Products", "Beauty_and_Personal_Care", "Books", "CDs_and_Vinyl",
    "Cell_Phones_and_Accessories", "Clothing_Shoes_and_Jewelry", "Digital_Music", "Electronics",
    "Gift_Cards", "Grocery_and_Gourmet_Food", "Handmade_Products", "Health_and_Household",
    "Health_and_Personal_Care", "Home_and_Kitchen", "Industrial_and_Scientific", "Kindle_Store",
    "Magazine_Subscriptions", "Movies_and_TV", "Musical_Instruments", "Office_Products",
    "Patio_Lawn_and_Garden", "Pet_Supplies", "Software", "Sports_and_Outdoors",
    "Subscription_Boxes", "Tools_and_Home_Improvement", "Toys_and_Games", "Unknown", "Video_Games",
)  # fmt: skip


def amazon_2014(release: Release, *, category: str, published: Counts) -> Tables:
    """Read ``reviews_<category>_5.json`` or the raw reviews, and ``meta_<category>.json``."""
    return _tables(
        release, reviews=f"reviews_{category}", meta=f"meta_{category}.json", published=published
    )


def amazon_2018(release: Release, *, category: str, published: Counts) -> Tables:
    """Read ``<category>_5.json`` or the raw reviews, and ``meta_<category>.json``."""
    return _tables(release, reviews=category, meta=f"meta_{category}.json", published=published)


def amazon_2023(release: Release, *, category: str) -> Tables:
    """Read ``<category>.jsonl`` and ``meta_<category>.jsonl``; items are parent products."""
    return Tables(
        interactions=Table(REVIEWS, release.find(f"{category}.jsonl").rows(_review_2023)),
        items=Table(
            PRODUCTS,
            release.find(f"meta_{category}.jsonl").rows(_product("parent_asin", brand="store")),
        ),
        core=CORE,
    )


def _tables(release: Release, *, reviews: str, meta: str, published: Counts) -> Tables:
    is_raw = not release.has(f"{reviews}_5.json") and release.has(f"{reviews}.json")
    found = release.find(f"{reviews}.json" if is_raw else f"{reviews}_5.json")
    return Tables(
        interactions=Table(REVIEWS, found.rows(_review)),
        items=Table(PRODUCTS, release.find(meta).rows(_product("asin", brand="brand"))),
        core=CORE if is_raw else 1,
        published=None if is_raw else published,
    )


def _review(line: str) -> list[str]:
    review = record_of(line)
    rating, time = number(review["overall"]), number(review["unixReviewTime"])
    return [identifier(review["reviewerID"]), identifier(review["asin"]), rating, time]


def _review_2023(line: str) -> list[str]:
    review = record_of(line)
    seconds = f"{float(number(review['timestamp'])) / 1000:.3f}"  # published in milliseconds
    ids = [identifier(review["user_id"]), identifier(review["parent_asin"])]
    return [*ids, number(review["rating"]), seconds]


def _product(key: str, *, brand: str) -> Callable[[str], list[str]]:
    """Return a parser of products whose id and brand go by these names."""

    def parse(line: str) -> list[str]:
        product = record_of(line)
        title = str(product.get("title") or "")
        if "getTime" in title:  # a script of the shop's page that the crawl of 2018 took for it
            title = ""
        categories = product.get("categories") or product.get("category") or []
        return [
            identifier(product[key]),
            text(html.unescape(title)),
            text(html.unescape(" ".join(_path(categories)))),
            text(html.unescape(str(product.get(brand) or ""))),
        ]

    return parse


def _path(categories: list[Any]) -> list[str]:
    """Return the first path of categories, without pieces of web pages."""
    first = categories[0] if categories and isinstance(categories[0], list) else categories
    return [str(name) for name in first if "<" not in str(name)]
