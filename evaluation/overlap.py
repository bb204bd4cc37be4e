"""Held-out problems that stood among those of training: by their text, normalised."""

import hashlib
import unicodedata
from collections.abc import Iterable

import numpy as np

_AROUND = ".,;:!?\"'`“”‘’"
"""Signs around a word that say nothing; inside one (1.5) and alone (a - b) they do."""


def fingerprint(text: str) -> str:
    """Equal for texts that differ in case, white space, quotes, ends of sentences or the form of letters."""
    words = unicodedata.normalize("NFKC", text).casefold().split()
    bare = " ".join(word.strip(_AROUND) or word for word in words)
    return hashlib.sha256(bare.encode("utf-8", "surrogatepass")).hexdigest()


def overlapping(heldout: Iterable[str], trained: Iterable[str]) -> np.ndarray:
    """(held-out problems,) bool: whether the text of each stood among those of training."""
    known = {fingerprint(text) for text in trained}
    return np.array([fingerprint(text) in known for text in heldout], dtype=bool)
