"""What the offline study of critics makes of a record whose answer is known."""

import pytest
import torch

from benchmarks.critic_offline import Record, between, cross_validated, judge, ridge, targets, tokens

PROBLEMS, SAMPLES = 60, 4


@pytest.fixture(scope="module")
def record() -> Record:
    """Scores: half of the variance is the problem's, half the sample's; a state that tells the former."""
    generator = torch.Generator().manual_seed(0)
    difficulty = torch.randn(PROBLEMS, generator=generator).repeat_interleave(SAMPLES)
    scores = difficulty + torch.randn(PROBLEMS * SAMPLES, generator=generator)
    lengths = 3 + torch.arange(PROBLEMS * SAMPLES) % 4
    middle = difficulty.repeat_interleave(lengths)[:, None].expand(-1, 8).clone()
    middle[:, 4:] = torch.randn(middle[:, 4:].shape, generator=generator)
    return Record(SAMPLES, scores, lengths, readings=[], middle=middle)


def test_what_lies_between_problems_and_what_leave_one_out_explains(record):
    found = between(record)
    assert found["between"]["low"] < 0.5 < found["between"]["high"]
    others = (record.scores.view(-1, SAMPLES).sum(dim=1).repeat_interleave(SAMPLES) - record.scores) / 3
    left = 1 - (record.scores - others).var() / record.scores.var()
    assert found["leave-one-out"]["mean"] == pytest.approx(left.item(), abs=0.02)


def test_perfect_values_explain_all_and_a_constant_nothing(record):
    goals = targets(record, torch.arange(len(record.scores)))
    everything = judge(record, goals)
    assert all(value == pytest.approx(1.0) for value in everything.values())
    nothing = judge(record, torch.full_like(goals, 3.0))
    assert all(value == pytest.approx(0.0, abs=1e-6) for value in nothing.values())


def test_a_critic_is_judged_on_problems_that_it_has_not_seen(record):
    def memory(learn, judged):
        assert not set(record.problem[learn].tolist()) & set(record.problem[judged].tolist())
        return judged.float().repeat_interleave(record.lengths[judged])

    values = cross_validated(record, memory)
    rows = torch.arange(len(record.scores))
    assert torch.equal(values, rows.float().repeat_interleave(record.lengths))
    assert torch.equal(tokens(record, rows), torch.arange(int(record.lengths.sum())))


def test_ridge_finds_what_the_states_tell(record):
    """As much as there is: the half that lies between the problems."""
    found = judge(record, cross_validated(record, ridge(record, record.middle, 0.1)))
    assert 0.3 < found["mean"] < 0.65
    assert found["low"] < found["mean"] < found["high"]
