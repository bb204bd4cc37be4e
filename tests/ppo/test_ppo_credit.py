"""Token credit: lines, characters and tokens of known places, and that off is plain PPO."""

import sys
from itertools import pairwise
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from loop_helpers import ToyScorer, metrics_of, run, toy_config
from ppo_helpers import buffer_of, normal, prompts_of, rollout, small_config
from tokenizer_zoo import KINDS, make

from data import Answer
from models.batch import TokenBatch
from models.tokens import TextCodec
from ppo.credit import credit_weights, line_starts, line_weights, token_spans, token_weights, unexecuted_lines
from ppo.losses import policy_loss
from ppo.rollout import PlainScore, Responses


@given(st.text(alphabet=st.sampled_from("ab\n\r\t\f\v\x1c\u2028é"), max_size=30))
@example("a\r\nb\rc\nd")
@example("\x0ca\u2028b")
def test_lines_are_those_that_python_counts(program):
    """CRLF ends one line, CR alone too; what splitlines cuts at besides (form feeds, U+2028) does not."""
    starts = line_starts(program)
    assert starts[0] == 0 and len(starts) == program.replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1
    for start in starts[1:]:
        assert program[start - 1] in "\r\n" and program[start - 1 : start + 1] != "\r\n"


def by_characters(tokenizer: Any, text: str) -> tuple[list[int], list[int]]:
    """The text as ids of single bytes, and for each the index of its character: known by construction."""
    ids, characters = [], []
    for index, character in enumerate(text):
        new = tokenizer(character).input_ids
        ids += new
        characters += [index] * len(new)
    return ids, characters


PROGRAMS = [
    "x = 1\nx = 1\nx = 1\n",  # the same line three times
    "if 1:\n\tprint('é€😀')\n\tfail()\n",
    "a = 1\r\nb = 2\r\nc = 3",
    "s = '日本'\rprint(s)\n",
    "\n\n\x0cx = '\u2028'\ny\n",
]


def lines_of_characters(program: str) -> list[int]:
    """The number of the line that each character is in, by a walk over them; an end belongs to its line."""
    numbers, line = [], 1
    for character, following in zip(program, [*program[1:], ""], strict=True):
        numbers.append(line)
        line += character == "\n" or (character == "\r" and following != "\n")
    return numbers


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("prose", ["", "Hier ist es, süß:\n```python\n"])
def test_tokens_belong_to_the_lines_they_write(tokenizer, program, prose):
    """Every byte of every character has its line's weight: repeated lines, tabs, é, €, 😀, CRLF, CR."""
    text = prose + program + "```\n"
    ids, characters = by_characters(tokenizer, text)
    spans = token_spans([*ids, tokenizer.eos_token_id], text, tokenizer.decode)
    assert [start for start, _ in spans[:-1]] == characters and spans[-1] == (len(text), len(text))
    numbers = [0] * len(prose) + lines_of_characters(program) + [0] * 4  # of the characters; 0: no line of it
    count = len(line_starts(program))
    for line in set(numbers) - {0}:
        answer = Answer(program, len(prose))
        weights = token_weights(spans, answer, [1.0 + 2.0 * (n == line) for n in range(1, count + 1)])
        expected = [1.0 + 2.0 * (numbers[character] == line) for character in characters] + [1.0]
        assert weights == pytest.approx([w * len(expected) / sum(expected) for w in expected])


@given(st.text(max_size=20))
def test_spans_cover_the_text_in_order(tokenizer, text):
    """Whatever the text and the merges: spans follow each other and end where the text does."""
    ids = tokenizer(text).input_ids
    text = tokenizer.decode(ids)
    spans = token_spans(ids, text, tokenizer.decode)
    assert all(a <= b for a, b in spans)
    assert all(b[0] in (a[0], a[1]) for a, b in pairwise(spans))
    assert not spans or (spans[0][0] == 0 and spans[-1][1] == len(text))


def ends_by_prefix(ids: list[int], text: str, decode: Any) -> list[int]:
    """Where each id ends in the text, by decoding all up to it: what `token_spans` is to find, at n² work."""
    ends: list[int] = []
    for end in range(1, len(ids) + 1):
        written = decode(ids[:end])
        alike = [written[:size] == text[:size] for size in range(min(len(written), len(text)) + 1)]
        ends.append(max([size for size, same in enumerate(alike) if same] + ends[-1:]))
    return ends


CODECS = {kind: TextCodec(make(kind)) for kind in KINDS}


@given(st.data())
@pytest.mark.parametrize("kind", KINDS)
def test_spans_are_those_of_every_prefix_decoded(kind, data):
    """Of texts, and of any ids (bytes in every order among them), under tokenizers of all kinds."""
    codec = CODECS[kind]
    words = st.text(max_size=30).map(lambda text: codec.encode(codec.plain(text)).ids)
    some = st.lists(st.integers(0, len(codec.tokenizer) - 1), max_size=12)
    ids = data.draw(st.one_of(words, some))
    text = codec.decode(ids)
    ends = ends_by_prefix(ids, text, codec.decode)
    starts = [0, *ends][: len(ids)]
    expected = [(a, min(max(b, a + 1), len(text))) for a, b in zip(starts, ends, strict=True)]
    assert token_spans(ids, text, codec.decode) == expected


STRETCHES = {
    "code": b"for i in range(10):\n    print(i)\n",
    "signs of four bytes": "😀🎈🐍".encode(),
    "bytes that are no text": b"\xff",
    "characters that never end": b"\xf0\x9f",
}


@pytest.mark.parametrize("name", STRETCHES)
@pytest.mark.parametrize("last", [b"", b"\xff"], ids=["", "then one that spoils all"])
def test_spans_cost_no_more_than_the_response_is_long(name, last):
    """Ids that are decoded, at n and 2n: about twice as many. A token a byte; where a run of such bytes is
    not valid as a whole, this kind of tokenizer makes none of them a character."""
    codec, work = TextCodec(make("gemma")), []
    for copies in (200, 400):
        tokens = [f"<0x{byte:02X}>" for byte in STRETCHES[name] * copies + last]
        ids = codec.tokenizer.convert_tokens_to_ids(tokens)
        text, decode = codec.decode(ids), Mock(side_effect=codec.decode)
        spans = token_spans(ids, text, decode)
        assert spans[0][0] == 0 and spans[-1][1] == len(text)
        work.append(sum(len(call.args[0]) for call in decode.call_args_list))
    assert work[1] < 2.2 * work[0] and work[1] < 20 * len(ids)


def test_a_token_over_two_lines_weighs_in_between(tokenizer):
    """The mean over its characters: ";\\nb" between lines of weight 4 and 1 weighs (4 + 4 + 1) / 3."""
    weights = token_weights([(0, 1), (1, 4), (4, 5)], Answer("a;\nbc", 0), [4.0, 1.0])
    assert [w / weights[2] for w in weights] == pytest.approx([4.0, 3.0, 1.0]) and sum(
        weights
    ) == pytest.approx(3)


def test_behind_a_stub_lines_are_those_of_the_whole_program_and_tokens_those_of_the_body():
    """A stub of two lines, a body of two at character 3 of the response: lines 3 and 4 have tokens."""
    answer = Answer("ab\ncd\ne\nf", 3, given=6)
    spans = [(i, i + 1) for i in range(7)]  # "xx\ne\nf\n"
    weights = token_weights(spans, answer, [100.0, 100.0, 2.0, 4.0])
    raw = [1, 1, 1, 2, 2, 4, 1]
    assert weights == pytest.approx([7 * w / sum(raw) for w in raw])


@given(st.lists(st.floats(0, 9), min_size=3, max_size=3), st.integers(0, 4))
def test_credit_is_moved_and_never_added(weights, offset):
    """The weights of a response sum to its number of tokens, also where every line weighs 0."""
    program = "a\nb\nc"
    spans = [(i, i + 1) for i in range(offset + len(program))] + [(offset + len(program),) * 2]
    assert sum(token_weights(spans, Answer(program, offset), weights)) == pytest.approx(len(spans))


LOOP = "n = 3\nfor i in range(n):\n    if i:\n        print(1 / 0)\n    print(i)\nprint(n)\n\nprint('end')\n"


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([(2, 4)], [6, 7, 8, 9]),  # the loop's own last line ran before the crash, and is not behind it
        ([(1, 1)], [2, 3, 4, 5, 6, 7, 8, 9]),
        ([(1, 1), (6, 6)], [7, 8, 9]),  # what any run reached was reached
        ([(2, 4), None], []),  # a run without a traceback may have executed everything
        ([(None, 4)], []),  # on the way out: all of the module's code had run
        ([], []),
    ],
)
def test_lines_that_were_never_reached(runs, expected):
    """Lines behind the failed top-level statement, and no other."""
    assert list(unexecuted_lines(LOOP, runs)) == expected


@pytest.mark.parametrize("top", range(1, 6))
def test_lines_called_unexecuted_do_not_execute(top):
    """Against the interpreter: a program that raises at its statement `top`, traced line by line."""
    lines = [f"a{n} = {n}" for n in range(1, 6)]
    lines[top - 1] = "1 / 0"
    program = "\n".join(lines)
    ran = set()

    def trace(frame: Any, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename == "program.py" and event == "line":
            ran.add(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with pytest.raises(ZeroDivisionError):
            exec(compile(program, "program.py", "exec"), {})
    finally:
        sys.settrace(before)
    assert set(unexecuted_lines(program, [(top, top)])) == set(range(1, 6)) - ran


def test_a_program_that_does_not_parse_has_no_unexecuted_lines():
    """Nothing of it ran, so masking would leave nothing; the line that the compiler names may weigh more."""
    program = "a = 1\nb = (\nc = 2\n"
    assert line_weights(program, [(None, 2)], 3.0, mask_unexecuted=True) == [1.0, 3.0, 1.0, 1.0]


def test_lines_of_a_traceback_beyond_the_program_are_ignored():
    """A program can write what looks like a traceback."""
    for line in (77, 0):
        assert line_weights("a\n", [(None, line)], 3.0, mask_unexecuted=False) == [1.0, 1.0]


class Crashed(PlainScore):
    """A score whose program raised in its second line."""

    tracebacks = ((2, 2),)


def two_responses(tokenizer: Any, text: str) -> tuple[Responses, torch.Tensor]:
    ids = torch.tensor([[*by_characters(tokenizer, text)[0], tokenizer.eos_token_id]] * 2)
    mask = torch.ones_like(ids, dtype=torch.bool)
    prompts = prompts_of(tokenizer, ["x", "y"])
    tokens = TokenBatch(torch.zeros(2, 1, dtype=torch.long), torch.ones(2, 1, dtype=torch.bool), ids, mask)
    completed = torch.zeros(2, dtype=torch.bool)
    return Responses(prompts, tokens, torch.zeros(ids.shape), completed, [text, text]), mask


def test_the_error_line_weighs_more_only_where_the_response_did_worse(tokenizer):
    """Row 0 did worse than expected, row 1 better: more weight on its error would teach the error."""
    responses, mask = two_responses(tokenizer, "a=1\nb()\nc=2")
    advantages = torch.tensor([[-1.0], [1.0]]).expand(mask.shape)
    config = small_config(error_line_weight=3.0)
    weights = credit_weights(config, responses, [Crashed(0.0)] * 2, advantages, mask, tokenizer.decode)
    assert torch.equal(weights[1], torch.ones(12))
    assert (weights[0] / weights[0, 0]).tolist() == pytest.approx([1.0] * 4 + [3.0] * 4 + [1.0] * 4)
    assert weights.sum(dim=1).tolist() == pytest.approx([12.0, 12.0])
    config = small_config(mask_unexecuted=True)
    weights = credit_weights(config, responses, [Crashed(0.0), None], advantages, mask, tokenizer.decode)
    # c=2 was never reached; the stop token is no part of the program, and keeps its weight.
    assert weights[0].tolist() == pytest.approx([12 / 9] * 8 + [0.0] * 3 + [12 / 9])
    assert torch.equal(weights[1], torch.ones(12))


def test_weights_scale_the_policy_loss_of_their_tokens_alone(make_policy):
    """Policy loss with weights = the sum of w·loss; the mask, and with it GAE and the critic, stays whole."""
    policy = make_policy(trained=True)
    buffer = buffer_of(policy, rollout(policy), [7, 1, 4, 2, 6, 3, 7, 5])
    mask = buffer.response_mask
    weights = normal(mask.shape, 9, torch.float32).abs()
    args = (buffer.old_logprobs + 0.1, buffer.old_logprobs, buffer.advantages, mask, 0.2)
    loss, stats = policy_loss(*args, weights=weights)
    expected = sum(
        weights[b, t] * policy_loss(*(x[b : b + 1, t : t + 1] for x in args[:4]), 0.2)[0]
        for b, t in mask.nonzero().tolist()
    )
    assert loss.item() == pytest.approx(float(expected) / int(mask.sum()), rel=1e-5)
    assert stats["tokens"] == mask.sum()


def test_off_is_plain_ppo_bit_for_bit(tmp_path, letters_sft):
    """Off, and on where no score knows of a traceback, give the same metrics file byte for byte."""
    for name, settings in {
        "off": {},
        "on": {"error_line_weight": 3.0, "mask_unexecuted": True},
    }.items():
        run(tmp_path / name, letters_sft, toy_config(iterations=2, **settings), ToyScorer())
    assert (tmp_path / "off/metrics.jsonl").read_bytes() == (tmp_path / "on/metrics.jsonl").read_bytes()
    mask = torch.tensor([[True, False]])
    weights = credit_weights(small_config(), None, [], torch.ones(1, 2), mask, None)  # type: ignore[arg-type]
    assert weights.tolist() == [[1.0, 0.0]]  # off looks at nothing


class CrashingScorer(ToyScorer):
    """Every program raised in its first line."""

    def __call__(self, pairs, iteration):
        class Line(PlainScore):
            tracebacks = ((1, 1),)

        return [Line(score.total) for score in super().__call__(pairs, iteration) if score is not None]


def test_on_changes_the_update(tmp_path, letters_sft):
    """With tracebacks the stop token weighs less than the program's one line: another run than plain PPO."""
    for name, settings in {"off": {}, "on": {"error_line_weight": 3.0}}.items():
        run(tmp_path / name, letters_sft, toy_config(iterations=2, **settings), CrashingScorer())
    off, on = (metrics_of(tmp_path / name) for name in ("off", "on"))
    assert off[1]["reward/mean"] == on[1]["reward/mean"]
    assert off[1]["ppo/policy_grad_norm"] != on[1]["ppo/policy_grad_norm"]
    for name in ("ppo/advantage_size", "ppo/explained_var", "ppo/ref_kl"):  # none of these sees a weight
        assert off[1][name] == on[1][name]
