"""The settings of PPO. Defaults live here and nowhere else."""

from dataclasses import dataclass
from typing import Literal

from models.ranges import Count, NotNegative, NotNegativeInt, Positive, Seed, Share, check_ranges
from ppo.kl import KLKind


@dataclass(frozen=True)
class PPOConfig:
    """One iteration is one rollout and one update; a minibatch is one optimizer step."""

    # --- rollout ---
    iterations: Count = 100
    """Rollouts (each followed by an update) in the whole run."""
    prompts_per_iteration: Count = 64
    """Problems drawn for each rollout."""
    samples_per_prompt: Count = 1
    """Programs sampled for each of them. More tell a sample's luck from its problem's difficulty, at the
    price of fewer problems; baseline leave-one-out needs 2 or more."""
    max_prompt_tokens: Count = 1024
    """Longer prompts keep the template and a part of the problem text (see --prompt-keep, --drop-long)."""
    max_new_tokens: Count = 512
    """Longest response, in tokens."""
    temperature: Positive = 0.7
    """Sampling temperature; every log-probability of the run is taken at it, the reference's too. Evaluate
    at the same one: a policy trained at 0.7 is weaker when sampled at 1."""
    rollout_batch: Count = 64
    """Responses decoded side by side. Memory for the KV cache grows with it; results do not change."""

    # --- reward per token ---
    kl_coef: NotNegative = 0.05
    """Weight of the KL penalty at the start, per nat. 0: off, and nothing holds the policy near SFT."""
    kl_controller: Literal["adaptive", "fixed"] = "adaptive"
    """adaptive: the weight moves so that the KL approaches kl_target, whatever the scale of the scores.
    fixed: it stays, and the optimum with it: for comparisons, and where the right weight is known."""
    kl_target: Positive = 6.0
    """Nats per response that the adaptive controller aims at."""
    kl_horizon: Count = 10_000
    """Responses over which the adaptive controller acts; smaller is faster."""
    kl_in: Literal["reward", "loss"] = "reward"
    """reward: per token, seen by the advantages, so that a token answers for the KL of those after it.
    loss: a term of the loss, with a gradient of its own on every token: less noise, and it acts on responses
    without advantage too."""
    kl_estimator: Literal["auto", "k1", "k2", "k3"] = "auto"
    """auto: k1 in the reward, k3 in the loss. k2 in the loss has the gradient of KL(policy, reference), as k1
    in the reward; k3 that of KL(reference, policy). k1 in the loss has none, and is refused."""
    missing_eos_penalty: NotNegative = 0.0
    """Subtracted from the score of a response that was cut before it ended: for models that ramble on after a
    program that already works."""
    scale_rewards: bool = False
    """Divide scores by their running standard deviation; for scorers whose scale is far from 1."""
    reward_clip: Positive | None = None
    """Hold the (scaled) score within plus or minus this; None: no limit."""

    # --- advantages ---
    gamma: Share = 1.0
    """Discount per token. Below 1, a score 512 tokens away hardly reaches the first token (0.99: 0.6 %); and
    it needs a critic, for other baselines are one number per response."""
    baseline: Literal["critic", "prompt-mean", "leave-one-out", "group-relative"] = "critic"
    """What a response is compared with. critic: its values, token by token. prompt-mean: the running mean
    score of its problem (on a first visit: of the rollout); one sample per prompt is enough. leave-one-out:
    the mean of the other samples of its prompt, 2 or more (RLOO). group-relative: the mean of all samples of
    its prompt, then divided by their spread (GRPO; set whiten_advantages False). Only critic trains one."""
    baseline_memory: Count = 8
    """Visits that the running mean of a problem remembers, for baseline prompt-mean: fewer follow a policy
    that learns fast, more are steadier."""
    lam_policy: Share = 0.95
    """Lambda of the advantages: 0 trusts the critic's next value, 1 only what the response earned. Without a
    critic it is 1."""
    lam_alpha: Positive | None = None
    """Length-adaptive lambda of the advantages, 1 - 1/(lam_alpha x length), in the place of lam_policy: the
    same share of a score reaches the first token whatever the length. VAPO uses 0.05. None: lam_policy."""
    lam_value: Share = 1.0
    """Lambda of the critic's targets. At 1 they are what the response earned; below, the score fades on its
    way to the first tokens (0.95: to 8 % over 50) and the critic learns its own opinion instead."""
    critic_warmup: NotNegativeInt = 0
    """Iterations at the start in which the critic alone is trained and the policy stays as it is, bit for
    bit: a critic that knows nothing yet disturbs the first updates."""
    critic_epochs: NotNegativeInt = 0
    """Passes over the rollout for the critic alone, after the update. It reads what it read before, so they
    cost little. Where programs are few and costly it learns too slowly without (try 3)."""
    whiten_advantages: bool = True
    """Shift and scale advantages to mean 0 and variance 1 over the whole rollout, so that one learning rate
    fits any scale of scores."""

    error_line_weight: Positive = 1.0
    """Weight of the tokens of the line that raised, in responses that did worse than expected; the others'
    shrink so that the sum stays. 1: off. Raise it (2 to 5) when crashes are many and programs long."""
    mask_unexecuted: bool = False
    """Weight 0 for tokens of lines that a traceback proves were never reached: they did not change the score.
    They stay in the response as GAE and the critic see it."""

    # --- update ---
    epochs: Count = 2
    """Passes over the rollout."""
    minibatch_size: Count = 32
    """Responses per optimizer step."""
    micro_batch_size: Count | Literal["auto"] = 32
    """Responses per backward pass; lower it when memory runs out. Gradients do not change. auto: halved from
    minibatch_size until the longest responses fit, before the first step; then it stays."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: a tenth of the memory of a large model's update, for about
    a quarter more time. Gradients do not change."""
    clip_range: Positive = 0.2
    """Tokens whose ratio left 1 plus or minus this, in the direction of their advantage, stop learning."""
    clip_range_high: Positive | None = None
    """Another limit for the upper side ("clip higher"): with 0.28 rare tokens may grow faster, which keeps
    the entropy up. None: the same."""
    dual_clip: Positive | None = None
    """A token with a negative advantage stops learning, too, once it became this many times as likely (3,
    say): for updates that go far from the samples. None: no such limit."""
    value_clip_range: Positive | None = 0.5
    """Limit to how far a value may move from the rollout's, in standard deviations of the first rollout's
    scores: holds back a critic that chases one rollout. None: no limit, for a critic that is too slow."""
    value_coef: NotNegative = 0.5
    """Weight of the value loss beside the policy loss; with --critic head they share the trunk."""
    entropy_coef: NotNegative = 0.0
    """Weight of the entropy bonus. Raise it (0.001 to 0.01) when the entropy collapses."""
    target_kl: Positive | None = None
    """End the update of an iteration at the first minibatch whose mean approx_kl (new policy against the one
    that sampled, nats per token) exceeds this; that step is not taken. None: all epochs."""
    max_ratio: Positive | None = 10.0
    """Take no step on a minibatch whose mean ratio exceeds this, and count it (ppo/guarded_steps): such a
    policy has left the samples far behind, and its gradient is that of a few tokens. None: never."""
    learning_rate: Positive = 1e-5
    """Of the policy."""
    value_learning_rate: NotNegative = 1e-3
    """Of the critic, which starts from nothing. For --critic head, whose weights face the trunk: 1e-4."""
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How both learning rates fall over the run; a fall settles the policy at the end, constant leaves the
    length of the run open."""
    lr_final: Share = 0.0
    """Where they fall to, as a fraction of their start."""
    lr_warmup: NotNegativeInt = 0
    """Iterations over which they rise from 0 first, while Adam's averages are young; the policy's begin after
    critic_warmup."""
    adam_eps: Positive = 1e-8
    """Epsilon of AdamW. Gradients of this size take half a step: 1e-5, usual for small networks,
    holds back those of millions of parameters, which are small each. Raise it against noise."""
    weight_decay: NotNegative = 0.0
    """Decoupled weight decay of AdamW."""
    max_grad_norm: Positive = 0.5
    """Gradients are scaled down to this norm, the policy's and the critic's each by its own."""
    init_value_bias: bool = True
    """Start the critic at the mean score of the first rollout instead of at 0."""

    # --- run ---
    seed: Seed = 1
    """Of everything random: prompts, samples, minibatches, fresh weights."""
    eval_every: NotNegativeInt = 8
    """Iterations between evaluations on the validation problems, which choose `best`; 0: first and last."""
    save_every: Count = 1
    """Iterations between checkpoints; an interrupted run goes on from the newest."""
    keep_checkpoints: Count = 3
    """Newest checkpoints to keep; `best` is kept besides."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.clip_range >= 1:
            raise ValueError(f"clip_range must be below 1, not {self.clip_range}: a ratio is never negative")
        if self.dual_clip is not None and self.dual_clip <= 1 + (self.clip_range_high or self.clip_range):
            raise ValueError(f"dual_clip must be above the clip range, 1 + clip_range, not {self.dual_clip}")
        if self.baseline in ("leave-one-out", "group-relative") and self.samples_per_prompt < 2:
            raise ValueError(f"baseline {self.baseline} needs samples_per_prompt 2 or more")
        if self.gamma < 1 and not self.uses_critic:
            # Then even a score that is the same for all would leave advantages, by the length that is left.
            raise ValueError(f"gamma {self.gamma} needs a critic: a baseline is one number per response")
        if self.lam_alpha is not None and not self.uses_critic:
            raise ValueError("lam_alpha needs a critic: without one lambda is 1, so leave it None")
        if self.kl_in == "loss" and self.kl_estimator == "k1":
            raise ValueError("kl_estimator k1 in the loss has no gradient: use k2 or k3, or kl_in reward")
        if self.critic_warmup and not self.uses_critic:
            raise ValueError(f"critic_warmup {self.critic_warmup} needs a critic: baseline critic, or 0")
        if self.critic_epochs and not self.uses_critic:
            raise ValueError(f"critic_epochs {self.critic_epochs} needs a critic: baseline critic, or 0")
        if self.critic_warmup >= self.iterations:
            raise ValueError(
                f"critic_warmup {self.critic_warmup} leaves the policy none of {self.iterations} iterations"
            )
        if self.batch_size % self.minibatch_size:
            raise ValueError(
                f"minibatch_size {self.minibatch_size} does not divide the {self.batch_size} responses "
                "of an iteration (prompts_per_iteration x samples_per_prompt)"
            )

    @property
    def batch_size(self) -> int:
        """Responses of one rollout."""
        return self.prompts_per_iteration * self.samples_per_prompt

    @property
    def micro_batch(self) -> int:
        """Responses per backward pass, once that is known. Raises ValueError while it is "auto"."""
        if self.micro_batch_size == "auto":
            raise ValueError('micro_batch_size "auto" is not a number yet: see ppo.run.state')
        return self.micro_batch_size

    @property
    def uses_critic(self) -> bool:
        """Whether values come from the critic, which is trained then."""
        return self.baseline == "critic"

    @property
    def uses_credit(self) -> bool:
        """Whether some tokens of a failed program may weigh more than others."""
        return self.error_line_weight != 1.0 or self.mask_unexecuted

    @property
    def lam_advantage(self) -> float:
        """Lambda of the advantages. One baseline for a whole response says nothing of the next token's value,
        so there is nothing to trust but what the response earned."""
        return self.lam_policy if self.uses_critic else 1.0

    @property
    def kl_kind(self) -> KLKind:
        """The estimator of the penalty; "auto" is the one that goes with its place."""
        if self.kl_estimator != "auto":
            return self.kl_estimator
        return "k1" if self.kl_in == "reward" else "k3"
