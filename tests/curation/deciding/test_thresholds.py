"""Comparisons with a number are found in rules."""

import pytest

from curation.deciding.policy import load_policy
from curation.deciding.thresholds import comparisons


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("face_height >= 96", ["face_height >= 96"]),
        ("96 <= face_height", ["face_height >= 96"]),
        ("duration_s between 3 and 20", ["duration_s >= 3", "duration_s <= 20"]),
        ("yaw <= 60 and pitch > -45.5", ["yaw <= 60", "pitch > -45.5"]),
        ("abs(offset_frames) <= 3", ["abs(offset_frames) <= 3"]),
        ("coalesce(likeness, 1) >= 0.55", ["COALESCE(likeness, 1) >= 0.55"]),
        ("n = 1", ["n = 1"]),
        ("x > 1e-3", ["x > 0.001"]),
        ("x >= 2 and (y < 1 or z > 2)", ["x >= 2"]),
        ("not is_static", []),
        ("language = 'en'", []),
        ("x not between 1 and 2", []),
        ("x >= y", []),
        ("day >= DATE '2020-01-01'", []),
        ("x >= [1]", []),
        ("x < 'infinity'::DOUBLE", []),
        ("x >= 2.5::DECIMAL(3, 1) and y", ["x >= 2.5"]),
        ("confidence >= CASE method WHEN 'a' THEN 0.2 ELSE 0.3 END", []),
    ],
)
def test_comparisons(expression: str, found: list[str]) -> None:
    assert [str(comparison) for comparison in comparisons(expression)] == found


def test_the_rest_is_everything_else() -> None:
    low, high = comparisons("duration_s between 3 and 20")
    assert (low.rest, high.rest) == ("((duration_s <= 20))", "((duration_s >= 3))")
    (only,) = comparisons("x >= 2")
    assert only.rest == "true"
    (first,) = comparisons("x >= 2 and not is_static")
    assert first.rest == "((NOT is_static))"


@pytest.mark.parametrize(
    ("expression", "column", "marks"),
    [
        ("x >= 2", "x", (2.0,)),
        ("abs(x) <= 3", "x", (-3.0, 3.0)),
        ("coalesce(x, 1) >= 0.5", "x", (0.5,)),
        ("x - y >= 2", None, ()),
        ("abs(x - y) >= 2", None, ()),
        ("x * 2 >= 2", None, ()),
    ],
)
def test_where_a_threshold_lies_on_its_column(expression: str, column: str | None, marks: tuple[float, ...]) -> None:
    (comparison,) = comparisons(expression)
    assert (comparison.column, comparison.marks) == (column, marks)


def test_every_shipped_policy_can_be_taken_apart() -> None:
    rules = {rule.name: rule for stage in load_policy("lite").stages for rule in stage.rules}
    assert [str(comparison) for comparison in comparisons(rules["facing"].expression)] == [
        "face_yaw_deg_abs_max <= 60",
        "face_pitch_deg_abs_max <= 45",
    ]
    assert comparisons(rules["in_sync"].expression) == ()  # depends on the method: no one number
