"""The page in a real browser: what a reader clicks, types and sees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from recbole_llm.bench.collect import read_boards
from recbole_llm.bench.leaderboard import render
from recbole_llm.bench.metrics import fixed

pytestmark = pytest.mark.slow
HOSTILE = "<script>alert('x')</script> & $x_1$"


@pytest.fixture(scope="module")
def site(made: SimpleNamespace, make_results: Any, tmp_path_factory: Any) -> Path:
    """Return a rendered page of two datasets, a hostile name, and failed and missing runs."""
    results = make_results(tmp_path_factory.mktemp("results") / "quick", num_users=60)
    hostile = made.gru4rec._replace(label=HOSTILE, skill=0.0, seconds=50.0)
    for seed in (2020, 2021):
        for one in (made.lstm, made.gru4rec, made.popularity, hostile):
            results.add(one, "ml-100k", seed)
        results.add(made.lstm, "ml-1m", seed)
    results.fail(made.gru4rec, "ml-100k", 2022, "OutOfMemoryError: no room")
    results.absent(made.gru4rec, "ml-1m", 2020, skip="no GPU machine was at hand")
    results.absent(made.lstm, "steam", 2020)
    results.write_plan(claim={"row": made.lstm.label, "against": [HOSTILE, "GRU4Rec"]})
    out = tmp_path_factory.mktemp("site")
    render(read_boards(results.folder), out)
    return out / "index.html"


@pytest.fixture
def page(browser: Chrome, site: Path) -> Iterator[Page]:
    """Return the page, freshly opened from disk; no test may leave a word on its console."""
    opened = Page(browser, site)
    opened.size(1280)
    opened.open()
    yield opened
    assert browser.get_log("browser") == []


class Page:
    """What a reader does with the page, and sees of it."""

    def __init__(self, browser: Chrome, site: Path) -> None:
        self.browser, self.site = browser, site

    def open(self, address: str = "") -> None:
        self.browser.get("about:blank")
        self.browser.get(self.site.as_uri() + address)
        drawn = "return document.querySelectorAll('#head th').length > 0"  # a busy machine is late
        WebDriverWait(self.browser, 20).until(lambda _: self.browser.execute_script(drawn))

    def size(self, width: int, *, dark: bool = False) -> None:
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def find(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        return [one.text for one in self.browser.find_elements(By.CSS_SELECTOR, selector)]

    def labels(self) -> list[str]:
        return self.texts("#rows .more > span:last-child")

    def head(self, label: str) -> WebElement:
        path = f"//thead[@id='head']//th[button[starts-with(normalize-space(), '{label}')]]"
        return self.browser.find_element(By.XPATH, path)

    def column(self, label: str) -> list[str]:
        heads = [text.removesuffix(" ↑").removesuffix(" ↓") for text in self.texts("#head th")]
        return self.texts(f"#rows tr:not(.absences) > :nth-child({heads.index(label) + 1})")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.browser.switch_to.active_element.send_keys(key)

    def address(self) -> str:
        return str(self.browser.execute_script("return decodeURIComponent(location.hash)"))

    def color(self) -> str:
        return self.find("body").value_of_css_property("background-color")


BEST_FIRST = ["LLMInterestLSTM", "GRU4Rec", HOSTILE, "Popularity"]


def test_it_opens_sorted_by_the_suites_metric(page: Page) -> None:
    assert page.find("h1").text == "quick"
    assert page.texts("[role=tab]") == ["ml-100k", "ml-1m", "steam"]
    tabs = page.browser.find_elements(By.CSS_SELECTOR, "[role=tab]")
    assert [tab.get_attribute("aria-selected") for tab in tabs] == ["true", "false", "false"]
    assert page.labels() == BEST_FIRST
    assert page.head("NDCG@10").get_attribute("aria-sort") == "descending"
    assert page.find("#rows strong").text == page.column("NDCG@10")[0].split()[0]


def test_a_hostile_name_stays_text(page: Page) -> None:
    assert HOSTILE in page.labels()
    count = "return document.querySelectorAll('script').length"
    assert page.browser.execute_script(count) == 2  # the data and the page's own
    page.browser.find_elements(By.CSS_SELECTOR, ".more")[BEST_FIRST.index(HOSTILE)].click()
    assert page.browser.execute_script(count) == 2


def test_a_click_on_a_head_sorts_and_another_turns_the_order(page: Page) -> None:
    page.head("Train (s)").find_element(By.TAG_NAME, "button").click()
    assert page.labels() == ["Popularity", HOSTILE, "LLMInterestLSTM", "GRU4Rec"]
    assert page.head("Train (s)").get_attribute("aria-sort") == "ascending"
    assert page.head("NDCG@10").get_attribute("aria-sort") == "none"
    page.head("Train (s)").find_element(By.TAG_NAME, "button").click()
    assert page.labels() == ["GRU4Rec", "LLMInterestLSTM", HOSTILE, "Popularity"]
    assert page.head("Train (s)").get_attribute("aria-sort") == "descending"


def test_switching_the_metric_changes_column_and_address(page: Page) -> None:
    Select(page.find("#metric")).select_by_visible_text("Recall@10")
    assert page.texts("#head th")[1].startswith("Recall@10")
    assert "metric=recall@10" in page.address()
    Select(page.find("#metric")).select_by_visible_text("Gini@10")
    assert page.head("Gini@10").get_attribute("aria-sort") == "ascending"  # lower is better
    assert not page.find("#slice").is_enabled()
    assert "Behind reference" not in page.texts("#head th")


def test_switching_the_slice_shows_its_values_without_tests(page: Page) -> None:
    every = page.column("NDCG@10")
    Select(page.find("#slice")).select_by_value("item_popularity/tail")
    assert page.column("NDCG@10") != every
    assert "Behind reference" not in page.texts("#head th")
    caption = page.find("#caption").get_attribute("textContent")
    assert caption == "NDCG@10 on ml-100k, item popularity: tail (15)"


def test_what_sorted_by_a_test_is_sorted_by_value_where_there_is_none(page: Page) -> None:
    page.head("Behind reference").find_element(By.TAG_NAME, "button").click()
    Select(page.find("#slice")).select_by_value("item_popularity/tail")
    assert page.head("NDCG@10").get_attribute("aria-sort") == "descending"


def test_numbers_are_written_as_in_the_other_tables(page: Page) -> None:
    values = (5 / 32, -5 / 32, 0.0045, -0.00022, 0.1 + 0.2, 1234567.25, 0.99995, 1e-9)
    for digits in (0, 1, 3, 4):
        for value in values:
            shown = page.browser.execute_script("return number(...arguments)", value, digits)
            assert shown == fixed(value, digits)


def test_the_filter_hears_names_roles_and_states(page: Page) -> None:
    field = page.find("#filter")
    for words, labels in (
        ("gru", ["GRU4Rec"]),
        ("CONTROL", ["Popularity"]),
        ("failed", ["GRU4Rec"]),
        ("no such", []),
    ):
        field.clear()
        field.send_keys(words)
        assert page.labels() == labels
        assert page.find("#status").text == f"{len(labels)} of 4 rows"


def test_a_deep_link_opens_what_it_names(page: Page) -> None:
    page.open("#dataset=ml-100k&metric=recall@10&slice=item_popularity/head&sort=label&filter=e")
    assert page.texts("#head th")[1] == "Recall@10"
    assert Select(page.find("#slice")).first_selected_option.text == "item popularity: head (15)"
    assert page.head("Model").get_attribute("aria-sort") == "ascending"
    assert page.find("#filter").get_attribute("value") == "e"
    page.open("#dataset=ml-1m")
    assert page.labels() == ["LLMInterestLSTM", "GRU4Rec"]
    page.open("#dataset=none&metric=constructor&slice=x&sort=spread&order=z")
    assert page.labels() == BEST_FIRST


def test_what_is_not_there_says_why(page: Page) -> None:
    assert page.texts("#rows .absence") == ["failed seed 2022: OutOfMemoryError: no room"]
    page.open("#dataset=ml-1m")
    assert page.texts("#rows .absence") == ["skipped seed 2020: no GPU machine was at hand"]
    assert page.column("NDCG@10")[1] == "–"
    page.open("#dataset=steam")
    assert page.texts("#rows .absence") == ["missing seed 2020: not run yet"]


def test_a_row_opens_to_its_runs_and_commands(page: Page) -> None:
    page.find("[data-focus='row GRU4Rec']").click()
    assert page.find("[data-focus='row GRU4Rec']").get_attribute("aria-expanded") == "true"
    seeds = page.texts("#rows .details tbody td:first-child")
    assert seeds == ["2020", "2021"]
    assert page.find("#rows pre").text.splitlines() == [
        f"run_recbole --model=GRU4Rec --dataset=ml-100k --seed={seed}" for seed in seeds
    ]
    page.find("[data-focus='row GRU4Rec']").click()
    assert page.find("[data-focus='row GRU4Rec']").get_attribute("aria-expanded") == "false"
    assert page.texts("#rows .details") == []


@pytest.mark.parametrize("clipboard", ["{writeText: async () => {}}", "undefined"])
def test_commands_are_copied_or_else_it_says_what_to_do(page: Page, clipboard: str) -> None:
    page.browser.execute_script(
        f"Object.defineProperty(navigator, 'clipboard', {{value: {clipboard}}})"
    )
    page.find("[data-focus='row GRU4Rec']").click()
    page.find("#rows .inner button").click()
    said = "Select and copy by hand" if clipboard == "undefined" else "Copied"
    wait = WebDriverWait(page.browser, 5)
    wait.until(lambda _: page.find("#rows .inner button").text == said)


def test_the_claim_is_shown_where_it_speaks_of_rows(page: Page) -> None:
    assert page.texts("#claim-table thead th") == [
        "Against", "All test cases", "Tail items", "Cold items", "More than on others"
    ]  # fmt: skip
    assert page.texts("#claim-table tbody th") == [HOSTILE, "GRU4Rec"]
    cells = page.texts("#claim-table td")
    assert cells[0].startswith("holds\n+0.") and cells[0].endswith("60 users")
    assert "users: 15; a test needs 20" in cells[1]  # of 60 users, a quarter
    assert page.texts("#claim-groups table td") == [""] * 22  # closed
    page.find("#claim-groups summary").click()
    assert page.texts("#claim-groups table td")[0] == cells[0]
    page.open("#dataset=ml-1m")
    assert "cannot be said" in page.texts("#claim-table td")[0]
    assert page.texts("#claim-table tbody th") == ["GRU4Rec"]
    page.open("#dataset=steam")
    assert not page.find("#claim").is_displayed()


def test_skipping_to_the_table_keeps_what_is_shown(page: Page) -> None:
    page.open("#dataset=ml-100k&metric=recall@10&filter=gru")
    address = page.address()
    page.browser.switch_to.active_element.send_keys(Keys.TAB)
    page.browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.browser.switch_to.active_element.get_attribute("id") == "results"
    assert page.address() == address and page.labels() == ["GRU4Rec"]


def test_it_works_by_keyboard(page: Page) -> None:
    page.find("[role=tab]").send_keys(Keys.ARROW_RIGHT)
    assert page.browser.switch_to.active_element.text == "ml-1m"
    page.press(Keys.END)
    assert page.browser.switch_to.active_element.text == "steam"
    page.press(Keys.ARROW_RIGHT)  # around
    assert "dataset=ml-100k" in page.address()
    page.head("Model").find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert page.labels()[0] == HOSTILE
    page.press(Keys.SPACE)  # the focus stayed on the head
    assert page.head("Model").get_attribute("aria-sort") == "descending"
    for key, is_open in ((Keys.ENTER, True), (Keys.SPACE, False)):
        page.find("[data-focus='row GRU4Rec']").send_keys(key)
        assert bool(page.texts("#rows .details")) is is_open
        focused = page.browser.switch_to.active_element
        assert focused.get_attribute("data-focus") == "row GRU4Rec"


def test_dark_and_light_follow_the_system_and_the_switch(page: Page) -> None:
    light = page.color()
    page.size(1280, dark=True)
    page.open()
    dark = page.color()
    assert dark != light
    page.find("#theme").click()
    assert page.color() == light
    assert page.find("#theme").get_attribute("aria-pressed") == "false"


def test_on_a_phone_nothing_runs_off_the_page(page: Page) -> None:
    page.size(390)
    page.open()
    page.find("[data-focus='row GRU4Rec']").click()
    width = "return document.documentElement.scrollWidth"
    assert page.browser.execute_script(width) == 390
    table = "const t = document.querySelector('.scroll'); return [t.scrollWidth, t.clientWidth]"
    for selector in (".scroll", "#claim .scroll"):
        inner, outer = page.browser.execute_script(table.replace(".scroll", selector, 1))
        assert inner <= outer
    assert page.head("NDCG@10").is_displayed() and not page.head("Train (s)").is_displayed()


def test_protocol_notes_and_figures_are_those_of_the_dataset(page: Page) -> None:
    page.find("#protocol summary").click()
    rules = dict(zip(page.texts("#protocol dt"), page.texts("#protocol dd"), strict=True))
    assert rules["dataset"] == "ml-100k" and rules["max_length"] == "50"
    assert any("Reference: LLMInterestLSTM." in note for note in page.texts("#notes p"))
    loaded = "const i = document.querySelectorAll('figure img'); await Promise.all([...i].map("
    loaded += "(one) => { one.loading = 'eager'; return one.decode(); })); return i.length"
    assert page.browser.execute_script(f"return (async () => {{ {loaded} }})()") == 8
