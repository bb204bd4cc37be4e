"""Bugs that PPO implementations have had, put into this one: the suite must catch every one."""

from pathlib import Path

import pytest
from mutation import Mutant, check_caught, copy_tree, run_tests

ADVANTAGES, BASELINES = ("tests/ppo/test_ppo_advantages.py",), ("tests/ppo/test_ppo_baselines.py",)
LOSSES, KL = ("tests/ppo/test_ppo_losses.py",), ("tests/ppo/test_ppo_kl.py",)
REWARDS, UPDATE = ("tests/ppo/test_ppo_rewards.py",), ("tests/ppo/test_ppo_update.py",)
POLICY, CREDIT = ("tests/models/test_models_policy.py",), ("tests/ppo/test_ppo_credit.py",)
GENERATION, ADAPTER = ("tests/models/test_models_generation.py",), ("tests/models/test_models_adapter.py",)
CRITIC = ("tests/models/test_models_critic.py",)
ENDED = ("tests/models/test_models_ended.py",)
LOOP = "tests/ppo/test_ppo_loop.py"
FAULTS, SCALE = ("tests/ppo/test_ppo_faults.py",), ("tests/ppo/test_ppo_scale.py",)
RESUME = (f"{LOOP}::test_resumed_equals_straight_through",)

MUTANTS = [
    Mutant(
        "whitening adds the mean back",
        "ppo/advantages.py",
        "torch.where(constant, 0.0, centred / deviation)",
        "torch.where(mask, centred / deviation + masked_mean(x, mask), 0.0)",
        ADVANTAGES,
    ),
    Mutant(
        "whitening does not centre",
        "ppo/advantages.py",
        "centred = keep(x.double() - masked_mean(x.double(), mask), mask)",
        "centred = keep(x.double(), mask)",
        ADVANTAGES,
    ),
    Mutant(
        "whitening counts the padding",
        "ppo/advantages.py",
        "deviation = masked_mean(centred.square(), mask).sqrt()",
        "deviation = centred.square().mean().sqrt()",
        ADVANTAGES,
    ),
    Mutant(
        "a response at the limit bootstraps from its own last value",
        "ppo/advantages.py",
        "torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)",
        "torch.cat([values[:, 1:], values[:, -1:]], dim=1)",
        ADVANTAGES,
    ),
    Mutant(
        "padding leaks into GAE",
        "ppo/advantages.py",
        "values, rewards = keep(values, mask), keep(rewards, mask)",
        "pass",
        ADVANTAGES,
    ),
    Mutant(
        "the next value is not discounted",
        "ppo/advantages.py",
        "rewards + gamma * next_values - values",
        "rewards + next_values - values",
        ADVANTAGES,
    ),
    Mutant(
        "GAE decays by lambda alone", "ppo/advantages.py", ".reshape(-1) * gamma", ".reshape(-1)", ADVANTAGES
    ),
    Mutant(
        "targets are the advantages",
        "ppo/advantages.py",
        "keep(advantages + values, mask)",
        "keep(advantages, mask)",
        ADVANTAGES,
    ),
    Mutant(
        "the clipped surrogate takes the larger side",
        "ppo/losses.py",
        "torch.minimum(unclipped",
        "torch.maximum(unclipped",
        LOSSES,
    ),
    Mutant(
        "the policy loss has the other sign",
        "ppo/losses.py",
        "total = -masked_sum(surrogate, mask)",
        "total = masked_sum(surrogate, mask)",
        LOSSES,
    ),
    Mutant(
        "the ratio is old over new",
        "ppo/losses.py",
        "keep(logprobs - old_logprobs, mask)",
        "keep(old_logprobs - logprobs, mask)",
        LOSSES,
    ),
    Mutant(
        "no limit to the log-ratio before exp",
        "ppo/losses.py",
        ".clamp(-MAX_LOGRATIO, MAX_LOGRATIO)",
        "",
        LOSSES,
    ),
    Mutant(
        "clip higher is ignored",
        "ppo/losses.py",
        "1.0 + (clip_range if clip_high is None else clip_high)",
        "1.0 + clip_range",
        LOSSES,
    ),
    Mutant(
        "the value loss takes the smaller error",
        "ppo/losses.py",
        "worst = torch.maximum(",
        "worst = torch.minimum(",
        LOSSES,
    ),
    Mutant(
        "values are clipped around the return",
        "ppo/losses.py",
        "held = old_values + (values - old_values)",
        "held = returns + (values - returns)",
        LOSSES,
    ),
    Mutant(
        "the score sits one token early",
        "ppo/rewards.py",
        "rewards[rows, last_index(mask)[rows]]",
        "rewards[rows, (last_index(mask)[rows] - 1).clamp(min=0)]",
        REWARDS,
    ),
    Mutant(
        "the score sits one token late",
        "ppo/rewards.py",
        "rewards[rows, last_index(mask)[rows]]",
        "rewards[rows, (last_index(mask)[rows] + 1).clamp(max=mask.shape[1] - 1)]",
        REWARDS,
    ),
    Mutant(
        "KL is rewarded", "ppo/rewards.py", "keep(-kl_coef * kl, mask)", "keep(kl_coef * kl, mask)", REWARDS
    ),
    Mutant(
        "the penalty for no end falls on those that ended",
        "ppo/rewards.py",
        "(~stopped)",
        "(stopped)",
        REWARDS,
    ),
    Mutant(
        "scaling shifts the mean",
        "ppo/rewards.py",
        "scores = scores / scale.std",
        "scores = (scores - scale.mean) / scale.std",
        REWARDS,
    ),
    Mutant(
        "KL with the other sign",
        "ppo/kl.py",
        "d = logprobs - ref_logprobs",
        "d = ref_logprobs - logprobs",
        KL,
    ),
    Mutant("k3 of the other direction", "ppo/kl.py", "torch.expm1(-d) + d", "torch.expm1(d) - d", KL),
    Mutant(
        "the controller drives the KL away",
        "ppo/kl.py",
        "self.coefficient *= 1.0 + error",
        "self.coefficient *= 1.0 - error",
        KL,
    ),
    Mutant(
        "the controller's error is not limited",
        "ppo/kl.py",
        "min(max(kl / self.target - 1.0, -0.2), 0.2)",
        "kl / self.target - 1.0",
        KL,
    ),
    Mutant(
        "leave-one-out leaves nothing out",
        "ppo/baselines.py",
        "(kept.sum(dim=1, keepdim=True) - kept) / others.clamp(min=1)",
        "(kept.sum(dim=1, keepdim=True) / known.sum(dim=1, keepdim=True).clamp(min=1)).expand_as(kept)",
        BASELINES,
    ),
    Mutant(
        "faults count in leave-one-out",
        "ppo/baselines.py",
        "kept = torch.where(known, groups, 0.0)\n    others",
        "kept = groups\n    others",
        BASELINES,
    ),
    Mutant(
        "a response is in its own running mean",
        "ppo/baselines.py",
        """            baseline = means.baseline(problems, scores, scored)
            means.update(problems, scores, scored)
""",
        """            means.update(problems, scores, scored)
            baseline = means.baseline(problems, scores, scored)
""",
        BASELINES,
    ),
    Mutant(
        "the spread of a group has its faults in it",
        "ppo/baselines.py",
        "torch.where(known, groups - mean, 0.0).square()",
        "(groups - mean).square()",
        BASELINES,
    ),
    Mutant(
        "the controller counts faults",
        "ppo/loop.py",
        "state.kl.update(ref_kl, int(scored.sum()))",
        "state.kl.update(ref_kl, len(prompts))",
        FAULTS,
    ),
    Mutant(
        "whitening over rows of faults",
        "ppo/loop.py",
        "advantages = whiten(advantages, mask)",
        "advantages = whiten(advantages, responses.tokens.response_mask)",
        FAULTS,
    ),
    Mutant(
        "the penalty for cut responses comes after the scaling",
        "ppo/rewards.py",
        """    scores = raw - config.missing_eos_penalty * (~stopped).to(raw.dtype)
    if config.scale_rewards:
        scale.update(scores[scored].tolist())
        scores = scores / scale.std
""",
        """    scores = raw
    if config.scale_rewards:
        scale.update(scores[scored].tolist())
        scores = scores / scale.std
    scores = scores - config.missing_eos_penalty * (~stopped).to(raw.dtype)
""",
        REWARDS,
    ),
    Mutant(
        "the limit of approx_kl is half as much again",
        "ppo/update.py",
        "> config.target_kl:",
        "> 1.5 * config.target_kl:",
        UPDATE,
    ),
    Mutant(
        "one norm for policy and critic",
        "ppo/update.py",
        'clip_grad_norm_(group["params"], max_grad_norm)',
        'clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], max_grad_norm)',
        SCALE,
    ),
    Mutant(
        "rounding is a signal",
        "ppo/advantages.py",
        "    deltas = torch.where(deltas.abs() > rounding, deltas, 0.0)\n",
        "",
        SCALE,
    ),
    Mutant(
        "the critic's loss is in the scores' own unit",
        "ppo/losses.py",
        "0.5 * worst.sum() / unit**2",
        "0.5 * worst.sum()",
        SCALE,
    ),
    Mutant(
        "dual clip on good tokens too",
        "ppo/losses.py",
        "torch.where(advantages < 0, torch.maximum(surrogate, dual_clip * advantages), surrogate)",
        "torch.maximum(surrogate, dual_clip * advantages)",
        LOSSES,
    ),
    Mutant(
        "a running mean that never forgets",
        "ppo/baselines.py",
        "min(count, self.memory)",
        "count",
        BASELINES,
    ),
    Mutant(
        "scales survive a change of objective",
        "ppo/run/state.py",
        "self.prompt_means.clear()",
        "pass",
        (f"{BASELINES[0]}::test_a_new_objective_forgets_what_was_measured_of_the_old",),
    ),
    Mutant(
        "mean of means over micro-batches",
        "ppo/update.py",
        "denominator=tokens)",
        "denominator=micro.response_mask.sum())",
        UPDATE,
    ),
    Mutant(
        "the entropy bonus is a penalty",
        "ppo/update.py",
        "loss = loss - config.entropy_coef * entropy",
        "loss = loss + config.entropy_coef * entropy",
        UPDATE,
    ),
    Mutant(
        "gradients are clipped before they are unscaled",
        "ppo/update.py",
        "    scaler.unscale_(optimizer)\n",
        "",
        UPDATE,
    ),
    Mutant(
        "the KL stop leaves out one step only",
        "ppo/update.py",
        "break  # of all epochs",
        "continue",
        UPDATE,
    ),
    Mutant(
        "nobody looks at the first ratio",
        "ppo/checks.py",
        "logratio > MAX_FIRST_LOGRATIO",
        "logratio > math.inf",
        UPDATE,
    ),
    Mutant(
        "the policy moves while the critic warms up",
        "ppo/optimizer.py",
        "parameter.requires_grad_(False)",
        "parameter.requires_grad_(True)",
        UPDATE,
    ),
    Mutant(
        "the last minibatch is left out",
        "ppo/buffer.py",
        "order.split(size)",
        "order.split(size)[:-1]",
        ("tests/ppo/test_ppo_buffer.py",),
    ),
    Mutant(
        "the stop token is masked",
        "models/generation.py",
        "mask[live, t] = writing",
        "mask[live, t] = writing & ~torch.isin(tokens, stops)",
        GENERATION,
    ),
    Mutant(
        "sampled at T, scored without",
        "models/logprobs.py",
        "logits = head(h).float() / temperature",
        "logits = head(h).float()",
        ("tests/models/test_models_logprobs.py",),
    ),
    Mutant(
        "the reference is scored without the temperature",
        "models/policy.py",
        "logprobs, _ = self._logprobs(head, hidden, batch, temperature, False)",
        "logprobs, _ = self._logprobs(head, hidden, batch, 1.0, False)",
        POLICY,
    ),
    Mutant(
        "a token is scored from its own position",
        "models/rows.py",
        "before[rows] - 1 + tokens",
        "before[rows] + tokens",
        POLICY,
    ),
    Mutant(
        "texts are closed up with padding in front",
        "models/rows.py",
        "(~real).byte()",
        "real.byte()",
        ("tests/models/test_models_rows.py",),
    ),
    Mutant(
        "a text loses the token before its last",
        "models/rows.py",
        "before + chosen - 1, 0",
        "before + chosen - 2, 0",
        ("tests/models/test_models_rows.py",),
    ),
    Mutant(
        "padding counts as positions",
        "models/logprobs.py",
        '"position_ids": position_ids(mask)',
        '"position_ids": torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)',
        ("tests/models/test_models_verify.py",),
    ),
    Mutant(
        "the reference keeps the adapters on",
        "models/policy.py",
        "            with disabled(self.adapted):\n                yield self.network",
        "            yield self.network",
        POLICY,
    ),
    Mutant(
        "adapters are unmerged by subtraction",
        "models/adapter.py",
        "_weight(layer).copy_(original)",
        '_weight(layer).sub_(layer.get_delta_weight("default").to(original.dtype))',
        ADAPTER,
    ),
    Mutant(
        "the critic sees the token that it judges",
        "models/critic.py",
        "surprise = _earlier(chosen)",
        "surprise = chosen",
        CRITIC,
    ),
    Mutant(
        "the critic pulls at the policy",
        "models/critic.py",
        "self.hidden_norm(reading.hidden.detach().float())",
        "self.hidden_norm(reading.hidden.float())",
        CRITIC,
    ),
    Mutant(
        "the KL coefficient is not restored",
        "ppo/run/state.py",
        'self.kl.coefficient = state["kl_coef"]',
        "pass",
        RESUME,
    ),
    Mutant(
        "the running scale is not restored",
        "ppo/run/state.py",
        'self.scale.load_state_dict(state["running_scale"])',
        "pass",
        RESUME,
    ),
    Mutant(
        "the sampler starts again",
        "ppo/run/state.py",
        'self.sampler.drawn = state["prompts_drawn"]',
        "pass",
        RESUME,
    ),
    Mutant(
        "faults are trained on",
        "ppo/loop.py",
        "responses.tokens.response_mask & scored[:, None]",
        "responses.tokens.response_mask",
        (f"{LOOP}::test_the_score_of_a_fault_is_never_seen",),
    ),
    Mutant(
        "the controller hears the KL per token",
        "ppo/loop.py",
        "ref_kl = kl.sum(dim=1)[scored].mean().item()",
        "ref_kl = masked_mean(kl, mask).item()",
        (f"{LOOP}::test_the_logged_kl_is_the_sum_over_a_response",),
    ),
    Mutant(
        "a response is handed over at every look after its end",
        "models/generation.py",
        "ended = live[wrote & ~writing if staying else wrote]",
        "ended = live[~writing if staying else wrote]",
        ENDED,
    ),
    Mutant(
        "a response is handed over with what pads it",
        "models/generation.py",
        "return [list(compress(ids, real)) for ids, real in rows]",
        "return [ids for ids, real in rows]",
        ENDED,
    ),
    Mutant(
        "responses that end last are not handed over",
        "models/generation.py",
        "ended = live[wrote & ~writing if staying else wrote]",
        "ended = live[wrote & ~writing]",
        ENDED,
    ),
    Mutant(
        "credit is added instead of moved",
        "ppo/credit.py",
        "[len(raw) * w / total for w in raw]",
        "raw",
        CREDIT,
    ),
    Mutant(
        "lines end where splitlines says",
        "ppo/credit.py",
        'lines = re.split(r"(?<=\\n)|(?<=\\r)(?!\\n)", program)',
        "lines = [*program.splitlines(keepends=True), '']",
        CREDIT,
    ),
]


def test_there_are_enough():
    """Of every part of the algorithm, and each under a name of its own."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutants_still_apply(mutant):
    """Each names text that is there once, and is a program after the change."""
    mutant.source()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tree(tmp_path_factory.mktemp("mutation"))


@pytest.mark.slow
def test_without_a_bug_the_tests_pass(tree):
    """Otherwise every mutant would be caught by a test that fails anyway."""
    tests = sorted({test for mutant in MUTANTS for test in mutant.tests})
    done = run_tests(tree, tests)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutants_are_caught(tree, mutant):
    """By one of its own few tests."""
    check_caught(tree, mutant)
