"""Tiny networks that the tests of `ppo` and `models` share.

torch is imported inside the fixtures: the tests of `sandbox`, `reward` and `data` run without it.
"""

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers

# Several workers share the cores: a second thread of one would wait, spinning, for what another is doing.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples on every machine and no clock: a failure is a defect, never bad luck. EXAMPLES: how many.
settings.register_profile(
    "repository", derandomize=True, deadline=None, max_examples=int(os.environ.get("EXAMPLES", "50"))
)
settings.load_profile("repository")

# Nor do they depend on what is imported: hypothesis would read all sources again, for constants to mix in.
assert callable(providers._get_local_constants)
providers._get_local_constants = lambda: providers._local_constants

HERE = Path(__file__).parent

# What imports and collection make lives to the end: to look through it for garbage slows every test.
gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_collectstart() -> None:
    """A property has the profile that is loaded when its file is read. A room may have its own."""
    settings.load_profile("repository")


def pytest_configure(config: pytest.Config) -> None:
    """Each worker reads all tests, each from another room on: what others have compiled by then is ready."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and [Path(argument).resolve() for argument in config.args] == [HERE]:
        rooms = sorted(path.name for path in HERE.iterdir() if _has_tests(path))
        first = int(worker.removeprefix("gw")) * len(rooms) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        config.args[:] = [str(HERE / room) for room in (*rooms[first:], *rooms[:first])]


def _has_tests(path: Path) -> bool:
    return path.match("test_*.py") or any(path.rglob("test_*.py"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In whatever order they were read: all workers have the same."""
    items.sort(key=lambda item: item.path.relative_to(HERE).parts[0])


def pytest_collection_finish() -> None:
    """Leave it out from now on."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def end_of_kept_processes() -> Iterator[None]:
    """Those that tests share end with the session."""
    from kept_processes import KEPT

    yield
    for kept in KEPT.values():
        kept.close()


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Bytes and a few merges: "ab" is one token, so ids of "a", "b" do not survive a round trip by text."""
    from models.tiny import build_tokenizer

    return build_tokenizer(["ab ab ab cd cd\n"] * 9, 264)


@pytest.fixture(scope="session")
def make_model(tokenizer: Any) -> Callable[..., Any]:
    """A network of 19k parameters whose distributions are far from uniform.

    Fresh weights give nearly the same logits everywhere: an error in a position, a mask or a temperature
    would not be seen in them. `sharpness` 1 is such a network.
    """
    import torch

    from models.tiny import TinyConfig, build_model

    def make(sharpness: float = 12.0, seed: int = 1) -> Any:
        config = TinyConfig(hidden_size=32, layers=1, heads=2, feed_forward=64, max_positions=4096)
        model = build_model(tokenizer, config, seed)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 2:
                    parameter.mul_(sharpness)
            if sharpness > 1:  # and a fair chance to end at every token
                model.model.embed_tokens.weight[tokenizer.eos_token_id] *= 2.5
        return model

    return make


@pytest.fixture(scope="session")
def sft_dir(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Any], tokenizer: Any) -> Path:
    """What `train.py sft` leaves behind: a run folder with model/."""
    from models.sft import save_model

    folder = tmp_path_factory.mktemp("sft")
    save_model(folder / "model", make_model(), tokenizer)
    return folder


@pytest.fixture(scope="session")
def cpu() -> Any:
    """float32 on the CPU."""
    import torch

    from models.precision import Precision

    return Precision(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="session")
def make_policy(sft_dir: Path, cpu: Any) -> Callable[..., Any]:
    """Policies on `sft_dir` (or `base`). `trained` moves them away from SFT, as updates would have."""
    import torch

    from models.adapter import TuneConfig
    from models.policy import build_policy

    def make(
        tune: str = "lora",
        *,
        trained: bool = False,
        base: Path | None = None,
        critic: Any = None,
        **settings: Any,
    ) -> Any:
        settings = {"lora_rank": 4, "lora_alpha": 8} | settings
        policy = build_policy(base or sft_dir, TuneConfig(tune=tune, **settings), cpu, seed=3, critic=critic)
        if trained:
            generator = torch.Generator().manual_seed(5)
            with torch.no_grad():
                for parameter in (*policy.trainable().values(), *policy.value_head.parameters()):
                    parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        return policy

    return make
