"""The reward in other trainers: each adapter called as its trainer calls it, by stand-ins for the trainers.

None of the trainers is installed here: signatures and ways of calling are those of their sources.
"""

import asyncio
import importlib.util
import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from data import Problem, TestCase
from data.forms import row_of
from reward import RewardError, Scorer
from reward.adapters import shared
from reward.adapters.areno import reward_fn
from reward.adapters.openrlhf import reward_func
from reward.adapters.trl import coderl_reward
from reward.adapters.verifiers import coderl_reward as one_reward
from reward.adapters.verl import compute_score

ROOT = Path(__file__).resolve().parents[3]
DOUBLE = Problem("double", "Print twice n.", (TestCase("2\n", "4\n"), TestCase("5\n", "10\n")))
ADD = Problem("add", "Add.", (TestCase("[1, 2]", "3"),), compare="json", entry_point="add")
TRUTHS = {problem.id: json.dumps(row_of(problem)) for problem in (DOUBLE, ADD)}
ANSWERS = [
    ("double", "```python\nprint(2 * int(input()))\n```"),
    ("double", "print(int(input()))"),
    ("double", "print(4)  # for now"),
    ("double", "for ("),
    ("double", ""),
    ("add", "Sure.\n```python\ndef add(a, b):\n    return a + b\n```\nDone."),
    ("add", "def add(a, b):\n    return a - b"),
    ("double", "n = int(input())\nprint(n + 2)"),  # right on one test
]
GIVEN = [TRUTHS[name] for name, _ in ANSWERS]
TEXTS = [text for _, text in ANSWERS]


@pytest.fixture(scope="module")
def expected() -> list[float]:
    """What Scorer says of the programs in the answers."""
    from data.answers import answer_in

    problems = {"double": DOUBLE, "add": ADD}
    pairs = [(problems[name], answer_in(text, problems[name]).program) for name, text in ANSWERS]
    with Scorer() as scorer:
        found = [reward.total for reward in scorer.score(pairs) if reward is not None]
    assert len(found) == len(pairs) and len(set(found)) > 3
    return found


def loaded(name: str):
    """A file as verl and OpenRLHF load it: by its path, under a name of theirs."""
    spec = importlib.util.spec_from_file_location(
        "custom_module", ROOT / "reward" / "adapters" / f"{name}.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_trl_gives_columns_by_name_and_takes_none_for_a_fault(expected, monkeypatch):
    logged: dict[str, float] = {}
    prompts = ["p"] * len(TEXTS)
    rest = {"completion_ids": [[1]] * len(TEXTS), "trainer_state": None, "log_extra": None, "id": GIVEN}
    found = coderl_reward(
        prompts=prompts, completions=TEXTS, ground_truth=GIVEN, log_metric=logged.__setitem__, **rest
    )
    assert found == expected
    assert 0 < logged["functional"] < 1 and 0 < logged["security"] <= 1
    chats = [[{"role": "assistant", "content": text}] for text in TEXTS]
    assert coderl_reward(prompts=prompts, completions=chats, ground_truth=GIVEN, **rest) == expected
    monkeypatch.setattr(shared, "scorer", lambda: SimpleNamespace(score=lambda pairs: [None] * len(pairs)))
    assert coderl_reward(completions=TEXTS[:2], ground_truth=GIVEN[:2]) == [None, None]


def test_verl_loads_the_file_and_asks_for_one_response(expected):
    score = loaded("verl").compute_score
    for truth, text, total in zip(GIVEN, TEXTS, expected, strict=True):
        found = score(data_source="coderl", solution_str=text, ground_truth=truth, extra_info={"index": 3})
        assert found["score"] == total
        assert all(isinstance(value, float | int) for value in found.values())


@pytest.mark.parametrize(
    "end", ["", "<|im_end|>", "</s>", "\n<|endoftext|>", "<｜end▁of▁sentence｜>", "<|im_end|>\n"]
)
def test_openrlhf_asks_from_threads_with_the_prompt_in_front(expected, end):
    """One sample a call; the text that it decodes keeps its special tokens."""
    prompt = "<|im_start|>user\nPrint twice n.<|im_end|>\n<|im_start|>assistant\n"
    asked = loaded("openrlhf").reward_func

    def call(truth: str, text: str) -> dict:
        return asked(["<s>" + prompt + text + end], [prompt], [truth])

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(call, GIVEN, TEXTS))
    assert [one["rewards"].tolist() for one in found] == [[pytest.approx(total)] for total in expected]
    assert [one["scores"].item() for one in found] == [float(total == 1.0) for total in expected]
    assert all(log.shape == (1,) for one in found for log in one["extra_logs"].values())
    with pytest.raises(RewardError, match="does not begin with its prompt"):
        reward_func(["another text"], [prompt], [GIVEN[0]])


def test_verifiers_awaits_many_at_once(expected):
    async def ask() -> list[float]:
        chats = [[{"role": "assistant", "content": text}] for text in TEXTS]
        return await asyncio.gather(
            *(
                one_reward(completion=chat, answer=truth, prompt="p", state={}, task="coderl", info={})
                for chat, truth in zip(chats, GIVEN, strict=True)
            )
        )

    assert asyncio.run(ask()) == expected


def test_areno_hands_over_records(expected):
    for truth in (GIVEN[0], [GIVEN[0]]):
        assert reward_fn(SimpleNamespace(answer=truth, completion=TEXTS[0])) == expected[0]


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        (None, "a ground truth is missing"),
        ("", "a ground truth is missing"),
        (row_of(DOUBLE), "no text of JSON"),
        ([row_of(ADD)], "no text of JSON"),
        ("42", "no problem: the row is"),
        ("print(4)", "is not JSON: 'print"),
        ("[" * 100_000, "is not JSON"),
        ('{"id": "a", "prompt": "p", "tests": 3}', "no problem: "),
        ('{"id": "a", "prompt": "p", "tests": []}', "tests"),
    ],
)
def test_a_ground_truth_that_is_none_is_one_line_in_every_trainer(truth, said):
    record = SimpleNamespace(answer=truth, completion="print(1)")
    for call in (
        lambda: coderl_reward(completions=["print(1)"], ground_truth=[truth]),
        lambda: compute_score("coderl", "print(1)", truth),
        lambda: reward_func(["pprint(1)"], ["p"], [truth]),
        lambda: asyncio.run(one_reward("print(1)", truth)),
        lambda: reward_fn(record),
    ):
        with pytest.raises(RewardError, match=said) as caught:
            call()
        assert "\n" not in str(caught.value)
    with pytest.raises(RewardError, match="2 answers and 1 ground truths"):
        coderl_reward(completions=["a", "b"], ground_truth=[GIVEN[0]])


@pytest.mark.parametrize("piece", [" ", "\n", "<|a|>", "<|a|> ", "</s>\n", "<|", "<", "<|x|>y"])
def test_what_stands_behind_an_answer_is_taken_off_in_linear_work(piece, monkeypatch):
    """Of the longest answers: looks for a special token are as many as those that stand there, and one."""
    looks = 0
    real = shared._SPECIAL

    class Counting:
        def search(self, text: str, start: int, end: int):
            nonlocal looks
            looks += 1
            assert end - start <= shared._LONGEST
            return real.search(text, start, end)

    monkeypatch.setattr(shared, "_SPECIAL", Counting())
    answer = "print(1)" + piece * 20_000
    left = shared.without_end(answer)
    ends = real.search(piece.strip()) is not None
    assert left.rstrip() == ("print(1)" if ends else answer.rstrip())
    assert looks == (20_001 if ends else 1)


def test_a_fault_is_tried_again_and_never_a_number(monkeypatch):
    left = [None, None, SimpleNamespace(total=0.5)]
    monkeypatch.setattr(shared, "scorer", lambda: SimpleNamespace(score=lambda pairs: [left.pop(0)]))
    assert shared.reward(GIVEN[0], "print(1)").total == 0.5
    left.extend([None] * 3)
    with pytest.raises(RewardError, match="problem 'double': the sandbox failed 3 times"):
        shared.reward(GIVEN[0], "print(1)")


def ask_in_a_fork(pipe) -> None:
    pipe.send(compute_score("coderl", TEXTS[0], GIVEN[0])["score"])


def test_a_fork_of_the_process_has_its_own_scorer_and_leaves_the_parents(expected):
    """Trainers fork workers; what the parent started is not theirs to use or to close."""
    assert compute_score("coderl", TEXTS[1], GIVEN[1])["score"] == expected[1]
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=ask_in_a_fork, args=(theirs,))
    process.start()
    assert ours.recv() == expected[0]
    process.join()
    assert process.exitcode == 0
    assert compute_score("coderl", TEXTS[2] + "\n# again", GIVEN[2])["score"] == expected[2]


def test_a_preset_says_what_is_rewarded(tmp_path, monkeypatch):
    preset = tmp_path / "preset.yaml"
    preset.write_text("ppo:\n  objective: {mode: binary}\n  limits: {cpu_seconds: 0.5}\n")
    monkeypatch.setattr(shared, "_scorers", {})
    monkeypatch.setenv(shared.ENVIRONMENT, str(preset))
    with shared.scorer() as scorer:
        assert scorer.config.mode == "binary"
        assert shared.reward(GIVEN[1], TEXTS[1]).functional == 0.0
    for text, said in (
        ("ppo: {objective: {mod: binary}}", "unknown key 'mod'"),
        ("ppo: {schedule: {kind: binary-to-partial, switch_at: 3}}", "a schedule follows"),
        ("ppo: {schedule: {difficulty: 4}}", "a schedule follows"),
        ("sft: {}", "no section ppo"),
    ):
        monkeypatch.setattr(shared, "_scorers", {})
        preset.write_text(text)
        with pytest.raises(RewardError, match=said):
            shared.scorer()
    monkeypatch.setenv(shared.ENVIRONMENT, str(tmp_path / "none.yaml"))
    with pytest.raises(RewardError, match="cannot be read"):
        shared.scorer()
