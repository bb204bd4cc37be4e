"""SFT without a command: a training in a folder, and what it logged."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.adapter import TuneConfig
from models.precision import Precision
from models.sft import finished, fresh_state, prepare_sft, train_sft
from models.sft_config import SFTConfig, optimizer_steps
from models.sft_data import Demonstration
from models.sft_run import FILES, SERIES, SFTLog, restore
from models.together import Processes
from ppo.parallel import ALONE


class Quiet:
    """Nobody watches."""

    def step(self, done: int) -> None:
        pass

    def say(self, text: str) -> None:
        pass


def run_sft(
    folder: Path,
    model: Any,
    config: SFTConfig,
    tune: TuneConfig,
    precision: Precision,
    train: Sequence[Demonstration],
    validation: Sequence[Demonstration],
    eos_id: int,
    *,
    resume: bool = False,
    stop: Any = lambda: False,
    world: Processes = ALONE,
) -> Any:
    """Train in a folder, or go on with what is there: the finished model, or None where `stop` ended it."""
    dtype = model.dtype
    saved = world.lead(lambda: SERIES.newest_whole(folder)[0]) if resume else None
    network = prepare_sft(model, config, tune, precision)
    state = fresh_state(network, config, precision)
    if saved is not None:
        restore(saved, network, state)
    log = SFTLog(folder, Quiet(), optimizer_steps(config, len(train)), 100, silent=world.rank > 0)
    log.truncate(dict.fromkeys(FILES, 0) if saved is None else saved.state["logs"])
    if saved is not None:
        best = state.best_step if config.keep == "best" else None
        world.lead(lambda: SERIES.tidy(folder / "checkpoints", best, config.keep_checkpoints))
    try:
        over = train_sft(
            config,
            network,
            state,
            train=train,
            validation=validation,
            eos_id=eos_id,
            precision=precision,
            log=log,
            checkpoints=folder / "checkpoints",
            world=world,
            stop=stop,
        )
    finally:
        log.close()
    return finished(config, network, state, folder / "checkpoints", dtype)[0] if over else None


def rows(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """What a training has logged."""
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]
