"""Ids cross from sampling to training as they were sampled; text is for scorers and readers."""

from functools import partial
from typing import Any

import pytest
import torch
from ppo_helpers import normal, prompts_of, ragged, rollout, small_config

from models.batch import TokenBatch
from models.critic import CriticConfig
from models.template import PromptForm
from ppo.checks import check_moved, check_rollout_gap
from ppo.errors import TrainingError
from ppo.parallel import World
from ppo.prompts import PromptTemplate, encode_prompt
from ppo.rollout import PlainScore, forward_responses, sample_responses
from ppo.run.diagnostics import rollout_metrics
from ppo.run.samples import sample_rows


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_ratio_is_one_before_the_first_step(make_policy, tune):
    """Check 1: decoding and the update's forward agree within 1e-5, for micro-batches of 1, 3 and 8 rows."""
    policy = make_policy(tune, trained=True)
    responses = rollout(policy)
    mask = responses.tokens.response_mask
    assert not responses.tokens.prompt_mask.all() and not mask.all()  # ragged on both sides
    for size in (1, 3, 8):
        logprobs, ref_logprobs, values = forward_responses(policy, responses, 0.7, size)
        assert (logprobs - responses.logprobs).abs().max() <= 1e-5
        assert check_rollout_gap(policy, responses, logprobs)["ppo/rollout_gap"] <= 1e-5
        assert (values[mask] != 0).all() and (ref_logprobs - logprobs)[mask].abs().max() > 1e-3
        assert not logprobs.requires_grad and not values.requires_grad


def test_a_rank_scores_its_share_and_in_the_order_of_the_rows(make_policy):
    """Where decoding kept nothing, texts of like length are read together, and come back where they were."""
    policy = make_policy(trained=True)
    responses = rollout(policy)
    readings: list[Any] = []
    expected = forward_responses(policy, responses, 0.7, 3, readings)
    parts, own = [], []
    for rank in range(2):
        world = World(rank, 2)
        world.stack = lambda work: work()  # type: ignore[method-assign]  # nothing is gathered
        parts.append(forward_responses(policy, responses, 0.7, 3, own, world))
    for of_ranks, alone in zip(zip(*parts, strict=True), expected, strict=True):
        torch.testing.assert_close(torch.cat(of_ranks), alone, rtol=0, atol=1e-5)
    assert len(own) == len(readings)
    for one, other in zip(own, readings, strict=True):
        torch.testing.assert_close(one.hidden, other.hidden, rtol=1e-4, atol=1e-5)


def test_another_temperature_is_noticed(make_policy):
    """Trap A4: scoring raw logits what was sampled at T = .7 is far from ratio 1, and stops the run."""
    policy = make_policy()
    responses = rollout(policy)
    logprobs, _, _ = forward_responses(policy, responses, 1.0, 8)
    with pytest.raises(TrainingError, match="different distributions"):
        check_rollout_gap(policy, responses, logprobs)
    with pytest.raises(TrainingError, match="nan"):
        check_rollout_gap(policy, responses, logprobs * float("nan"))


def test_kl_is_zero_at_step_zero(make_policy):
    """Check 14: KL to the reference right after SFT, on sampled tokens, <= 1e-5."""
    policy = make_policy()
    responses = rollout(policy)
    _, ref_logprobs, _ = forward_responses(policy, responses, 0.7, 8)
    assert (responses.logprobs - ref_logprobs).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("tune", "critic"),
    [
        *(("lora", "surprise"), ("full", "head")),
        *(pytest.param(*row, marks=pytest.mark.slow) for row in (("lora", "head"), ("full", "surprise"))),
    ],
)
def test_decoding_knows_what_a_forward_pass_would_say(make_policy, tokenizer, monkeypatch, tune, critic):
    """Log-probabilities, values and what the critic reads, of responses of different lengths, in any
    micro-batches; and the policy reads nothing again."""
    policy = make_policy(tune, trained=True, critic=CriticConfig(critic=critic))
    prompts = prompts_of(tokenizer, [f"{i}" * (1 + i % 4) for i in range(20)])
    settings = {"max_new_tokens": 7, "temperature": 0.7, "batch_size": 8}
    sample = partial(sample_responses, policy, prompts, **settings)
    plain = sample(generator=torch.Generator().manual_seed(3))
    kept = sample(generator=torch.Generator().manual_seed(3), keep_states=True)
    mask = kept.tokens.response_mask
    assert len(set(mask.sum(dim=1).tolist())) > 2
    read: list[Any] = []
    for size in (1, 3, 20):
        expected_readings, readings = [], []
        expected = forward_responses(policy, plain, 0.7, size, expected_readings)
        with monkeypatch.context() as patch:
            patch.setattr(policy, "read", lambda *batch: read.append(batch))
            found = forward_responses(policy, kept, 0.7, size, readings)
        assert not read and check_rollout_gap(policy, kept, found[0]) == {}
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
        for a, b in zip(readings, expected_readings, strict=True):
            for x, y in zip(a, b, strict=True):
                torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4)


def test_ids_are_kept_where_text_would_change_them(make_policy, tokenizer):
    """Check 19, trap A6: "a", "b" are sampled as two ids and stay two; re-encoded text is one other id."""
    policy = make_policy()
    a, b, ab = (tokenizer(text).input_ids for text in ("a", "b", "ab"))
    assert len(ab) == 1 and ab != a
    with torch.no_grad():  # a network that says a, b, EOS in turn, whatever the prompt
        turns = iter([*a, *b, 1] * 4)

    def forced(states):
        logits = torch.full((2, 262), -100.0)
        logits[:, next(turns)] = 100.0
        return logits

    policy.head = forced
    responses = sample_responses(
        policy,
        prompts_of(tokenizer, ["x", "yy"]),
        max_new_tokens=5,
        temperature=1.0,
        batch_size=2,
        generator=torch.Generator().manual_seed(0),
    )
    assert responses.tokens.response_ids.tolist() == [[*a, *b, 1]] * 2
    assert list(responses.texts) == ["ab", "ab"]
    assert tokenizer(responses.texts[0]).input_ids != responses.tokens.response_ids[0, :2].tolist()
    assert responses.stopped(policy.stop_ids).all()


def test_nothing_is_tokenised_after_sampling(make_policy, monkeypatch):
    """Check 19: forward passes and scoring work with a tokenizer that refuses to encode."""
    policy = make_policy()
    responses = rollout(policy)

    def refuse(*args, **kwargs):
        raise AssertionError("text was encoded again")

    monkeypatch.setattr(type(policy.tokenizer), "__call__", refuse)
    monkeypatch.setattr(type(policy.tokenizer), "encode", refuse)
    forward_responses(policy, responses, 0.7, 8)
    again = rollout_without_encoding(policy, responses)
    assert torch.equal(again.tokens.response_ids, responses.tokens.response_ids)


def rollout_without_encoding(policy, responses):
    return sample_responses(
        policy,
        responses.prompts,
        max_new_tokens=7,
        temperature=0.7,
        batch_size=8,
        generator=torch.Generator().manual_seed(11),
    )


def test_a_prompt_longer_than_the_limit_is_one_prompt_everywhere(make_policy, tokenizer):
    """Trap A7: 1,500 tokens cut to 300 once; sampling and forward pass read the same 300, and agree."""
    from data import Problem, TestCase

    policy = make_policy(trained=True)
    text = "".join(chr(ord("A") + i * i % 26) for i in range(1500))
    template = PromptTemplate(policy.codec, PromptForm("plain", "", "", "{problem}", "end", ()))
    encoded = encode_prompt(template, Problem("long", text, (TestCase("", ""),)), 300)
    short = prompts_of(tokenizer, ["short"])[0]
    responses = sample_responses(
        policy,
        [encoded, short],
        max_new_tokens=6,
        temperature=0.7,
        batch_size=2,
        generator=torch.Generator().manual_seed(0),
    )
    tokens = responses.tokens
    assert tokens.prompt_ids[0][tokens.prompt_mask[0]].tolist() == list(encoded.ids)
    logprobs, _, _ = forward_responses(policy, responses, 0.7, 1)
    assert (logprobs - responses.logprobs).abs().max() <= 1e-5


@pytest.mark.parametrize("size", [1, 3])
def test_the_size_of_the_rollout_batch_changes_no_response(make_policy, size):
    """Check 4: rows decoded 1, 3 or 8 at a time are the same rows; progress counts them all, and each of
    their programs is heard of."""
    policy, seen, heard = make_policy(trained=True), [], []
    together = rollout(policy)
    pieces = sample_responses(
        policy,
        together.prompts,
        max_new_tokens=7,
        temperature=0.7,
        batch_size=size,
        generator=torch.Generator().manual_seed(11),
        progress=seen.append,
        on_ended=lambda problem, program: heard.append((problem.id, program)),
    )
    assert list(pieces.texts) == list(together.texts) and seen[-1] == 8
    assert sorted(heard) == sorted((problem.id, program) for problem, program in together.pairs())
    assert size > 1 or [name for name, _ in heard] == together.problem_ids
    for a, b in zip(pieces.tokens, together.tokens, strict=True):
        assert torch.equal(a, b)
    torch.testing.assert_close(pieces.logprobs, together.logprobs, rtol=0, atol=1e-5)
    assert not together.tokens.response_mask.all()  # so pieces were of different widths, and filled up


def test_samples_of_one_prompt_differ(make_policy, tokenizer):
    """Each response has random numbers of its own."""
    policy = make_policy()
    (prompt,) = prompts_of(tokenizer, ["ab"])
    responses = sample_responses(
        policy,
        [prompt] * 8,
        max_new_tokens=7,
        temperature=1.0,
        batch_size=3,
        generator=torch.Generator().manual_seed(0),
    )
    assert len(set(responses.texts)) > 4


def test_metrics_leave_faults_out_and_count_them(make_policy):
    """Traps A14, A15: a fault is no score of 0: out of every mean, and counted; none scored is an error."""
    policy = make_policy()
    responses = rollout(policy)
    verdicts = [PlainScore(1.0, metrics={"reward/x": 4.0}), None, PlainScore(3.0, metrics={"reward/x": 2.0})]
    verdicts += [None] * 5
    metrics = rollout_metrics(responses, verdicts)
    assert metrics["reward/mean"] == 2.0 and metrics["reward/std"] == 1.0 and metrics["reward/x"] == 3.0
    assert metrics["rollout/faults"] == 6 and metrics["rollout/samples"] == 8
    assert metrics["rollout/tokens"] == int(responses.tokens.response_mask.sum())
    with pytest.raises(TrainingError, match="could be scored"):
        rollout_metrics(responses, [None] * 8)
    verdicts[0] = PlainScore(0.1)
    rows = sample_rows(policy, responses, verdicts)
    # The scorer's own number: rounded to 32 bits it could not be reproduced from the record.
    assert [row["score"] for row in rows[:3]] == [0.1, None, 3.0] and rows[1]["verdict"] is None
    assert [row["ended"] for row in rows] == responses.stopped(policy.stop_ids).tolist()
    for row in rows:
        offset, written = row["offset"], row["program"][row["given"] :]
        assert row["response"][offset : offset + len(written)] == written


def test_weights_that_stay_are_noticed():
    """A detached network or a learning rate of 0 stops the run, unless there was nothing to learn."""
    mask = ragged([2, 1])
    advantages = normal((2, 2), 0)
    still = {"ppo/optimizer_steps": 2, "ppo/skipped_steps": 0, "ppo/update_norm": 0.0}
    with pytest.raises(TrainingError, match="did not move"):
        check_moved(still, advantages, mask)
    check_moved(still, torch.zeros(2, 2), mask)
    check_moved({**still, "ppo/update_norm": 1e-9}, advantages, mask)
    check_moved({**still, "ppo/skipped_steps": 2}, advantages, mask)  # every step overflowed: not its fault


def test_forward_reads_only_what_a_token_batch_holds(make_policy):
    """Check 3: ids under both masks may be anything."""
    policy = make_policy(trained=True)
    responses = rollout(policy)
    prompt_ids, prompt_mask, ids, mask = responses.tokens
    junk = TokenBatch(prompt_ids.masked_fill(~prompt_mask, 99), prompt_mask, ids.masked_fill(~mask, 99), mask)
    with torch.no_grad():
        for a, b in zip(policy(responses.tokens, 0.7), policy(junk, 0.7), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    assert small_config().batch_size == len(ids)


def test_a_stop_string_ends_a_response_and_is_not_in_its_text(make_policy, tokenizer):
    """It counts as ended, in the metrics and for the penalty; its tokens are trained on like any others."""
    policy = make_policy()
    before = rollout(policy)
    ended = before.stopped(policy.stop_ids)
    text = next(text for text, stop in zip(before.texts, ended, strict=True) if not stop and len(text) > 4)
    policy.ask_as(PromptForm("plain", "", "", "{problem}", "end", (text[2:4],)))
    after = rollout(policy)
    assert after.completed.any() and not before.completed.any()
    assert (after.stopped(policy.stop_ids) >= ended).all()
    for row in after.completed.nonzero().flatten().tolist():
        said, mask = after.texts[row], after.tokens.response_mask[row]
        assert after.stopped(policy.stop_ids)[row] and text[2:4] not in said
        assert policy.codec.decode(after.tokens.response_ids[row][mask].tolist()).startswith(said + text[2:4])
        assert len(mask) >= mask.sum() and before.texts[row].startswith(said)
