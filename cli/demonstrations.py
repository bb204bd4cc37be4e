"""What SFT learns from: files, the embedded corpus or a model's own answers, as ids."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.errors import UsageError
from cli.problems import EMBEDDED, encode_problems, encoding_note, read_problems, refuse_contradictions
from data import Problem
from data.demonstrations import Demonstrated, load_demonstrations
from data.samples import SampleConfig, choose_samples
from data.tiny.corpus import TinyCorpusConfig
from data.tiny.slips import demonstrations
from models.errors import UnwritableText
from models.sft_data import Demonstration, short_enough
from ppo.prompts import PromptTemplate

DEFAULT = "tiny/sft"


def read_demonstrations(source: str, corpus: TinyCorpusConfig, system: str) -> Demonstrated:
    """Those of a file, or of a split of the embedded corpus. `system`: see `load_demonstrations`.

    Raises:
        DataError, UsageError: the source cannot be used, or holds nothing to learn from.
    """
    if source.startswith(EMBEDDED) and not Path(source).exists():
        return Demonstrated(demonstrations(read_problems(source, corpus), corpus))
    found = load_demonstrations(Path(source), system)
    refuse_contradictions((problem for problem, _ in found.pairs), source)
    return found


def read_samples(config: SampleConfig, source: str, corpus: TinyCorpusConfig, seed: int) -> Demonstrated:
    """Those that a model's answers make. Texts of problems are looked up in `source` where it is named."""
    named: Mapping[str, Problem] = (
        {} if source == DEFAULT else {problem.id: problem for problem in read_problems(source, corpus)}
    )
    return choose_samples(config, named, seed)


def encode_demonstrations(
    found: Demonstrated, template: PromptTemplate, *, prompt_tokens: int, tokens: int, drop_long: bool
) -> tuple[list[Demonstration], str]:
    """Demonstrations as ids, and a line about what was cut or left out.

    Args:
        prompt_tokens: longer prompts are cut, or left out with `drop_long`. `tokens`: longer demonstrations
            are left out.

    Raises:
        UsageError: none is left.
    """
    answers: dict[str, list[str]] = {}
    for problem, answer in found.pairs:
        answers.setdefault(problem.id, []).append(answer)
    problems = list({problem.id: problem for problem, _ in found.pairs}.values())
    encoded = encode_problems(problems, template, prompt_tokens, drop_long=drop_long)
    made: list[Demonstration] = []
    lost, reason = 0, ""
    for prompt in encoded.prompts:
        for answer in answers[prompt.problem.id]:
            try:
                ids = template.codec.follow(prompt.text, answer)
                made.append(Demonstration(prompt.ids, tuple(ids)))
            except UnwritableText as error:
                lost, reason = lost + 1, str(error)
    if not made:
        raise UsageError(f"every demonstration has to be left out: {reason}")
    short = short_enough(made, tokens)
    notes = [
        found.note,
        encoding_note(encoded, len(problems), prompt_tokens, template, drop_long=drop_long),
        f"{lost} demonstrations left out ({reason})" if lost else "",
        f"{len(made) - len(short)} demonstrations over {tokens} tokens left out"
        if len(short) < len(made)
        else "",
    ]
    return short, _joined(notes)


def _joined(notes: Sequence[str]) -> str:
    return "; ".join(filter(None, notes))
