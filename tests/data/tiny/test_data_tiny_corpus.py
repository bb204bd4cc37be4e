"""The generated problems: disjoint, reproducible, solved by their solutions and by nothing nearly right."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from data import Problem, TinyCorpusConfig, tiny_split
from data.tiny.corpus import FAMILIES, SPLITS, _all_splits
from data.tiny.family import Family, draw_task, make_tests, printed
from data.tiny.slips import SLIPS, compiles, demonstrations, slip
from sandbox import Report, Sandbox, Status

CONFIG = TinyCorpusConfig()
SMALL = TinyCorpusConfig(sft=120, rl=100, validation=20, heldout=30)


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Problem]]:
    return {name: tiny_split(name, CONFIG) for name in SPLITS}


def by_family(problems: list[Problem]) -> dict[str, Problem]:
    """One problem of every family."""
    return {problem.source.split("/")[1]: problem for problem in problems}


def solved(problem: Problem, report: Report) -> list[bool]:
    return [
        run.status is Status.OK and run.stdout.decode().split("\n") == test.output.split("\n")
        for test, run in zip(problem.tests, report.runs, strict=True)
    ]


# --- families ---


def test_there_are_89_families_with_names_of_their_own():
    assert len({family.name for family in FAMILIES}) == len(FAMILIES) == 89


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_is_complete(family: Family):
    assert len(family.seen) >= 4
    assert family.unseen
    assert family.near
    assert ("{k}" in family.code) == bool(family.k)


def test_no_two_families_share_a_wording():
    wordings = Counter(
        (reading, sentence)
        for family in FAMILIES
        for reading in family.shape.reading
        for sentence in (*family.seen, *family.unseen)
    )
    assert max(wordings.values()) == 1


def test_phrasings_differ_by_more_than_the_verb():
    for family in FAMILIES:
        sentences = family.seen + family.unseen
        bare = {re.sub(r"[^a-z{} ]", "", sentence.lower()) for sentence in sentences}
        assert len(bare) == len(sentences), family.name


def test_unseen_wording_is_made_of_words_that_training_knows():
    def words(texts: tuple[str, ...]) -> set[str]:
        return {word for text in texts for word in re.findall(r"[A-Za-z]+", text)}

    known = set().union(*(words(family.seen + family.shape.reading) for family in FAMILIES))
    assert set().union(*(words(family.unseen) for family in FAMILIES)) <= known


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_tests_tell_right_from_nearly_right(family: Family):
    rng = Random(1)
    for _ in range(10):
        task = draw_task(family, rng, unseen=False)
        tests = make_tests(task, rng)
        assert 3 <= len(tests) <= 5
        assert len({test.output for test in tests}) > 1
        assert all(test.input.endswith("\n") and test.output.endswith("\n") for test in tests)


def test_a_family_whose_tests_cannot_discriminate_is_an_error():
    family = FAMILIES[0]
    same = Family(
        "same",
        family.shape,
        family.code,
        family.answer,
        (family.answer,),
        family.draw,
        ("x",),
        ("y",),
        family.k,
    )
    rng = Random(0)
    with pytest.raises(RuntimeError, match="no discriminating tests"):
        make_tests(draw_task(same, rng, unseen=False), rng)


@pytest.mark.parametrize(("answer", "text"), [(7, "7\n"), ("a b", "a b\n"), ([1, 2], "1\n2\n"), ([], "")])
def test_answers_are_printed_as_print_does(answer, text):
    assert printed(answer) == text


# --- splits ---


def test_splits_have_the_sizes_asked_for_and_every_family(splits):
    assert {name: len(problems) for name, problems in splits.items()} == {
        "sft": 4000,
        "rl": 2000,
        "validation": 200,
        "heldout": 300,
    }
    for problems in splits.values():
        assert len(by_family(problems)) == 89


def test_no_prompt_occurs_twice_anywhere(splits):
    prompts = [problem.prompt for problems in splits.values() for problem in problems]
    assert len(set(prompts)) == len(prompts)
    identifiers = [problem.id for problems in splits.values() for problem in problems]
    assert len(set(identifiers)) == len(identifiers)


def pattern_of(sentence: str) -> re.Pattern[str]:
    escaped = (
        re.escape(sentence)
        .replace(r"\{P\}", "(?:Print|Output|Show)")
        .replace(r"\{p\}", "(?:print|output|show)")
    )
    return re.compile(r"\. " + re.sub(r"\\\{[abck]\\\}", r"\\S+", escaped) + "$")


def unseen_count(problems: list[Problem]) -> int:
    return sum(problem.source.endswith("/unseen") for problem in problems)


def test_a_quarter_of_validation_and_heldout_is_worded_as_no_training_problem_is(splits):
    families = {family.name: family for family in FAMILIES}
    for name, problems in splits.items():
        assert unseen_count(problems) == (len(problems) // 4 if name in ("validation", "heldout") else 0)
        for problem in problems:
            family = families[problem.source.split("/")[1]]
            own, other = family.seen, family.unseen
            if problem.source.endswith("/unseen"):
                own, other = other, own
            assert any(pattern_of(sentence).search(problem.prompt) for sentence in own)
            assert not any(pattern_of(sentence).search(problem.prompt) for sentence in other)


@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_the_unseen_share_is_what_was_asked_for(share: float):
    config = TinyCorpusConfig(sft=0, rl=100, unseen_share=share)
    assert unseen_count(tiny_split("validation", config)) == 200 * share
    assert unseen_count(tiny_split("heldout", config)) == 300 * share
    assert unseen_count(tiny_split("rl", config)) == 0


def test_there_is_room_for_twice_the_problems():
    assert len(tiny_split("sft", TinyCorpusConfig(sft=8000, rl=4000, validation=400, heldout=600))) == 8000


def test_prompts_and_solutions_are_short(splits):
    for problem in splits["sft"]:
        assert 5 <= len(problem.prompt.split()) <= 22
        assert len(problem.prompt) <= 100
        assert problem.solutions[0].count("\n") <= 6
        assert len(problem.solutions[0]) <= 100
    words = sum(len(problem.prompt.split()) for problem in splits["sft"]) / len(splits["sft"])
    assert words < 14


def test_the_seed_decides_everything():
    again = TinyCorpusConfig(**vars(SMALL))
    other = TinyCorpusConfig(**{**vars(SMALL), "seed": 1})
    for name in SPLITS:
        first = tiny_split(name, SMALL)
        _all_splits.cache_clear()  # or the second call would return the first one's result
        assert tiny_split(name, again) == first
        assert tiny_split(name, other) != first
    problems = tiny_split("sft", SMALL)
    assert demonstrations(problems, SMALL) == demonstrations(problems, again)
    assert demonstrations(problems, SMALL) != demonstrations(problems, other)


def test_heldout_problems_do_not_depend_on_the_size_of_training():
    assert tiny_split("heldout", SMALL) == tiny_split("heldout", TinyCorpusConfig(heldout=30, sft=500))


def test_the_hash_seed_of_the_interpreter_plays_no_part():
    code = (
        "import hashlib; from data import TinyCorpusConfig, tiny_split;"
        "from data.tiny.slips import demonstrations;"
        "c = TinyCorpusConfig(sft=60, rl=10, validation=10, heldout=10);"
        "print(hashlib.sha256(repr(demonstrations(tiny_split('sft', c), c)).encode()).hexdigest())"
    )
    root = Path(__file__).parents[3]
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            cwd=root,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1


def test_what_cannot_be_made_is_refused():
    with pytest.raises(ValueError, match="no split 'train'"):
        tiny_split("train")
    with pytest.raises(ValueError, match="no new prompts left"):
        tiny_split("sft", TinyCorpusConfig(sft=30_000))
    with pytest.raises(ValueError, match="count"):
        TinyCorpusConfig(rl=-1)
    for name in ("slip_rate", "unseen_share"):
        with pytest.raises(ValueError, match=f"{name} is 1.5; a share"):
            TinyCorpusConfig(**{name: 1.5})
    with pytest.raises(ValueError, match="above 1"):
        TinyCorpusConfig(syntax_share=0.7, runtime_share=0.7)


# --- demonstrations ---


def test_slips_come_in_the_shares_asked_for(splits):
    programs = demonstrations(splits["sft"], CONFIG)
    assert [problem for problem, _ in programs] == splits["sft"]
    broken = sum(not compiles(program) for _, program in programs) / len(programs)
    # Those whose first slip is one of syntax, and those of the others that carry a second one.
    one_of_syntax = CONFIG.syntax_share + (1 - CONFIG.syntax_share) * CONFIG.second_slip
    assert broken == pytest.approx(CONFIG.slip_rate * one_of_syntax, abs=0.03)
    read_by_eval = re.compile(r"\beval\(input")
    eligible = [program for problem, program in programs if "int(input())" in problem.solutions[0]]
    assert sum(bool(read_by_eval.search(program)) for program in eligible) / len(eligible) == pytest.approx(
        CONFIG.eval_share, abs=0.06
    )


def test_without_slips_and_eval_the_demonstrations_are_the_solutions():
    config = TinyCorpusConfig(sft=100, slip_rate=0, eval_share=0)
    assert all(
        program == problem.solutions[0]
        for problem, program in demonstrations(tiny_split("sft", config), config)
    )


def test_a_demonstration_does_not_depend_on_its_neighbours():
    problems = tiny_split("sft", SMALL)
    assert demonstrations(problems[::-1], SMALL) == demonstrations(problems, SMALL)[::-1]


@pytest.mark.parametrize("category", SLIPS)
def test_every_family_can_slip_in_every_way(splits, category):
    for problem in by_family(splits["sft"]).values():
        for seed in range(3):
            program = slip(problem.solutions[0], category, Random(seed))
            assert program != problem.solutions[0]
            assert compiles(program) == (category not in ("syntax", "again"))


def test_slips_are_spread_so_that_right_stays_the_rule(splits):
    program = "n = int(input())\nprint(n + 7)\n"
    for category in SLIPS:
        outcomes = Counter(slip(program, category, Random(seed)) for seed in range(400))
        assert len(outcomes) >= 8
        assert max(outcomes.values()) < 400 * 0.35


# --- through the sandbox ---


@pytest.fixture(scope="module")
def box():
    with Sandbox() as sandbox:
        yield sandbox


def run(box: Sandbox, pairs: list[tuple[Problem, str]]) -> list[Report]:
    return box.map([(program, [test.input for test in problem.tests]) for problem, program in pairs])


def test_every_family_s_solution_passes_its_own_tests(splits, box):
    pairs = [(problem, problem.solutions[0]) for problem in by_family(splits["heldout"]).values()]
    for (problem, _), report in zip(pairs, run(box, pairs), strict=True):
        assert all(solved(problem, report)), problem


def test_a_constant_never_passes(splits, box):
    problems = list(by_family(splits["rl"]).values())
    pairs = [(problem, f"print({problem.tests[0].output[:-1]!r})") for problem in problems]
    for (problem, _), report in zip(pairs, run(box, pairs), strict=True):
        assert not all(solved(problem, report)), problem


def test_slips_do_what_their_category_says(splits, box):
    problems = list(by_family(splits["validation"]).values())[::2]
    for category, least_failing, least_crashing in (("runtime", 0.95, 0.8), ("meaning", 0.95, 0.0)):
        pairs = [(p, slip(p.solutions[0], category, Random(p.id))) for p in problems]
        reports = run(box, pairs)
        assert all(report.compiles for report in reports)
        failing = sum(not all(solved(p, report)) for (p, _), report in zip(pairs, reports, strict=True))
        crashing = sum(any(one.status is Status.CRASH for one in report.runs) for report in reports)
        assert failing / len(problems) >= least_failing
        assert crashing / len(problems) >= least_crashing
    pairs = [(p, slip(p.solutions[0], "syntax", Random(p.id))) for p in problems[:20]]
    assert not any(report.compiles for report in run(box, pairs))


# --- borders ---


def test_the_room_needs_no_torch():
    blocked = {"torch", "transformers", "peft", "numpy", "reward", "sandbox", "ppo", "models"}
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {blocked}:\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "import data\n"
        "assert set(data.__all__) <= set(vars(data))\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=True)
