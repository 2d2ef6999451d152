"""The pictures beside a trained model: what was measured, under the names that people gave, in letters that exist."""

from typing import Any

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cai.drawing.canvas import new_figure
from cai.train import figures
from cai.train.figures import draw_tasks, draw_training

KOREAN = "도움"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Return the figures that were made."""
    made: list[Figure] = []

    def keep(width: float, height: float) -> Figure:
        made.append(new_figure(width, height))
        return made[-1]

    monkeypatch.setattr(figures, "new_figure", keep)
    return made


def points(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    return {str(line.get_label()): list(map(tuple, np.asarray(line.get_xydata()))) for line in axes.lines}


def test_a_training_s_figure_leaves_out_what_was_not_measured(made: list[Figure]) -> None:
    history: list[dict[str, Any]] = [
        {"step": 1, "loss": 1.0, "reward": None, "eval_loss": 2.0},
        {"step": 2, "loss": float("nan"), "reward": 0.5},
    ]
    drawn = draw_training(history, "a $title")
    assert drawn.startswith(b"\x89PNG")
    assert draw_training(history, "a $title") == drawn
    assert [axes.get_ylabel() for axes in made[0].axes] == ["loss", "reward"]
    assert points(made[0].axes[0]) == {"training": [(1, 1.0)], "test split": [(1, 2.0)]}
    assert points(made[0].axes[1]) == {"training": [(2, 0.5)]}
    assert [axes.get_legend() is None for axes in made[0].axes] == [False, True]
    draw_training([], "nothing yet")
    assert [axes.get_ylabel() for axes in made[2].axes] == ["loss"]


def test_tasks_are_drawn_by_name_with_who_interferes(made: list[Figure]) -> None:
    history = [
        {"step": 1, "loss": 2.0, "cosine/a/b": -0.5},
        {"step": 2, "loss": 2.0, "cosine/a/b": -0.1, "eval_a_loss": 1.0, "eval_b_loss": 2.0},
    ]
    draw_tasks(("a", "b", "c"), history, "a $title")
    held_out, cosines, matrix = made[0].axes
    assert points(held_out) == {"a": [(2, 1.0)], "b": [(2, 2.0)]}
    assert points(cosines)["a, b"] == [(1, -0.5), (2, -0.1)]
    assert [text.get_text() for text in matrix.texts if text.get_text() != "+1.00"] == ["-0.30", "-0.30"]
    draw_tasks(("a", "b"), [], "nothing")
    assert len(made[1].axes) == 1


def test_names_that_no_font_has_are_numbers_and_no_boxes(made: list[Figure], monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = [font for font in font_manager.fontManager.ttflist if font.name == "DejaVu Sans"]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", ordinary)
    draw_training([{"step": 1, "loss": 1.0}], f"sft: {KOREAN}")  # a letter that is missing is a warning of matplotlib's
    draw_tasks((KOREAN, "b"), [{"step": 1, f"eval_{KOREAN}_loss": 1.0}], f"sft: {KOREAN}")
    assert [figure.get_suptitle() for figure in made] == ["sft: [1]", "sft: [1]"]
    assert all(figure.get_supxlabel().startswith("[1]: names in letters that no installed font") for figure in made)
    assert list(points(made[1].axes[0])) == ["[1]"]
