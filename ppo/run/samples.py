"""What is kept of every response, for people who judge it and programs that judge it again."""

from collections.abc import Sequence
from math import isnan
from typing import Any

from data.preview import preview
from models.policy import Policy
from ppo.rollout import Responses, Score
from ppo.run.tokens import TokenSignals

TEXT_BYTES = 16_000
"""Of a problem's text and of a prompt. What a policy answers is as long as it is."""


def sample_rows(
    policy: Policy,
    responses: Responses,
    verdicts: Sequence[Score | None],
    signals: TokenSignals | None = None,
) -> list[dict[str, Any]]:
    """A row of samples.jsonl for every response: problem, prompt, answer, program, verdict and reward.

    `prompt` is what the model read, special tokens written out. What the tests were and what the program did
    with them is in the scorer's own record, `verdict`; None where it could not score. `signals`: what an
    update made of them, in training.
    """
    pushed = [{}] * len(responses.texts) if signals is None else signals.by_response()
    rows = []
    for prompt, text, answer, verdict, stop, push in zip(
        responses.prompts,
        responses.texts,
        responses.programs,
        verdicts,
        responses.stopped(policy.stop_ids).tolist(),
        pushed,
        strict=True,
    ):
        rows.append(
            {
                "problem": prompt.problem.id,
                "problem_text": preview(prompt.problem.prompt, TEXT_BYTES),
                "prompt": preview(policy.codec.decode(prompt.ids), TEXT_BYTES),
                "response": text,
                "program": answer.program,
                "offset": answer.offset,
                "given": answer.given,
                "ended": stop,
                "score": None if verdict is None or isnan(verdict.total) else float(verdict.total),
                "parts": None if verdict is None else dict(getattr(verdict, "parts", {})),
                **push,
                "outcome": None if verdict is None else verdict.kind,
                "verdict": None if verdict is None else dict(getattr(verdict, "record", {})),
            }
        )
    return rows
