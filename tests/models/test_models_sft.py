"""The warm start: what is supervised, what a step is, and that nothing else matters."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sft_helpers import rows, run_sft
from torch import Tensor

from models.adapter import TuneConfig, add_lora
from models.errors import ModelError
from models.frozen_head import FROZEN_HEAD
from models.head import find_head
from models.low_rank import LOW_RANK
from models.precision import Precision
from models.sft import prepare_sft, save_model
from models.sft_config import SFTConfig, learning_rate_factor
from models.sft_data import Batches, Demonstration, collate, short_enough
from models.sft_loss import accumulate_gradient, completion_loss, mean_loss
from models.storage import load_model
from ppo.parallel import ALONE

EOS = 1
CPU = torch.device("cpu")
DEMOS = [
    Demonstration((9, 40, 77), (50, 51)),
    Demonstration((5,), (60, 61, 62, 63, 64)),
    Demonstration((30, 31, 32, 33), (70,)),
    Demonstration((100, 200), (80, 81, 82)),
    Demonstration((7, 8, 9), (90, 91, 92, 93)),
]
LORA, FULL = TuneConfig(lora_rank=4), TuneConfig(tune="full")


def loss_by_rows(model: Any, demonstrations: list[Demonstration]) -> float:
    """−Σ log p over completion and EOS: each row alone, all logits, torch's own log_softmax."""
    total = 0.0
    for demo in demonstrations:
        ids = [*demo.prompt_ids, *demo.completion_ids, EOS]
        with torch.no_grad():
            logprobs = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
        for i in range(len(demo.prompt_ids), len(ids)):
            total -= logprobs[i - 1, ids[i]].item()
    return total


@pytest.fixture
def train(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Any, list]]:
    """Train a model in a folder of its own: the finished model, and the rows of metrics.jsonl."""

    def go(
        model: Any, config: SFTConfig, tune: TuneConfig, precision: Any, demos: Any = DEMOS
    ) -> tuple[Any, list]:
        folder: Path = tmp_path_factory.mktemp("sft")
        trained = run_sft(folder, model, config, tune, precision, demos, DEMOS[:2], EOS)
        return trained, rows(folder)

    return go


def test_completion_and_eos_are_supervised():
    """Trap A22: supervised positions = completion + 1; prompt and padding are not; EOS is once."""
    ids, supervised = collate(DEMOS, EOS)
    for row, demo in enumerate(DEMOS):
        assert supervised[row].sum() == len(demo.completion_ids) + 1
        assert ids[row][supervised[row]].tolist() == [*demo.completion_ids, EOS]
        assert ids[row, : demo.tokens].tolist() == [*demo.prompt_ids, *demo.completion_ids, EOS]
        assert not supervised[row, demo.tokens :].any()


def test_loss_is_the_cross_entropy_of_the_completions(make_model):
    """Trap A22: equal to a sum over single rows; invariant to padding and to the company of other rows."""
    model = make_model()
    head, expected = find_head(model), loss_by_rows(model, DEMOS)
    with torch.no_grad():
        assert completion_loss(model, head, DEMOS, EOS, CPU).item() == pytest.approx(expected, rel=1e-5)
        longest = Demonstration((5,) * 60, (6,) * 60)
        padded = completion_loss(model, head, [*DEMOS, longest], EOS, CPU).item()
        padded -= completion_loss(model, head, [longest], EOS, CPU).item()
    assert padded == pytest.approx(expected, rel=1e-4)


def test_short_ways_leave_the_loss_and_its_gradients(make_model):
    """With adapters on a frozen base: as near to the numbers in float64 as the plain forms are in float32."""
    network = add_lora(make_model(), TuneConfig(lora_rank=4), seed=1)
    with torch.no_grad():
        for name, p in network.named_parameters():
            if "lora_B" in name:
                p += 0.1 * torch.arange(p.numel()).cos().reshape(p.shape)

    def outcome() -> list[Tensor]:
        trained = [p for p in network.parameters() if p.requires_grad]
        loss = completion_loss(network, find_head(network.get_base_model()), DEMOS, EOS, CPU)
        return [each.double() for each in (loss.detach(), *torch.autograd.grad(loss, trained))]

    short = outcome()
    with FROZEN_HEAD.off(), LOW_RANK.off():
        plain = outcome()
        network.double()
        exact = outcome()
    errors = [
        [((found - e).norm() / e.norm()).item() for found, e in zip(way, exact, strict=True)]
        for way in (short, plain)
    ]
    assert max(errors[0]) <= 5e-6 and sum(errors[0]) <= 1.5 * sum(errors[1])


def test_loss_is_per_completion_token(make_model, cpu):
    """The validation loss is nats per supervised token, whatever the micro-batch."""
    model = make_model()
    expected = loss_by_rows(model, DEMOS) / sum(len(d.completion_ids) + 1 for d in DEMOS)
    for size in (1, 2, 5):
        config = SFTConfig(micro_batch_size=size)
        assert mean_loss(model, DEMOS, EOS, config, cpu) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("changes", [{"micro_batch_size": 1}, {"micro_batch_size": 2}, {"max_tokens": 64}])
def test_micro_batch_and_limit_change_nothing(train, make_model, cpu, changes):
    """Check 11, trap A22: after four steps the losses and weights agree with the plain run's (1e-5)."""
    config = SFTConfig(epochs=4.0, batch_size=5, micro_batch_size=5, learning_rate=1e-4, warmup=0.0)
    plain, logged = train(make_model(), config, FULL, cpu)
    other, others = train(make_model(), SFTConfig(**{**vars(config), **changes}), FULL, cpu)
    assert len(logged) == len(others) == 4
    for a, b in zip(logged, others, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)
    for (name, a), b in zip(plain.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)


def test_the_last_batch_is_a_step_of_its_own(train, make_model, cpu, monkeypatch):
    """Trap A23: 5 demonstrations in batches of 2: three steps, and no gradient is left over or leaks.

    At learning rate 0 the gradients of the steps, each times its tokens, add up to that of all at once.
    """
    import models.sft_loss

    steps: list[tuple[int, Tensor]] = []
    tokens = [0]
    clip = torch.nn.utils.clip_grad_norm_

    def count(network: Any, head: Any, micro: Any, *rest: Any) -> Tensor:
        if torch.is_grad_enabled():
            tokens[0] += sum(len(d.completion_ids) + 1 for d in micro)
        return completion_loss(network, head, micro, *rest)

    def record(parameters: Any, max_norm: float) -> Tensor:
        steps.append((tokens[0], torch.cat([p.grad.flatten() for p in parameters])))
        tokens[0] = 0
        return clip(parameters, max_norm)

    monkeypatch.setattr(models.sft_loss, "completion_loss", count)
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", record)
    config = SFTConfig(epochs=1.0, batch_size=2, micro_batch_size=1, learning_rate=0.0, warmup=0.0)
    model = make_model()
    train(model, config, FULL, cpu)
    assert len(steps) == 3
    for p in model.parameters():
        p.grad = None
    completion_loss(model, find_head(model), DEMOS, EOS, CPU).backward()
    whole = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(sum(n * gradient for n, gradient in steps), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [1, pytest.param(3, marks=pytest.mark.slow), 5])
@pytest.mark.parametrize("tune", [LORA, FULL], ids=["lora", "full"])
def test_accumulation_is_exact(make_model, cpu, tune, size):
    """The gradient of sixteen demonstrations is that of their mean loss per token at once, in whatever
    pieces (1e-5 of its norm): by tokens, never by pieces, whose lengths differ."""
    draw = torch.Generator().manual_seed(2)

    def words(longest: int) -> tuple[int, ...]:
        count = int(torch.randint(1, longest, (1,), generator=draw))
        return tuple(torch.randint(3, 200, (count,), generator=draw).tolist())

    batch = [Demonstration(words(9), words(30)) for _ in range(16)]
    gradients = []
    for micro in (16, size):
        config = SFTConfig(micro_batch_size=micro)
        network = prepare_sft(make_model(), config, tune, cpu)
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        head = find_head(network.get_base_model() if tune is LORA else network)
        loss = accumulate_gradient(network, head, scaler, batch, EOS, config, cpu, ALONE)
        expected = loss_by_rows(network, batch) / sum(len(d.completion_ids) + 1 for d in batch)
        assert loss == pytest.approx(expected, rel=1e-5)
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.requires_grad]))
    assert (gradients[0] - gradients[1]).norm() <= 1e-5 * gradients[0].norm() > 0


@pytest.mark.parametrize("count", [1, 4, 5, 64, 70])
def test_the_place_in_the_data_is_one_number(count):
    """A batch by its number is that of whoever read all before it; each pass has every demonstration once,
    the passes in orders of their own."""
    demos = [Demonstration((1,) * (i % 7 + 1), (i,)) for i in range(count)]
    batches = Batches(demos, 4, seed=3)
    passes = 3
    read = [batches.at(number) for number in range(passes * batches.per_pass)]
    assert [Batches(demos, 4, seed=3).at(number) for number in range(len(read))] == read
    orders = []
    for number in range(passes):
        part = read[number * batches.per_pass : (number + 1) * batches.per_pass]
        orders.append([d.completion_ids[0] for batch in part for d in batch])
        assert sorted(orders[-1]) == list(range(count))
    assert count < 64 or len(set(map(tuple, orders))) == passes
    other = Batches(demos, 4, seed=4)
    assert count < 64 or [other.at(number) for number in range(len(read))] != read


@pytest.mark.parametrize(("epochs", "batch"), [(1.0, 5), (2.0, 5), (1.0, 1), (3.0, 2), (0.5, 1)])
def test_passes_over_the_demonstrations(train, make_model, cpu, monkeypatch, epochs, batch):
    """Each whole pass reads every demonstration once, also where the last batch is smaller."""
    import models.sft_loss

    read: list[Demonstration] = []

    def record(network: Any, head: Any, micro: Any, *rest: Any) -> Tensor:
        if torch.is_grad_enabled():
            read.extend(micro)
        return completion_loss(network, head, micro, *rest)

    monkeypatch.setattr(models.sft_loss, "completion_loss", record)
    train(make_model(), SFTConfig(epochs=epochs, batch_size=batch), FULL, cpu)
    if epochs >= 1:
        assert sorted(map(repr, read)) == sorted(map(repr, DEMOS * int(epochs)))
    else:
        assert len(read) == math.ceil(epochs * len(DEMOS)) == len(set(map(repr, read)))


def test_it_learns_the_demonstrations(train, make_model, cpu):
    """Cross-entropy falls to almost nothing; LoRA comes back merged, as a plain network."""
    config = SFTConfig(epochs=40.0, batch_size=5, learning_rate=0.01, schedule="constant", warmup=0.0)
    _, logged = train(make_model(), config, FULL, cpu)
    assert logged[0]["loss"] > 3 and logged[-1]["loss"] < 0.1 and logged[-1]["validation_loss"] < 0.1
    merged, logged = train(make_model(), config, TuneConfig(lora_rank=8), cpu)
    assert logged[-1]["loss"] < 0.5 * logged[0]["loss"]
    assert not any("lora" in name for name, _ in merged.named_parameters())
    expected = loss_by_rows(merged, DEMOS) / sum(len(d.completion_ids) + 1 for d in DEMOS)
    assert mean_loss(merged, DEMOS, EOS, config, cpu) == pytest.approx(expected, rel=1e-4)


def test_one_seed_gives_one_model(train, make_model, cpu):
    """Weights are the same bits with one seed; the order of demonstrations is another with another."""
    config = SFTConfig(epochs=2.0, batch_size=2, learning_rate=0.01)
    (a, _), (b, _) = (train(make_model(), config, LORA, cpu) for _ in range(2))
    c, _ = train(make_model(), SFTConfig(**{**vars(config), "seed": 2}), LORA, cpu)
    pairs = list(zip(a.parameters(), b.parameters(), c.parameters(), strict=True))
    assert all(torch.equal(x, y) for x, y, _ in pairs) and not all(torch.equal(x, z) for x, _, z in pairs)


@pytest.mark.parametrize("tune", [LORA, FULL], ids=["lora", "full"])
def test_what_is_trained_is_float32(train, make_model, tune):
    """Check 24: in half precision small steps would be lost; the model returns in its own format."""
    dtypes = set()
    original = torch.optim.AdamW.step

    def record(self: Any, *args: Any) -> Any:
        dtypes.update(p.dtype for group in self.param_groups for p in group["params"])
        return original(self, *args)

    precision = Precision(CPU, torch.bfloat16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", record)
        model, logged = train(make_model().bfloat16(), SFTConfig(epochs=2.0, batch_size=5), tune, precision)
    assert dtypes == {torch.float32} and model.dtype == torch.bfloat16
    assert all(math.isfinite(row["loss"]) for row in logged)


def test_too_long_demonstrations_are_left_out():
    """EOS counts; none left is an error."""
    assert len(short_enough(DEMOS, 6)) == 3  # 3+2+1, 4+1+1 and 2+3+1 tokens fit
    assert len(DEMOS) == 5
    with pytest.raises(ModelError, match="fits"):
        short_enough(DEMOS, 3)


def test_a_loss_that_is_not_finite_stops_the_training(train, make_model, cpu):
    with pytest.raises(ModelError, match="lower --learning-rate"):
        train(make_model(), SFTConfig(epochs=4.0, learning_rate=1e30, warmup=0.0), FULL, cpu)


def test_learning_rate():
    """Rises over the warm-up, falls along a cosine, and every step moves."""
    config = SFTConfig(warmup=0.1)
    factors = [learning_rate_factor(config, step, 100) for step in range(100)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert factors[10] == 1.0 and factors[55] == pytest.approx(0.5) and 0 < factors[99] < 0.001
    constant = SFTConfig(warmup=0.0, schedule="constant")
    assert {learning_rate_factor(constant, step, 100) for step in range(100)} == {1.0}


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"epochs": 0.0}, {"warmup": 1.0}, {"validate_every": 0}]
)
def test_values_that_cannot_work_are_refused(wrong):
    """In one line that names the key."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SFTConfig(**wrong)


def test_saved_model(tmp_path, make_model: Callable[..., Any], tokenizer: Any, monkeypatch):
    """Trap A23: written whole or not at all; it loads again with the same bits."""
    model = make_model()
    save_model(tmp_path / "model", model, tokenizer)
    loaded = load_model(tmp_path / "model", torch.float32)
    for a, b in zip(model.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(a, b)

    def full_disk(*args: Any, **kwargs: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(type(tokenizer), "save_pretrained", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_model(tmp_path / "model", make_model(seed=9), tokenizer)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    again = load_model(tmp_path / "model", torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_gradient_checkpointing_trains_the_same_model(train, make_model, cpu, tune, monkeypatch):
    """Every block runs twice for each backward pass, and the weights come out the same."""
    import models.sft

    demonstrations = [Demonstration((9, 40), (50, 51, 52)), Demonstration((7,), (60,))]
    results, runs = [], []
    for checkpointing in (False, True):
        config = SFTConfig(epochs=3.0, batch_size=2, learning_rate=0.01, gradient_checkpointing=checkpointing)
        model, count = make_model(), []
        attention = next(m for name, m in model.named_modules() if name.endswith("layers.0.self_attn"))

        def note(*args: object, count: list[bool] = count) -> None:
            count.append(torch.is_grad_enabled())

        monkeypatch.setattr(models.sft, "verify", lambda *args: None)  # it runs the network too
        monkeypatch.setattr(models.sft, "verify_adapters", lambda *args: None)
        attention.register_forward_hook(note)
        trained, _ = train(model, config, TuneConfig(tune=tune), cpu, demonstrations)
        results.append(trained.state_dict())
        runs.append(sum(count))
    assert runs == [3, 6]
    for name, weight in results[0].items():
        torch.testing.assert_close(results[1][name], weight, rtol=1e-5, atol=1e-6)
