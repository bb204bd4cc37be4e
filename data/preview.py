"""What a record shows of a text or an output that may be long: for people, not for comparing."""

import codecs


def preview(content: str | bytes, limit: int) -> str:
    """The first `limit` bytes in UTF-8, and behind them how many were left out.

    Bytes that are no text are escaped. A character that the limit goes through is left out whole.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    if len(data) <= limit:
        return decoder.decode(data, final=True)
    shown = decoder.decode(data[:limit])
    begun, _ = decoder.getstate()  # the bytes of a character that is cut
    return f"{shown}… ({len(data) - limit + len(begun)} more bytes)"
