"""Token-level credit: which tokens of a failed program its advantage is about. Off by default.

A program that crashed says where. Tokens of the line that raised may weigh more in the policy loss, tokens of
lines that never ran may weigh nothing: they did not change the score. Weights scale the loss of a token and
leave the response mask alone, so GAE, whitening, critic and KL see the response whole. The weights of a
response sum to its number of tokens: credit is moved within it, never added.

Lines are those of Python's tokenizer (LF, CRLF, CR), numbered from 1; they are found by position, never by
their text. Sources: Liu et al., "RLTF" (arXiv 2307.04349), feedback on the error line; Dou et al.,
"StepCoder" (arXiv 2402.01391), masking of code that was not executed. Masked is only what a traceback proves.
"""

import ast
import re
import warnings
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from statistics import fmean

import torch
from torch import Tensor

from data import Answer
from ppo.config import PPOConfig
from ppo.masked import keep
from ppo.rollout import Responses, Score

Traceback = tuple[int | None, int]
"""Lines of the program in a traceback: of the module's own code (None where it was not on the stack, as in
an atexit function), and the innermost one."""

Span = tuple[int, int]

_WINDOW = 16  # tokens decoded one by one before it is looked at less often
_REPLACEMENT = "\ufffd"  # what bytes that are no character decode to, or not yet one


def credit_weights(
    config: PPOConfig,
    responses: Responses,
    verdicts: Sequence[Score | None],
    advantages: Tensor,
    mask: Tensor,
    decode: Callable[[list[int]], str],
) -> Tensor:
    """Weights of the policy loss: (B, T), 0 outside the mask; 1 inside while credit is off.

    A score may have `tracebacks`: one entry per run of its program, None for a run that ended without one. A
    response whose score has none of them weighs 1 everywhere. The line that raised counts for more in
    responses that did worse than expected only: in the others, more weight would teach the error.

    Args:
        advantages, mask: (B, T). `decode`: ids -> what they say behind a prompt, special tokens included.
    """
    weights = mask.to(advantages.dtype)  # (B, T)
    if not config.uses_credit:
        return weights
    worse = (keep(advantages, mask).sum(dim=1) < 0).tolist()
    for row, verdict in enumerate(verdicts):
        runs = getattr(verdict, "tracebacks", ())
        if not any(runs):
            continue
        answer = responses.programs[row]
        error_weight = config.error_line_weight if worse[row] else 1.0
        lines = line_weights(answer.program, runs, error_weight, mask_unexecuted=config.mask_unexecuted)
        ids = responses.tokens.response_ids[row][mask[row]].tolist()
        spans = token_spans(ids, responses.texts[row], decode)
        raw = token_weights(spans, answer, lines)
        weights[row, : len(raw)] = torch.tensor(raw, dtype=weights.dtype)
    return weights


def line_weights(
    program: str, runs: Sequence[Traceback | None], error_weight: float, *, mask_unexecuted: bool
) -> list[float]:
    """One weight per line of the program: `error_weight` where a run raised, 0 where none came, else 1."""
    weights = [1.0] * len(line_starts(program))
    if mask_unexecuted:
        for line in unexecuted_lines(program, runs):
            weights[line - 1] = 0.0
    for run in runs:
        if run is not None and 1 <= run[1] <= len(weights):  # a program may have written the traceback
            weights[run[1] - 1] = error_weight
    return weights


def unexecuted_lines(program: str, runs: Sequence[Traceback | None]) -> range:
    """Lines that no run reached: those behind the last top-level statement that some run got to.

    The module's code runs from top to bottom, so nothing behind the statement that raised was executed. A
    run that ended any other way may have executed everything: then no line is certain.
    """
    count = len(line_starts(program))
    nothing = range(0)
    tops = [None if run is None else run[0] for run in runs]
    known = [top for top in tops if top is not None]
    if not known or len(known) < len(tops):
        return nothing
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on odd escapes
            body = ast.parse(program).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return nothing  # it never ran: no line is to blame more than another
    ends = [s.end_lineno or s.lineno for s in body if s.lineno <= max(known)]
    return range(max(ends) + 1, count + 1) if ends else nothing


def token_spans(ids: Sequence[int], text: str, decode: Callable[[list[int]], str]) -> list[Span]:
    """The characters (start, end) of `text` that each id stands for.

    A token may hold a part of a character only (byte-level BPE): it belongs to the character it helps to
    write. Behind the end of the text (a stop token) the span is empty.

    Decoding starts behind the last token that ended a character, so the work is linear in the response. Where
    no character ends for more than _WINDOW tokens (bytes that are no text), it is looked at less and less
    often, and the characters of such a stretch belong to the last of the tokens between two looks.
    """
    known = [0]
    first, place = 0, 0  # ids[:first] write text[:place]
    for end in range(1, len(ids) + 1):
        width = end - first
        if width % (width // _WINDOW + 1) and end < len(ids):
            known.append(known[-1])
            continue
        piece = decode(list(ids[first:end]))
        there = text[place : place + len(piece)]
        # An unfinished character decodes to a replacement mark, which the text does not have there.
        known.append(max(known[-1], place + _common_prefix(piece, there)))
        if piece == there and not piece.endswith(_REPLACEMENT):
            first, place = end, place + len(piece)
    starts, ends = known[:-1], known[1:]
    return [(start, min(max(end, start + 1), len(text))) for start, end in zip(starts, ends, strict=True)]


def token_weights(spans: Sequence[Span], answer: Answer, lines: Sequence[float]) -> list[float]:
    """Weights of the tokens from those of the program's lines: the mean over a token's characters, scaled to
    mean 1.

    Characters outside the program, and tokens without any, weigh 1. Without anything to put the weight on,
    all tokens weigh 1.
    """
    program, offset, given = answer
    starts = line_starts(program)

    def weight(position: int) -> float:
        place = position - offset + given
        return lines[bisect_right(starts, place) - 1] if given <= place < len(program) else 1.0

    raw = [fmean(map(weight, range(start, end))) if start < end else 1.0 for start, end in spans]
    total = sum(raw)
    return [len(raw) * w / total for w in raw] if total > 0 else [1.0] * len(raw)


def line_starts(program: str) -> list[int]:
    """Where each line begins, as Python's tokenizer counts lines (`str.splitlines` knows other ends too)."""
    lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", program)
    return list(accumulate(map(len, lines[:-1]), initial=0))


def _common_prefix(a: str, b: str) -> int:
    """How many characters two texts have in common from their beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
