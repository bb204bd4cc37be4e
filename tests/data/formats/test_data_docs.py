"""The page on data sets names every form, its keys and its licence as the code has them."""

from pathlib import Path

import pytest

from data.formats.known import FORMATS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_every_form_has_its_row(form):
    keys = sorted(f"`{key}`" for key in form.keys)
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in PAGE.splitlines()]
    _, found, licence = next(row for row in rows if row[:1] == [form.name])
    assert (sorted(found.split(", ")), licence) == (keys, form.licence)
