"""The commands with tokenizers of many kinds: what is taught, what is left out, what is refused."""

from pathlib import Path
from typing import Any

import pytest
from small_runs import command
from tokenizer_zoo import BOS, EOS, make
from tokenizers import normalizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import cli.sft
from data import Problem, TestCase, render, write_problems
from models.tokens import TextCodec

FLAGS = ["--validation", "None", "--tune", "full", "--epochs", "1", "--threads", "1"]


def save(folder: Path, tokenizer: Any) -> Path:
    """A random model with this tokenizer."""
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def problem(name: str, program: str, text: str = "Read n. Print n + 1.") -> Problem:
    return Problem(name, text, (TestCase("1\n", "2\n"),), (program,))


@pytest.fixture
def taught(monkeypatch) -> list[Any]:
    """The demonstrations that SFT would train on; the model stays as it is."""
    seen: list[Any] = []

    def record(config, network, state, *, train, **rest):
        seen.extend(train)
        return True

    monkeypatch.setattr(cli.sft, "train_sft", record)
    return seen


@pytest.mark.parametrize("post", ["", "both"])
@pytest.mark.parametrize(
    "kind", ["byte-level, prefix space", "metaspace first", "llama legacy", "qwen", "unigram"]
)
def test_what_is_taught_is_the_program(tmp_path, taught, kind, post):
    """Behind its prompt, from the first character to the last, and nothing else."""
    program = "n = int(input())\nif n:\n    print(n + 1)\n"
    write_problems(tmp_path / "p.jsonl", [problem("a", program), problem("b", " " + program)])
    model = save(tmp_path / "m", make(kind, post))
    arguments = ["--model", model, "--problems", tmp_path / "p.jsonl", "--out", tmp_path / "o", *FLAGS]
    assert command("sft", *arguments) == 0
    codec = TextCodec(make(kind, post))
    for demonstration, expected in zip(taught, [program, " " + program], strict=True):
        assert demonstration.prompt_ids == (*codec.bos, *codec.encode(render(problem("a", ""))).ids)
        assert codec.decode(demonstration.completion_ids) == expected


def test_stop_tokens_in_texts(capsys, tmp_path, taught):
    """Written as text where the tokenizer can, else left out and counted: problems and solutions alike."""
    problems = [
        problem("a", "print(1)"),
        problem("b", f"print('{EOS}')"),
        problem("c", "print(3)", text=f"Print 3. {EOS} Thanks."),
    ]
    write_problems(tmp_path / "p.jsonl", problems)
    for kind, count in (("byte-level", 3), ("unigram", 1)):
        model = save(tmp_path / kind, make(kind))
        arguments = ["--model", model, "--problems", tmp_path / "p.jsonl", "--out", tmp_path / f"o-{kind}"]
        assert command("sft", *arguments, *FLAGS) == 0
        assert len(taught) == count
        ids = [i for d in taught for i in (*d.prompt_ids, *d.completion_ids)]
        assert make(kind).eos_token_id not in ids
        taught.clear()
    said = " ".join(capsys.readouterr().out.split())
    assert "1 whose text holds a stop token left out; 1 demonstrations left out" in said
    assert command("evaluate", tmp_path / "unigram", "--problems", tmp_path / "p.jsonl") == 2
    assert "problem c: its text holds a stop token" in capsys.readouterr().err


def test_nothing_left_to_learn_from(capsys, tmp_path):
    write_problems(tmp_path / "p.jsonl", [problem("a", f"print('{BOS}')")])
    model = save(tmp_path / "m", make("unigram"))
    arguments = ["--model", model, "--problems", tmp_path / "p.jsonl", "--out", tmp_path / "o", *FLAGS]
    assert command("sft", *arguments) == 2
    assert "every demonstration has to be left out" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_tokenizer_that_loses_something(capsys, tmp_path):
    """One line, before any training, from every command that opens a model."""
    backend = make("gemma").backend_tokenizer
    lossy = PreTrainedTokenizerFast(tokenizer_object=type(backend).from_str(backend.to_str()), eos_token=EOS)
    lossy.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(" ", "▁")]
    )
    model = save(tmp_path / "m", lossy)
    for name, arguments in {
        "sft": ["--model", model, *FLAGS],
        "ppo": ["--sft", model],
        "evaluate": [model],
        "sample": ["--checkpoint", model, "--problem", "x"],
    }.items():
        out = [] if name == "sample" else ["--out", tmp_path / "o"]
        assert command(name, *arguments, *out) == 2
        said = capsys.readouterr().err
        assert "upper and lower case" in said and str(model) in said and said.count("\n") == 1
        assert not (tmp_path / "o").exists()
