"""Recorded steps, against the plain reader. Here they run unrecorded: the same steps, on any device."""

from typing import Any

import pytest
import torch
from decoding_helpers import PROMPTS, assert_same, run
from hypothesis import given
from hypothesis import strategies as st

import models.graph_reader
from models.decoding import Decoding, reach, why_not_recorded
from models.errors import ModelError
from models.graph_reader import GraphReader, StaticSteps
from models.precision import DeviceConfig, Precision, resolve_precision
from models.reader import Reader
from tests.architectures import WINDOW, WORKING, relatives_slow, small_model

CPU = Precision(torch.device("cpu"), torch.float32)
FADING = {"bloom", "mpt", "falcon-alibi"}
WINDOWED = {n for n in WORKING if getattr(WORKING[n](), "sliding_window", None)} | {"gpt-neo"}
FITTING = sorted(set(WORKING) - FADING - WINDOWED)
SOME_STOP = range(0, 264, 5)


def unrecorded(network: Any, rows: int, places: int, *, record: bool) -> StaticSteps:
    return StaticSteps(network, rows, places, record=False)


@pytest.fixture
def small_pieces(monkeypatch):
    """So few places at a time that short texts go through several sizes."""
    monkeypatch.setattr(models.graph_reader, "PLACES", 4)


@pytest.mark.parametrize("name", relatives_slow(FITTING))
def test_static_steps_are_the_plain_readers(name, small_pieces):
    """On every architecture that fits, with padding, prompts that repeat, rows that leave from any place, and
    memory that served other texts before."""
    network = small_model(name).eval()
    assert why_not_recorded(network, CPU, record=False) == ""
    steps = StaticSteps(network, 8, 70, record=False)
    other = [[7, 8, 9, 10], [11]] * 4
    for prompts, stops in ((PROMPTS, ()), (other, SOME_STOP), (PROMPTS, SOME_STOP)):
        reader = GraphReader(network, 9, steps)
        found = run(network, prompts, reader=reader, stop_ids=stops, keep_states=True)
        expected = run(network, prompts, stop_ids=stops, keep_states=True)
        assert_same(found, expected)
        torch.testing.assert_close(found.states, expected.states, rtol=1e-4, atol=1e-4)
    assert len(set(found.response_mask.sum(dim=1).tolist())) > 1


class Played:
    """A recorded step that is run anew: into the same memory, from the same memory."""

    def __init__(self, steps: StaticSteps, size: tuple[int, int]) -> None:
        self.steps, self.size = steps, size
        self.states = steps._pass(*size).clone()

    def replay(self) -> None:
        self.states.copy_(self.steps._pass(*self.size))


def test_a_rollout_records_few_steps_and_the_next_none(small_pieces, monkeypatch):
    """A size of rows and places at a time; what a step returned is not what the next one writes to."""
    network = small_model("llama").eval()
    steps = StaticSteps(network, 8, 70, record=False)

    def capture(*size: int) -> tuple[Any, torch.Tensor]:
        played = Played(steps, size)
        return played, played.states

    monkeypatch.setattr(steps, "_record", True)
    monkeypatch.setattr(steps, "_capture", capture)
    prompts = [[5 + i] * (30 + i) for i in range(8)]
    recorded = []
    for again in (False, True):
        found = run(
            network,
            prompts,
            tokens=30,
            reader=GraphReader(network, 30, steps),
            stop_ids=range(0, 264, 9),
            keep_states=True,
        )
        expected = run(network, prompts, tokens=30, stop_ids=range(0, 264, 9), keep_states=True)
        assert_same(found, expected)
        torch.testing.assert_close(found.states, expected.states, rtol=1e-4, atol=1e-4)
        assert not again or steps.recorded == recorded
        recorded = steps.recorded
    assert len({rows for rows, _ in recorded}) > 1 and len(recorded) <= 10


@pytest.mark.parametrize("name", sorted(FADING | WINDOWED))
def test_what_does_not_fit(name):
    """Texts longer than the windows; and distances that are no positions."""
    network = small_model(name)
    assert why_not_recorded(network, CPU, record=False)
    assert reach(network) == (WINDOW if name in WINDOWED else float("inf"))


def test_a_wide_window_is_no_bar(small_pieces):
    """Within its window a model sees all of a text: only longer ones go the plain way."""
    network = small_model("mistral").eval()
    network.config.sliding_window = 60
    for layer in network.model.layers:
        layer.self_attn.sliding_window = 60
    assert (why_not_recorded(network, CPU, record=False), reach(network)) == ("", 60)
    reader = GraphReader(network, 6, StaticSteps(network, 5, 60, record=False))
    assert_same(run(network, tokens=6, reader=reader), run(network, tokens=6))


def test_a_step_that_asks_the_host(monkeypatch):
    """What a graph cannot hold is found without recording one."""
    network = small_model("llama")
    norm = network.model.norm
    monkeypatch.setattr(norm, "forward", lambda x, plain=norm.forward: plain(x) * float(x.sum() < 1e30))
    assert "waits for its own results (aten::_local_scalar_dense)" in why_not_recorded(
        network, CPU, record=False
    )
    monkeypatch.setattr(norm, "forward", lambda x: x[x > -1e30].reshape(x.shape))
    assert "aten::index" in why_not_recorded(network, CPU, record=False)


@given(st.integers(1, 300), st.data())
def test_rows_are_halved(rows, data):
    """Never fewer than are in use, none that a half would hold, and few sizes in all."""
    steps = StaticSteps.__new__(StaticSteps)
    steps.rows = rows
    used = data.draw(st.integers(1, rows))
    sizes = {steps._bucket(n) for n in range(1, rows + 1)}
    found = steps._bucket(used)
    assert found >= used and (found == 1 or used > -(-found // 2))
    assert steps._bucket(rows) == rows and len(sizes) <= rows.bit_length() + 1


class TestDecoding:
    """Which reader is made, on a card that is only pretended."""

    @pytest.fixture
    def decoding(self, monkeypatch):
        monkeypatch.setattr("models.decoding.StaticSteps", unrecorded)

        def make(name: str = "llama", decode: Any = "auto", *, lasting: bool = True) -> Decoding:
            card = Precision(torch.device("cuda"), torch.float32, decode)
            return Decoding(small_model(name).eval(), card, lasting=lasting)

        return make

    def test_memory_serves_what_fits_into_it(self, decoding):
        made = decoding()
        first = made.reader(6, 54, 20, share_head=False)
        run(made._network, tokens=20, reader=first)
        assert made.nbytes > 0
        assert made.reader(5, 50, 24, share_head=False)._steps is first._steps
        weight = made._network.get_output_embeddings().weight
        weight.data += 1.0
        assert made.reader(5, 50, 24, share_head=False)._steps is first._steps
        weight.data = weight.data.clone()  # elsewhere: what is recorded would read the old one
        assert made.reader(5, 50, 24, share_head=False)._steps is not first._steps
        more_rows = made.reader(7, 50, 24, share_head=False)
        assert more_rows._steps is not first._steps
        assert made.reader(7, 250, 24, share_head=False)._steps is not more_rows._steps
        made.done()
        assert made._steps is not None
        made.release()
        assert made.nbytes == 0

    def test_weights_that_are_read_from_copies(self, decoding):
        made = decoding(lasting=False)
        made.reader(2, 4, 4, share_head=False)
        made.done()
        assert made._steps is None

    def test_longer_than_a_window(self, decoding, monkeypatch):
        monkeypatch.setattr("models.decoding.why_not_recorded", lambda *args, **settings: "")
        made = decoding("mistral")
        assert type(made.reader(2, WINDOW - 4, 4, share_head=False)) is GraphReader
        assert type(made.reader(2, WINDOW - 4, 5, share_head=False)) is Reader

    def test_a_model_that_does_not_fit(self, decoding, caplog):
        caplog.set_level("INFO")
        made = decoding("gemma2")
        assert type(made.reader(2, 4, 4, share_head=False)) is Reader
        assert "Gemma2ForCausalLM decodes kernel by kernel" in caplog.text and made.plain_because
        with pytest.raises(ModelError, match=r"--decode graph: Gemma2ForCausalLM.*use auto or eager"):
            decoding("gemma2", "graph")

    def test_eager(self, decoding):
        assert type(decoding("llama", "eager").reader(2, 4, 4, share_head=False)) is Reader
        assert decoding("gemma2", "eager").plain_because == ""

    @pytest.mark.parametrize("device", ["cpu", "auto"])
    def test_graphs_on_the_cpu(self, device, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(ModelError, match="--decode graph: CUDA graphs need a GPU"):
            resolve_precision(DeviceConfig(device=device, decode="graph"))
