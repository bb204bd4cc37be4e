"""One way to put problems, from SFT to evaluation: chosen once, written down, held to."""

import json
from pathlib import Path

import pytest
from small_runs import CORPUS, PPO, SFT, command
from test_tokens import problem, save
from tokenizer_zoo import make, with_chat

import cli.sft
from data import write_problems
from models.template import RECORD
from ppo.prompts import CHAT_INSTRUCTION

TRAIN = ["--validation", "None", "--tune", "full", "--epochs", "1", "--threads", "1"]
NEW = ["--iterations", 1, "--prompts-per-iteration", 4, "--minibatch-size", 4, "--max-new-tokens", 8]
RUN = [*NEW, "--threads", "1", "--lora-targets", "q_proj", *CORPUS]


def said(capsys, name: str, *arguments: object) -> str:
    """Of a command that must fail in one line."""
    capsys.readouterr()
    assert command(name, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    return error


@pytest.fixture(scope="module")
def chat_sft(tmp_path_factory) -> Path:
    """An SFT run of a chat model, by default settings."""
    folder = tmp_path_factory.mktemp("chat")
    write_problems(folder / "p.jsonl", [problem(str(i), f"print({i})") for i in range(4)])
    model = save(folder / "m", with_chat(make("qwen")))
    given = ["--model", model, "--problems", folder / "p.jsonl", "--out", folder / "sft"]
    assert command("sft", *given, *TRAIN) == 0
    return folder / "sft"


def test_a_chat_model_is_asked_in_its_words_from_sft_to_evaluation(chat_sft, tmp_path):
    """The SFT model, a run's checkpoints and what samples them agree without a flag."""
    record = json.loads((chat_sft / "model" / RECORD).read_text())
    assert record["prompt"] == "chat" and record["instruction"] == CHAT_INSTRUCTION
    out = tmp_path / "ppo"
    assert command("ppo", "--sft", chat_sft, "--stop", "\n\n", "--out", out, *RUN) == 0
    for folder in (out / "checkpoints").glob("iteration-*"):
        state = json.loads((folder / "state.json").read_text())
        assert state["prompt"] == record | {"stop": ["\n\n"]}
    assert command("ppo", "--resume", out, "--iterations", 2, "--allow-changes", "iterations") == 0
    few = ["--num-problems", 2, "--max-new-tokens", 4, "--threads", 1]
    assert command("evaluate", chat_sft, out, *few) == 0
    assert command("evaluate", out, "--prompt", "chat", "--stop", "\n\n", *few) == 0
    asked = ["--problem", "Print 1.", "--max-new-tokens", 4]
    assert command("sample", "--checkpoint", out, "--system", "", *asked) == 0


def test_other_words_than_those_of_the_training(capsys, chat_sft, sft_run, ppo_run, tmp_path):
    """An error that names both, wherever they are asked for."""
    new = ["--out", tmp_path / "o", *RUN]
    error = said(capsys, "ppo", "--sft", chat_sft, "--prompt", "study", *new)
    assert f"{chat_sft} was made with prompt 'chat', not 'study': leave --prompt out" in error
    assert "system '', not 'Hm.'" in said(capsys, "evaluate", chat_sft, "--system", "Hm.")
    error = said(capsys, "evaluate", sft_run, ppo_run, "--prompt", "plain")
    assert "prompt 'study', not 'plain'" in error and str(sft_run) in error
    error = said(capsys, "sample", "--checkpoint", ppo_run, "--instruction", "Do {problem}", "--problem", "x")
    assert "'Write a Python program.\\n{problem}', not 'Do {problem}'" in error
    assert "study" in said(capsys, "ppo", "--resume", ppo_run, "--prompt", "chat")
    assert not (tmp_path / "o").exists()


def test_a_template_file_goes_with_the_model(capsys, tmp_path, chat_sft):
    """Its text does: the file may be gone. Another text is another prompt."""
    file = tmp_path / "mine.jinja"
    file.write_text("{{ bos_token }}Task: {{ problem }}\nProgram:\n")
    model = save(tmp_path / "m", make("gemma", "bos"))
    problems = ["--problems", chat_sft.parent / "p.jsonl", "--out", tmp_path / "sft"]
    assert command("sft", "--model", model, "--prompt", file, *problems, *TRAIN) == 0
    record = json.loads((tmp_path / "sft" / "model" / RECORD).read_text())
    assert record["template"] == file.read_text() and record["instruction"] == "{problem}"
    few = ["--num-problems", 2, "--max-new-tokens", 4]
    file.write_text("{{ problem }}")
    assert "with another text" in said(capsys, "evaluate", tmp_path / "sft", "--prompt", file, *few)
    file.unlink()
    assert command("evaluate", tmp_path / "sft", *few) == 0


def test_templates_that_cannot_be_used_end_before_anything_is_written(capsys, tmp_path):
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    model = save(tmp_path / "m", with_chat(make("qwen"), refuses + "{{ messages[-1].content }}"))
    new = ["--model", model, "--out", tmp_path / "o"]
    error = said(capsys, "sft", *new, "--system", "Be brief.", *TRAIN)
    assert f"{model}: its chat template takes no system message (no system); use --system ''" in error
    (tmp_path / "bad.jinja").write_text("{% if %}")
    assert "bad.jinja cannot be rendered" in said(capsys, "sft", *new, "--prompt", tmp_path / "bad.jinja")
    assert "neither auto, chat, study" in said(capsys, "evaluate", model, "--prompt", "no/such.jinja")
    assert "has no chat template" in said(capsys, "sft", *SFT, "--out", tmp_path / "o", "--prompt", "chat")
    assert "instruction must hold {problem} once" in said(
        capsys, "ppo", "--sft", model, "--instruction", "x", "--out", tmp_path / "o"
    )
    assert not (tmp_path / "o").exists()


def test_a_damaged_record(capsys, tmp_path):
    model = save(tmp_path / "m", make("qwen"))
    (model / RECORD).write_text("{")
    assert "not a record of a prompt" in said(capsys, "evaluate", model)


def test_a_demonstration_ends_as_a_turn_does(tmp_path, monkeypatch, chat_sft):
    """With the token that the chat template writes behind an answer, where EOS is another."""
    ends = []

    def record(config, network, state, *, eos_id, **rest):
        ends.append(eos_id)
        return True

    monkeypatch.setattr(cli.sft, "train_sft", record)
    tokenizer = with_chat(make("qwen"))
    for prompt, token in (("chat", "<|im_end|>"), ("study", tokenizer.eos_token)):
        given = ["--model", chat_sft.parent / "m", "--problems", chat_sft.parent / "p.jsonl"]
        assert command("sft", *given, "--prompt", prompt, "--out", tmp_path / prompt, *TRAIN) == 0
        assert ends.pop() == tokenizer.convert_tokens_to_ids(token)


def test_another_sft_goes_on_in_the_words_of_the_first(tmp_path, chat_sft):
    """Of a run folder or of its model; asked for, others are its own."""
    problems = ["--problems", chat_sft.parent / "p.jsonl", *TRAIN]
    first = ["--model", chat_sft, "--system", "", "--instruction", "Do {problem}", "--prompt", "chat"]
    assert command("sft", *first, *problems, "--out", tmp_path / "a") == 0
    for number, model in enumerate((tmp_path / "a", tmp_path / "a" / "model")):
        out = tmp_path / f"b{number}"
        assert command("sft", "--model", model, *problems, "--out", out) == 0
        assert (out / "model" / RECORD).read_text() == (tmp_path / "a" / "model" / RECORD).read_text()
    assert (
        command("sft", "--model", tmp_path / "a", "--prompt", "study", *problems, "--out", tmp_path / "c")
        == 0
    )
    assert json.loads((tmp_path / "c" / "model" / RECORD).read_text())["prompt"] == "study"


def test_a_run_that_stops_at_a_text(sft_run, tmp_path):
    """Cut programs end there, and count as ended."""
    out = tmp_path / "o"
    assert command("ppo", "--sft", sft_run, "--stop", "print", "--out", out, *PPO) == 0
    rows = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert any(row["ended"] for row in rows) and not any("print" in row["response"] for row in rows)
