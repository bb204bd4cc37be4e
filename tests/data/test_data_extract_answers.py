"""Answers as chat models write them, and the program a reader would take from each.

The task is to read n and print n + 1. What a response is worth does not depend on how its program is fenced.
"""

import ast
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import extract

FENCE = "```"
P = "n = int(input())\nprint(n + 1)\n"
MAIN = "def main():\n    n = int(input())\n    print(n + 1)\n\n\nif __name__ == '__main__':\n    main()\n"
DRAFT = "n = int(input())\nprint(n)\n"
FUNCTION = "def add_one(n):\n    return n + 1\n"
CPP = "#include <iostream>\nusing namespace std;\nint main() {\n    int n;\n    cin >> n;\n}\n"
WHOLE = FUNCTION + "print(add_one(int(input())))\n"
TURN = "### Instruction:\nWrite a Python program.\nPrint n twice.\n### Response:\n"


def fenced(code: str, info: str = "python") -> str:
    return f"{FENCE}{info}\n{code}{FENCE}\n"


ANSWERS = {
    # fences of every kind
    "python": (fenced(P), P),
    "no language": (fenced(P, ""), P),
    "upper case": (fenced(P, "Python"), P),
    "spaces behind the language": (fenced(P, "python   \t"), P),
    "a space before the language": (fenced(P, " python"), P),
    "pandoc": (fenced(P, "{.python}"), P),
    "pandoc with numbers": (fenced(P, '{.python .numberLines startFrom="1"}'), P),
    "R markdown": (fenced(P, "{python}"), P),
    "a title": (fenced(P, 'python title="add one.py"'), P),
    "a file's name": (fenced(P, "python main.py"), P),
    "a file's name behind a colon": (fenced(P, "python:src/main.py"), P),
    "highlighted lines": (fenced(P, "python {1,3-4}"), P),
    "tildes": (f"~~~\n{P}~~~\n", P),
    "tildes and language": (f"Here:\n~~~python\n{P}~~~\nDone.", P),
    "four backticks": (f"````python\n{P}````\n", P),
    "a fence in a fence": (f"````markdown\nThe program:\n{FENCE}python\n{P}{FENCE}\n````\n", P),
    "PYTHON tags": (f"[PYTHON]\n{P}[/PYTHON]", P),
    "PYTHON tags on the line": (f"[PYTHON]{P}[/PYTHON]\n[TESTS]\nassert 1\n[/TESTS]", P),
    "HTML": (f"<pre><code>{P}</code></pre>", P),
    "HTML with a class": (f'<pre>\n<code class="language-python">\n{P}</code>\n</pre>', P),
    "an answer tag": (f"<think>\nAdd 1 to n.\n</think>\n<answer>\n{P}</answer>", P),
    "an indented fence": (f"1. Do this:\n\n   {FENCE}python\n{P}   {FENCE}\n", P),
    "an indented statement": (
        f"1. Do this:\n\n    {FENCE}python\n    print(int(input()) + 1)\n    {FENCE}\n",
        "print(int(input()) + 1)\n",
    ),
    "one line": (f"{FENCE}print(int(input()) + 1){FENCE}", "print(int(input()) + 1)"),
    "one line and language": (f"{FENCE}python print(int(input()) + 1){FENCE}", "print(int(input()) + 1)"),
    "closed behind the last line": (f"{FENCE}python\n{P.rstrip()}{FENCE}", P.rstrip()),
    "never closed": (f"Sure! Here is the code:\n\n{FENCE}python\n{P}", P),
    "never opened": (f"{P}{FENCE}\n\nThis reads n.", P),
    "CRLF": (fenced(P).replace("\n", "\r\n"), P.replace("\n", "\r\n")),
    "single backticks": ("`print(int(input()) + 1)`", "print(int(input()) + 1)"),
    "single backticks over lines": (f"`{P}`", P),
    "double backticks": ("``print(int(input()) + 1)``", "print(int(input()) + 1)"),
    "single backticks in a sentence": (
        "You can use `input()` to read: `print(int(input()) + 1)` does it.",
        "print(int(input()) + 1)",
    ),
    "single backticks on a line, and words with more": (
        "`print('You entered: {}'.format(n + 1))`\n\nThis code uses the built-in `input()` function.",
        "print('You entered: {}'.format(n + 1))",
    ),
    "single backticks between lines of words": (
        "Use `print` and an f-string:\n\n ``print(f'n is {5}')`` \n\nIt prints `n is 5`.",
        "print(f'n is {5}')",
    ),
    "no program but a name in backticks": (
        "Call `print(n)` with `n`, which adds 1.",
        "Call `print(n)` with `n`, which adds 1.",
    ),
    "a fence in the program": (fenced(f'{P}text = """\n{FENCE}\n"""\n'), f'{P}text = """\n{FENCE}\n"""\n'),
    # words around
    "words around": (f"Sure! Here it is:\n\n{fenced(P)}\nThis program adds `1`. Hope this helps!", P),
    "words without a fence": (f"Sure! Here is the program:\n\n{P}\nThis program adds 1 (one) to n.\n", P),
    "a list behind it": (f"{P}\nExplanation:\n- The first line reads n.\n- The second line prints it.\n", P),
    "headings": (f"### Solution\n\n{fenced(P)}\n### Explanation\n\nRead `n`, print it.", P),
    "headings without a fence": (f"**Solution:**\n\n{P}\n**Explanation:** this adds one.", P),
    "an example behind it": (f"{fenced(P)}\nInput:\n{fenced('5', '')}\nOutput:\n{fenced('6', '')}", P),
    "an example before it": (f"For 5 print 6:\n{fenced('5', 'text')}{fenced('6', 'text')}\n{fenced(P)}", P),
    "an example without a fence": (f"{P}\nInput: the number 5\nOutput: 6\n", P),
    "a shell session": (f"{fenced(P)}\nRun it:\n{fenced('$ echo 5 | python3 main.py', 'bash')}", P),
    "a doctest": (fenced(P) + fenced(">>> add_one(5)\n6\n"), P),
    "its lines explained": (
        f"{fenced(P)}\nHere {fenced('n = int(input())')} reads and {fenced('print(n + 1)')} prints.",
        P,
    ),
    "a wrapped paragraph": (
        f"{P}\nThis program reads a number and\nprints that number plus one (n + 1).\n",
        P,
    ),
    "a question behind it": (f"{P}\nIs there anything else you need?\n", P),
    "steps": (f"Step 1: Read n\nStep 2: Print n + 1\n\n{P}", P),
    "a label": (f"Python code:\n\n{P}", P),
    "a rule": (f"{P}\n---\n\nThat adds 1 to n.\n", P),
    "an unknown tag": (f"<program>\n{P}</program>\n", P),
    "an unknown tag in brackets": (f"[SOLUTION]\n{P}[/SOLUTION]\n", P),
    "LaTeX": (f"\\begin{{lstlisting}}[language=Python]\n{P}\\end{{lstlisting}}\n", P),
    "a question and its answer": (f"{P}\nQ: What is two and two?\nA: 4\n", P),
    # several programs
    "a draft in thinking": (f"<think>\n{fenced(DRAFT)}No, n + 1.\n</think>\n{fenced(P)}", P),
    "a bare draft in thinking": (f"<think>\n{DRAFT}</think>\n{P}", P),
    "a first try": (f"Here is a first try:\n{fenced(DRAFT)}That prints n. Better:\n{fenced(P)}", P),
    "a first try without fences": (f"Here is a first try.\n{DRAFT}\nThat is wrong, of course.\n{P}", P),
    "a draft, then cut off": (f"{fenced(P)}Or with a function:\n{FENCE}python\ndef main(:\n    n = in", P),
    "a first try that is broken": (f"{fenced('n = int(input()')}Fixed:\n{fenced(P)}", P),
    "an example of use": (f"{fenced(FUNCTION)}Use it so:\n{fenced('print(add_one(5))')}", FUNCTION),
    "a helper, then all of it": (f"{fenced(FUNCTION)}So:\n{fenced(WHOLE)}", WHOLE),
    "an empty fence before it": (f"{FENCE}python\n{FENCE}\n{fenced(P, '')}", P),
    "empty fences around it": (f"{FENCE}\n{FENCE}\n{fenced(P)}{FENCE}\n{FENCE}\n", P),
    "between mispaired fences": (f"{FENCE}\n{FENCE}\n{P}{FENCE}\nThis adds 1.\n{FENCE}", P),
    "C++ behind it": (f"{fenced(P)}In C++:\n{fenced(CPP, 'cpp')}", P),
    "C++ before it": (f"{fenced(CPP, 'cpp')}In Python:\n{fenced(P, '')}", P),
    "C++ behind it without fences": (f"{P}\n{CPP}", P),
    "JavaScript behind it": (f"{fenced(P)}{fenced('console.log(prompt() + 1)', 'javascript')}", P),
    # more turns than one
    "a second instruction": (f"{P}\n{TURN}{fenced('print(input() * 2)')}", P),
    "a second instruction behind a fence": (f"{fenced(P)}\n{TURN}{DRAFT}", P),
    "a broken program, then a right one to another question": (f"print(1\n{TURN}{P}", "print(1\n"),
    "the instruction once more": (f"{TURN}{P}", P),
    "the response's heading": (f"### Response:\nSure!\n\n{P}", P),
    "marks of a chat": (f"<|im_start|>assistant\n{fenced(P)}<|im_end|>\n<|im_start|>user\nThanks!", P),
    "marks of Gemma's chat": (f"{P}<end_of_turn>\n<start_of_turn>user\nThanks!", P),
    "marks of Llama's chat": (f"{P}<|start_header_id|>user<|end_header_id|>\n\nThanks!", P),
    "marks of Mistral's chat": (f"[/INST] {fenced(P)}[INST] Thanks! [/INST]", P),
    "the model's turn in Gemma's chat": (f"<start_of_turn>model\n{P}<end_of_turn>", P),
    "a language and an option": (f"{FENCE}python,editable\n{P}{FENCE}", P),
    "single backticks with a language": (f"`python\n{P}`", P),
    "double backticks with a language": (f"``Python3\n{P}``", P),
    "a user's turn": (f"{P}\nUser: How does it work?\nAssistant: It adds 1.\n", P),
    # nothing to run
    "a number": (fenced("0.9375\n"), "0.9375\n"),
    "a broken program with an example": (
        f"{fenced('n = int(input()', '')}Output:\n{fenced('6', '')}",
        "n = int(input()",
    ),
    "a main guard": (f"Here:\n{fenced(MAIN)}", MAIN),
}


@pytest.mark.parametrize(("answer", "program"), ANSWERS.values(), ids=ANSWERS.keys())
def test_the_program_of_an_answer(answer, program):
    found, offset = extract(answer)
    assert found == program
    assert answer[offset : offset + len(found)] == found
    assert extract(found) == (found, 0)


@pytest.mark.parametrize(
    "answer", [f"{FENCE}\n" * 4, f"{FENCE}python\n{FENCE}", "~~~\n \n~~~", "[PYTHON][/PYTHON]"]
)
def test_an_answer_of_empty_fences_is_no_program(answer):
    program, _ = extract(answer)
    with pytest.raises(SyntaxError):
        ast.parse(program)


# --- what a response is worth does not depend on fences ---

names = st.sampled_from(["n", "x", "total"])
numbers = st.integers(0, 99)
reading = st.builds("{} = int(input())".format, names)
steps = st.one_of(
    st.builds("{0} = {1}".format, names, numbers),
    st.builds("for i in range({}):\n    x = i * {}".format, numbers, numbers),
    st.builds("def f(a):\n    return a + {}".format, numbers),
    st.builds("text = {!r}".format, st.text("ab #'\"\\{}[]<>", max_size=6)),
    st.builds("# {} `x`".format, names),
    st.just(""),
)
printing = st.builds("print({} + {})".format, numbers, numbers)
complete = st.tuples(reading, st.lists(steps, max_size=4), printing).map(
    lambda parts: "\n".join([parts[0], *parts[1], parts[2]]) + "\n"
)

OPENINGS = [
    (f"{FENCE}\n", f"{FENCE}\n"),
    (f"{FENCE}python\n", f"{FENCE}\n"),
    (f"{FENCE}py  \n", f"{FENCE}  \n"),
    (f"{FENCE}{{.python}}\n", f"{FENCE}\n"),
    (f'{FENCE}python title="x"\n', f"{FENCE}\n"),
    (f"   {FENCE}python\n", f"   {FENCE}\n"),
    ("````python3\n", "````\n"),
    ("~~~\n", "~~~\n"),
    ("~~~python\n", "~~~\n"),
    ("[PYTHON]\n", "[/PYTHON]\n"),
    ("<code>\n", "</code>\n"),
    (f"{FENCE}python\n", ""),
    (f"{FENCE}\n{FENCE}\n", f"{FENCE}\n"),
    (f"{FENCE}python\n{FENCE}\n{FENCE}\n", f"{FENCE}\n"),
]
BEFORE = [
    "",
    "Sure! Here is the program:\n\n",
    f"For 5 it prints 6:\n{FENCE}\n5\n{FENCE}\n",
    "<think>\nAdd.\n</think>\n",
]
AFTER = ["", "\nThis reads a number (n) and prints it.\n", f"\n{FENCE}text\n6\n{FENCE}\n", f"\n{TURN}{P}"]


@given(complete)
@settings(max_examples=8, deadline=None)
def test_a_program_comes_out_of_every_kind_of_fence_and_words(program):
    for (opening, closing), before, after in itertools.product(OPENINGS, BEFORE, AFTER):
        if closing or not after:  # what is never closed ends the answer
            text = before + opening + program + closing + after
            assert extract(text) == (program, text.index(program)), text


@given(complete, st.sampled_from(BEFORE), st.sampled_from(AFTER))
@settings(max_examples=60, deadline=None)
def test_a_bare_program_comes_out_of_words(program, before, after):
    text = before + program + after
    found, offset = extract(text)
    assert found.strip("\n") == program.strip("\n")
    assert text[offset : offset + len(found)] == found


# --- a line that words quote is not the program ---

QUOTED = ["`{}`", "``{}``", f"{FENCE}{{}}{FENCE}", f"{FENCE}python {{}}{FENCE}", "<code>{}</code>"]
SENTENCES = [
    "The line {} prints the sum.\n",
    "It is no {}\n",
    "This is it:\n\n{}\n\nIt prints it.\n",
    "{} prints.\n",
]


@given(complete, st.sampled_from(["print(int(input()))", "for i in input(): print(i)"]))
@settings(max_examples=4, deadline=None)
def test_a_complete_program_wins_over_the_line_that_a_sentence_quotes(program, line):
    ways = [way for way in OPENINGS if way[1]]
    for (opening, closing), quoted, sentence in itertools.product(ways, QUOTED, SENTENCES):
        if sentence[0] != "{" and "\n\n" in sentence and not quoted.startswith("`{"):
            continue  # alone on its line: a fence of its own
        words = sentence.format(quoted.format(line))
        for text in (words + "\n" + opening + program + closing, opening + program + closing + "\n" + words):
            assert extract(text)[0].strip("\n") == program.strip("\n"), text


def test_a_bare_program_wins_over_the_line_that_a_sentence_quotes():
    words = "\nThe line `print(int(input()))` prints the sum.\n"
    assert extract(f"{P}{words}")[0].strip("\n") == extract(f"{words}\n{P}")[0].strip("\n") == P.strip("\n")


@pytest.mark.parametrize("quoted", QUOTED)
@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_line_that_a_sentence_quotes_is_the_program_where_there_is_no_other(quoted, sentence):
    line = "print(int(input()) + 1)"
    assert extract(sentence.format(quoted.format(line)))[0] == line


@pytest.mark.parametrize("quoted", QUOTED)
@pytest.mark.parametrize("stub", ["", "def add_one(n):\n"])
def test_a_function_that_a_sentence_quotes_is_not_the_one_that_is_asked_for(quoted, stub):
    words = (
        f"\nNote that {quoted.format('return n' if stub else 'def add_one(n): return n')} would be wrong.\n"
    )
    body = "    return n + 1\n"
    code = body if stub else FUNCTION
    assert extract(fenced(code) + words, stub, "add_one")[0] == code
    assert extract(fenced(FUNCTION) + words, stub, "add_one")[0] == FUNCTION


blanks = st.sampled_from(["", "\n", "  \n", "\t\n\n"])
openings = st.sampled_from([f"{FENCE}\n", f"{FENCE}python\n", "~~~py\n", "[PYTHON]\n"])


@given(
    st.lists(st.tuples(openings, blanks), min_size=1, max_size=4), st.permutations(range(5)), st.booleans()
)
@settings(max_examples=50, deadline=None)
def test_nothing_empty_is_taken_where_something_is_not(empty, order, whole):
    code = P if whole else "0.9375\n"
    blocks = [opening + blank + (FENCE if "`" in opening else "~~~" if "~" in opening else "[/PYTHON]") + "\n"
              for opening, blank in empty] + [fenced(code)]  # fmt: skip
    ordered = [blocks[place] for place in order if place < len(blocks)]
    assert extract("".join(ordered))[0] == code


@pytest.mark.parametrize("label", ["python\n", "Python3 \n", "py\r\n", "[BEGIN]\n", "python\npython\n"])
@pytest.mark.parametrize("end", ["", "[DONE]", "[DONE]\n"])
def test_a_label_that_is_valid_python_is_no_statement(label, end):
    """A lone name on the first line parses, and would end the program in a NameError."""
    program = "n = int(input())\nprint(n + 1)\n"
    assert extract(label + program + end) == (program, len(label))
