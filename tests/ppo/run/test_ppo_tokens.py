"""What a run keeps of single tokens: the update's own numbers, on the text of the response."""

import json
from pathlib import Path

import pytest
import torch
from loop_helpers import ToyScorer, metrics_of, run, sometimes_faulty, toy_config
from ppo_helpers import normal, ragged, rollout
from tokenizer_zoo import KINDS, make

from models.tokens import TextCodec
from ppo.run.tokens import KEPT, TokenSignals, most_pushed, token_rows, token_texts


def test_numbers_of_a_response_are_those_of_its_tokens():
    """advantage: the mean; ref_kl: the sum. What is outside the mask may be anything."""
    mask = ragged([2, 3, 0])
    junk = torch.tensor([[0.0, 0.0, torch.nan], [0.0, 0.0, 0.0], [torch.inf, torch.nan, 0.0]])
    advantages = torch.tensor([[1.0, -2.0, 0.0], [0.5, 0.5, 2.0], [0.0, 0.0, 0.0]]) + junk
    kl = torch.tensor([[0.25, 0.5, 0.0], [0.1, -0.1, 0.2], [0.0, 0.0, 0.0]]) + junk
    assert TokenSignals(advantages, normal((3, 3), 1), kl, mask).by_response() == [
        {"advantage": -0.5, "ref_kl": 0.75},
        {"advantage": 1.0, "ref_kl": 0.2},
        {"advantage": None, "ref_kl": None},
    ]
    with pytest.raises(ValueError, match="values is"):
        TokenSignals(advantages, normal((3, 2), 1), kl, mask)


@pytest.mark.parametrize(
    ("advantages", "kept"),
    [
        ([], []),
        ([None, None], []),
        ([0.5], [0]),
        ([1.0, None, -1.0, 0.0], [0, 2, 3]),
        ([0.1, 3.0, -2.0, 0.0, 2.0, -3.0, 0.2], [1, 2, 4, 5]),
        ([0.0] * 9, [0, 1, 7, 8]),
    ],
)
def test_the_most_pushed_are_kept_from_both_ends(advantages, kept):
    assert most_pushed([{"advantage": a, "ref_kl": a} for a in advantages]) == kept and len(kept) <= KEPT


def test_tokens_make_up_the_response(make_policy):
    policy = make_policy(trained=True)
    responses = rollout(policy)
    mask = responses.tokens.response_mask
    signals = TokenSignals(*(normal(mask.shape, seed) for seed in (1, 2, 3)), mask)
    kept = token_rows(policy, responses, signals)
    assert len(kept) == KEPT
    for row in kept:
        text, count = responses.texts[row["sample"]], int(mask[row["sample"]].sum())
        assert "".join(row["tokens"]).startswith(text)
        assert [len(row[name]) for name in ("tokens", "advantage", "value", "kl")] == [count] * 4
        given = signals.advantages[row["sample"]][mask[row["sample"]]]
        torch.testing.assert_close(
            torch.tensor(row["advantage"], dtype=given.dtype), given, rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("name", sorted(KINDS))
def test_texts_of_tokens_join_with_every_tokenizer(name):
    """Tokens that are bytes of a character, spaces in front, a stop token at the end."""
    codec = TextCodec(make(name))
    text = "é = '日本 😀'\n\tprint( é )\n"
    policy = type("Policy", (), {"codec": codec})()
    ids = codec.follow("Write:\n", text)
    for end in ([], codec.stop_ids[:1]):
        texts = token_texts(policy, [*ids, *end], text)
        assert len(texts) == len(ids) + len(end) and "".join(texts[: len(ids)]) == text


def test_a_run_keeps_what_its_update_saw(tmp_path, letters_sft):
    """The rows are found by their number, a response without a score is not among them, and the mean KL of
    all responses is the one that is logged."""
    run(tmp_path, letters_sft, toy_config(iterations=2), ToyScorer(sometimes_faulty))
    samples, tokens = (rows(tmp_path / f"{name}.jsonl") for name in ("samples", "tokens"))
    for iteration, metrics in enumerate(metrics_of(tmp_path)[1:], start=1):
        mine = [row for row in samples if row["iteration"] == iteration]
        scored = [row for row in mine if row["score"] is not None]
        assert 0 < len(scored) < len(mine)
        assert all((row["advantage"] is None) == (row["score"] is None) for row in mine)
        mean_kl = sum(row["ref_kl"] for row in scored) / len(scored)
        assert mean_kl == pytest.approx(metrics["ppo/ref_kl"], abs=1e-4)
        kept = [row for row in tokens if row["iteration"] == iteration]
        assert len(kept) == KEPT
        for row in kept:
            sample = mine[row["sample"]]
            assert "".join(row["tokens"]).startswith(sample["response"])
            mean = sum(row["advantage"]) / len(row["advantage"])
            assert mean == pytest.approx(sample["advantage"], abs=1e-4)
            assert sum(row["kl"]) == pytest.approx(sample["ref_kl"], abs=1e-4)


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
