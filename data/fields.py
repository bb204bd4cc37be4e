"""Reading one field of one row of JSON, strictly: what is absent, of another type or empty is a RowError."""

from typing import Any


class RowError(Exception):
    """What is wrong with one row; `skippable` names the kind of row when the whole row may be left out."""

    def __init__(self, message: str, skippable: str | None = None) -> None:
        super().__init__(message)
        self.skippable = skippable


def list_at(row: dict[str, Any], key: str) -> list[Any]:
    if key not in row:
        raise RowError(f"key {key!r} is missing; add it")
    if not isinstance(row[key], list):
        raise RowError(f"{key!r} is {kind(row[key])}, not a list; write [...]")
    return row[key]


def text_at(row: dict[str, Any], key: str) -> str:
    if key not in row:
        raise RowError(f"key {key!r} is missing; add it")
    if not isinstance(row[key], str):
        raise RowError(f"{key!r} is {kind(row[key])}, not a string; write it in quotes")
    if not row[key].strip():
        raise RowError(f"{key!r} is empty; fill it in")
    check_encodable(row[key], repr(key))
    return row[key]


def texts_at(row: dict[str, Any], key: str) -> list[str]:
    """A list of texts; empty where the key is missing, null or an empty list."""
    texts = row.get(key) or []
    if not isinstance(texts, list):
        raise RowError(f"{key!r} is {kind(texts)}, not a list; write [...]")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise RowError(f"{key}[{number}] is {kind(text)}, not a string; write it in quotes")
        check_encodable(text, f"{key}[{number}]")
    return texts


def optional_at(row: dict[str, Any], key: str) -> str | None:
    return None if row.get(key) is None else text_at(row, key)


def text_or_empty_at(row: dict[str, Any], key: str) -> str:
    """A text that may be missing, null or empty, which are one: ""."""
    return "" if row.get(key) in (None, "") else text_at(row, key)


def identifier_at(row: dict[str, Any], key: str) -> str:
    """Public files number their problems; here an id is text."""
    number = row.get(key)
    return str(number) if isinstance(number, int) and not isinstance(number, bool) else text_at(row, key)


def check_encodable(text: str, where: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise RowError(f"{where} holds half a surrogate pair, which is no text; replace it") from None


def kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
