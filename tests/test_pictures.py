"""Figures as files."""

from __future__ import annotations

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from recbole_llm.pictures import STYLE, picture


@pytest.mark.filterwarnings("error")
def test_letters_without_a_font_raise_no_wave_of_warnings() -> None:
    with mpl.rc_context(STYLE):
        figure = Figure(layout="constrained")
        figure.suptitle("फ़िल्म 映画 \U000f0000 Amélie")  # one letter of which no font has
        made = picture(figure, name="title", title="A title")
    assert made.png.startswith(b"\x89PNG") and "<svg" in made.svg
