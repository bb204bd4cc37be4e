"""From untrusted text to HTML. Every string that a log or a program holds goes through `text`."""

import html
import math
import re

# Characters that a browser drops, obeys or hides, so that what is seen would not be what was run: control
# characters, directional overrides ("Trojan Source"), zero-width characters, lone surrogates.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def text(value: object, limit: int | None = None) -> str:
    """Escaped for element content and for quoted attributes; hidden characters are spelled out.

    Args:
        limit: longer text is cut there, and says by how much.
    """
    whole = str(value).replace("\r\n", "\n")
    shown = whole if limit is None else whole[:limit]
    more = f"\n… {len(whole) - len(shown)} more characters" if len(shown) < len(whole) else ""
    return html.escape(_HIDDEN.sub(_spelled, shown), quote=True) + more


def number(value: float | None, form: str = "{:.3g}") -> str:
    """A number for people, a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    return form.format(value).replace("-", "−")


def details(summary: str, body: str, *, opened: bool = False, attributes: str = "") -> str:
    """A part that opens on a click. All arguments are HTML."""
    return f"<details{' open' if opened else ''}{attributes}><summary>{summary}</summary>{body}</details>"


def _spelled(match: re.Match[str]) -> str:
    return f"⟨U+{ord(match[0]):04X}⟩"
