"""The loop of PPO, top to bottom; nothing else owns control flow. It is handed policy, scorer and evaluator.

for each iteration:
    draw problems                                        # 1
    sample a response to each, ids kept as sampled       # 2
    score the programs                                   # 3
    score the tokens: policy, reference, critic          # 4
    rewards per token: the score, and -kl_coef * KL      # 5
    advantages by GAE, whitened over the rollout         # 6
    epochs x minibatches of clipped updates              # 7
    log, validate, save                                  # 8
"""

from collections.abc import Callable
from pathlib import Path

import torch

from models.critic import Reading
from models.policy import Policy
from ppo.advantages import adaptive_lam, gae, whiten
from ppo.baselines import baseline_values
from ppo.buffer import RolloutBuffer
from ppo.checks import check_finite, check_moved, check_rollout_gap
from ppo.config import PPOConfig
from ppo.credit import credit_weights
from ppo.critic import train_critic
from ppo.kl import kl_estimate
from ppo.masked import keep
from ppo.optimizer import set_learning_rates
from ppo.parallel import ALONE, World
from ppo.rewards import first_opinion, reward_rounding, shape_scores, token_rewards
from ppo.rollout import Scorer, forward_responses, sample_responses
from ppo.run.checkpoint import save_checkpoint
from ppo.run.diagnostics import rollout_metrics, value_metrics
from ppo.run.log import RunLog
from ppo.run.outcomes import outcome_metrics, outcomes_of
from ppo.run.sampler import derived_seed
from ppo.run.samples import sample_rows
from ppo.run.state import TrainState, settle_micro_batch
from ppo.run.tokens import TokenSignals, token_rows
from ppo.update import update

Evaluator = Callable[[Policy], dict[str, float]]
"""Metrics on validation problems; `validation/all_pass` among them decides which checkpoint is best. Without
validation problems: none, and no checkpoint is best."""


def train(
    config: PPOConfig,
    policy: Policy,
    state: TrainState,
    *,
    scorer: Scorer,
    evaluator: Evaluator,
    log: RunLog,
    checkpoints: Path,
    stop: Callable[[], bool] = lambda: False,
    world: World = ALONE,
) -> None:
    """Run iterations `state.iteration` … `config.iterations`, with a checkpoint on disk throughout.

    `stop` is asked after every iteration: True saves and returns early.
    `world`: the processes that train together; scorer, evaluator and stop say the same on all of them.

    Raises:
        TrainingError: no response could be scored, the weights do not move, or the update does not score
            tokens the way the rollout sampled them.
        KeyboardInterrupt: at any time; the newest checkpoint stands.
    """

    def save() -> None:
        keep = config.keep_checkpoints
        world.lead(lambda: save_checkpoint(checkpoints, policy, state, logs=log.offsets(), keep=keep))

    def generator(purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(derived_seed(config.seed, state.iteration, purpose))

    def validate() -> dict[str, float]:
        with log.phase("validate"):
            result = evaluator(policy)
        state.validated(result.get("validation/all_pass"))
        return result

    config = settle_micro_batch(config, policy, state, world)
    if not state.best:  # a run that was interrupted in its first iteration has this behind it
        log.write(0, validate(), [])
        state.scorer = scorer.state_dict()
        save()

    stopping = stop()
    while state.iteration < config.iterations and not stopping:
        # 1. Problems, each as often as it is to be sampled.
        drawn = state.sampler.take(config.prompts_per_iteration)
        prompts = [prompt for prompt in drawn for _ in range(config.samples_per_prompt)]

        # 2. Rollout. The ids sampled here are the ids trained on.
        with log.phase("rollout", len(prompts)):
            responses = sample_responses(
                policy,
                prompts,
                max_new_tokens=config.max_new_tokens,
                temperature=config.temperature,
                batch_size=config.rollout_batch,
                generator=generator("rollout"),
                progress=log.display.advance,
                keep_states=policy.precision.exact,
                on_ended=scorer.begin,
                world=world,
            )

        # 3. Scores. A missing one is a fault of the scorer's, not a bad program: its row is masked out.
        state.follow(scorer.objective(state.iteration))
        with log.phase("score", len(prompts)):
            verdicts = scorer(responses.pairs(), state.iteration)
        metrics = rollout_metrics(responses, verdicts)
        scored = torch.tensor([v is not None for v in verdicts], device=policy.device)  # (B,)
        mask = responses.tokens.response_mask & scored[:, None]  # (B, T)
        raw = torch.tensor([0.0 if v is None else v.total for v in verdicts], device=policy.device)  # (B,)
        stopped = responses.stopped(policy.stop_ids)  # (B,)
        scores = shape_scores(raw, scored, stopped, config, state.scale)  # (B,)

        # 4. The same tokens under policy and reference, and the critic's values.
        if config.uses_critic and not policy.value_head.started:
            policy.value_head.start_at(*first_opinion(scores[scored], at_mean=config.init_value_bias))
        readings: list[Reading] = []
        with log.phase("forward"):
            old_logprobs, ref_logprobs, values = forward_responses(
                policy,
                responses,
                config.temperature,
                config.micro_batch,
                readings if config.critic_epochs else None,
                world,
            )
        ids = responses.problem_ids
        check_finite(ids, mask, logprobs=old_logprobs, ref_logprobs=ref_logprobs, values=values)
        gap = check_rollout_gap(policy, responses, old_logprobs)

        # 5. One reward per token.
        kl = keep(kl_estimate(old_logprobs, ref_logprobs, "k1"), mask)  # (B, T)
        kl_coef = state.kl.coefficient
        penalty = keep(kl_estimate(old_logprobs, ref_logprobs, config.kl_kind), mask)  # (B, T)
        coefficient = kl_coef if config.kl_in == "reward" else 0.0
        rewards = token_rewards(scores, penalty, mask, coefficient)

        # 6. Advantages over the critic's values, or over one baseline per response; targets of the critic.
        values, spread = baseline_values(config, values, prompts, scores, scored, state.prompt_means)
        lam = adaptive_lam(mask, config.lam_alpha) if config.lam_alpha else config.lam_advantage
        rounding = reward_rounding(scores, old_logprobs, mask, coefficient)
        advantages, _ = gae(rewards, values, mask, config.gamma, lam, rounding=rounding)
        _, returns = gae(rewards, values, mask, config.gamma, config.lam_value, rounding=rounding)
        advantages = advantages / spread
        critic_metrics = value_metrics(rewards, values, returns, advantages, mask, config.gamma)
        if config.whiten_advantages:
            advantages = whiten(advantages, mask)
        weights = credit_weights(config, responses, verdicts, advantages, mask, policy.codec.decode)

        # 7. Update: critic and, once that is warm, policy.
        train_policy = state.iteration >= config.critic_warmup
        learning_rate = set_learning_rates(state.optimizer, config, state.iteration)
        buffer = RolloutBuffer(
            tokens=responses.tokens._replace(response_mask=mask),
            old_logprobs=old_logprobs,
            ref_logprobs=ref_logprobs,
            old_values=values,
            advantages=advantages,
            returns=returns,
            weights=weights,
            problem_ids=ids,
            outcomes=outcomes_of(verdicts),
        )
        with log.phase("update"):
            trained = update(
                policy,
                state.optimizer,
                state.scaler,
                buffer,
                config,
                kl_coef=kl_coef,
                generator=generator("minibatches"),
                train_policy=train_policy,
                skipped_in_a_row=state.skipped_in_a_row,
                world=world,
            )
            train_critic(policy, state.optimizer, readings, buffer, config, generator("critic"), world)
        ref_kl = kl.sum(dim=1)[scored].mean().item()
        if train_policy:
            check_moved(trained, advantages, mask)
            state.kl.update(ref_kl, int(scored.sum()))
        state.samples += len(prompts)
        state.skipped_in_a_row = int(trained["ppo/skipped_in_a_row"])
        state.scorer = scorer.state_dict()
        state.iteration += 1

        # 8. Log, validate, save.
        metrics |= {
            "rollout/ended": stopped.double().mean().item(),
            "ppo/ref_kl": ref_kl,
            "ppo/kl_coef": kl_coef,
            **critic_metrics,
            **gap,
            "ppo/learning_rate": learning_rate,
            **trained,
            **outcome_metrics(responses, verdicts, advantages, kl, mask),
            **state.transitions.update(ids, verdicts),
        }
        flags, warnings = state.watch.observe(state.iteration, metrics)
        last = state.iteration == config.iterations
        if last or (config.eval_every and state.iteration % config.eval_every == 0):
            metrics |= validate()
        signals = TokenSignals(advantages, values, kl, mask)
        samples = sample_rows(policy, responses, verdicts, signals)
        tokens = token_rows(policy, responses, signals)
        log.write(state.iteration, metrics | flags, samples, warnings, tokens)
        stopping = stop()
        due = last or stopping or state.iteration % config.save_every == 0
        if due or state.best["iteration"] == state.iteration:
            save()
