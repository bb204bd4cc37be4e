"""The page on data sets names every form, its keys and its licence as the code has them."""

from pathlib import Path

import pytest

from data.formats.known import FORMATS
from data.forms import FUNCTION_SETS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "form", [form for form in FORMATS if form.name not in FUNCTION_SETS], ids=lambda f: f.name
)
def test_every_form_has_its_row(form):
    keys = ", ".join(f"`{key}`" for key in sorted(form.keys))
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in PAGE.splitlines()]
    _, found, licence = next(row for row in rows if row[:1] == [form.name])
    assert (", ".join(sorted(found.split(", "))), licence) == (keys, form.licence)


def test_the_sets_of_functions_are_named():
    assert all(name in PAGE for name in FUNCTION_SETS)
