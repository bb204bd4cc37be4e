"""Families of micro-tasks with a loop over integers, or a loop's result."""

from data.tiny.family import INT, Family, integers

_COUNT = integers(2, 9)


def _product(numbers: range) -> int:
    result = 1
    for number in numbers:
        result *= number
    return result


LOOPS = (
    Family(
        "countdown",
        INT,
        "for i in range({a}, 0, -1):\n    print(i)",
        lambda a: list(range(a, 0, -1)),
        (lambda a: list(range(1, a + 1)), lambda a: list(range(a, -1, -1))),
        _COUNT,
        seen=(
            "{P} the integers from {a} down to 1.",
            "Count down from {a} to 1.",
            "On {a} lines {p} the integers from {a} down to 1.",
            "{P} 1 to {a} in reverse order, each on a new line.",
            "Start at {a} and count down to 1.",
        ),
        unseen=("{P} each integer from {a} down to 1.",),
    ),
    Family(
        "count_up",
        INT,
        "for i in range(1, {a} + 1):\n    print(i)",
        lambda a: list(range(1, a + 1)),
        (lambda a: list(range(1, a)), lambda a: list(range(a))),
        _COUNT,
        seen=(
            "{P} the integers from 1 to {a}.",
            "Count from 1 to {a}.",
            "On {a} lines {p} the integers from 1 to {a}.",
            "{P} 1 to {a}, each on a new line.",
            "Start at 1 and count up to {a}.",
        ),
        unseen=("{P} each integer from 1 up to {a}.",),
    ),
    Family(
        "range_line",
        INT,
        "print(*range({a}))",
        lambda a: " ".join(map(str, range(a))),
        (lambda a: " ".join(map(str, range(1, a + 1))), lambda a: list(range(a))),
        _COUNT,
        seen=(
            "{P} the integers from 0, below {a}, on one line.",
            "{P} the first {a} integers from 0 on one line.",
            "{P} 0 to {a} minus 1 on one line.",
            "Count from 0 on one line and stop before {a}.",
            "On one line {p} {a} integers, starting at 0.",
        ),
        unseen=("On one line {p} the integers from 0, below {a}.",),
    ),
    Family(
        "squares",
        INT,
        "for i in range(1, {a} + 1):\n    print(i * i)",
        lambda a: [i * i for i in range(1, a + 1)],
        (lambda a: [i * i for i in range(1, a)], lambda a: list(range(1, a + 1))),
        _COUNT,
        seen=(
            "{P} the squares of 1 to {a}.",
            "{P} the square of each integer from 1 to {a}.",
            "For each integer from 1 up to {a}, {p} its square.",
            "On {a} lines {p} the squares of 1 to {a}.",
            "Multiply each of 1 to {a} by itself and {p} it.",
        ),
        unseen=("{P} the squares of the integers from 1 to {a}.",),
    ),
    Family(
        "multiples",
        INT,
        "for i in range(1, {a} + 1):\n    print(i * {k})",
        lambda a, k: [i * k for i in range(1, a + 1)],
        (lambda a, k: [i * k for i in range(a)], lambda a, k: [i + k for i in range(1, a + 1)]),
        _COUNT,
        seen=(
            "{P} the first {a} multiples of {k}.",
            "{P} {k} times 1 to {a}, on {a} lines.",
            "For each integer from 1 to {a}, {p} it times {k}.",
            "On {a} lines {p} the multiples of {k}.",
            "Start at {k} and count up {a} times in steps of {k}.",
        ),
        unseen=("{P} {a} multiples of {k}, from {k} up.",),
        k=range(3, 20),
    ),
    Family(
        "evens",
        INT,
        "for i in range(2, {a} + 1, 2):\n    print(i)",
        lambda a: list(range(2, a + 1, 2)),
        (lambda a: list(range(2, a, 2)), lambda a: list(range(1, a + 1, 2))),
        integers(2, 15),
        seen=(
            "{P} the even integers from 2 to {a}.",
            "Count from 2 to {a} in steps of 2.",
            "For each integer from 1 to {a}, {p} it if it is even.",
            "Start at 2 and count up to {a} in steps of 2.",
            "{P} 2 to {a}, even integers only.",
        ),
        unseen=("{P} each even integer from 2 up to {a}.",),
    ),
    Family(
        "sum_to",
        INT,
        "print(sum(range({a} + 1)))",
        lambda a: sum(range(a + 1)),
        (lambda a: sum(range(a)), lambda a: a),
        integers(2, 30),
        seen=(
            "{P} the sum of the integers from 1 to {a}.",
            "Add up 1 to {a} and {p} the sum.",
            "Find the sum of 1 to {a} and {p} it.",
            "{P} the sum of the first {a} integers from 1.",
            "{P} what 1 to {a} add up to.",
        ),
        unseen=("Add up the integers from 1 to {a} and {p} it.",),
    ),
    Family(
        "factorial",
        INT,
        "r = 1\nfor i in range(1, {a} + 1):\n    r = r * i\nprint(r)",
        lambda a: _product(range(1, a + 1)),
        (lambda a: _product(range(1, a)), lambda a: sum(range(a + 1))),
        _COUNT,
        seen=(
            "{P} the factorial of {a}.",
            "{P} the product of the integers from 1 to {a}.",
            "Find the factorial of {a} and {p} it.",
            "{P} the product of 1 to {a}.",
            "Take the product of the first {a} integers from 1 and {p} it.",
        ),
        unseen=("Multiply the integers from 1 to {a} and {p} it.",),
    ),
    Family(
        "stars",
        INT,
        'print("*" * {a})',
        lambda a: "*" * a,
        (lambda a: "*" * (a + 1), lambda a: ["*"] * a),
        _COUNT,
        seen=(
            "{P} {a} stars on one line.",
            "{P} a row of {a} stars.",
            "{P} {a} stars in a row.",
            "{P} a star repeated {a} times.",
            "On one line {p} {a} stars.",
        ),
        unseen=("{P} a line of {a} stars.",),
    ),
    Family(
        "say",
        INT,
        'for i in range({a}):\n    print("{k}")',
        lambda a, k: [k] * a,
        (lambda a, k: [k] * (a + 1), lambda a, k: k * a),
        _COUNT,
        seen=(
            "{P} the word {k} on {a} lines.",
            "{P} {k} on each of {a} lines.",
            "On {a} lines {p} the word {k}.",
            "{P} {k} {a} times, each time on a new line.",
            "Repeat the word {k} {a} times and {p} each on its own line.",
        ),
        unseen=("{P} {a} lines with the word {k}.",),
        k=("hi", "ok", "go", "hey", "yes", "no"),
    ),
    Family(
        "divisors",
        INT,
        "for i in range(1, {a} + 1):\n    if {a} % i == 0:\n        print(i)",
        lambda a: [i for i in range(1, a + 1) if a % i == 0],
        (lambda a: [i for i in range(1, a) if a % i == 0], lambda a: list(range(1, a + 1))),
        integers(2, 40),
        seen=(
            "{P} the divisors of {a}.",
            "{P} the integers that divide {a}.",
            "Find the divisors of {a} and {p} them.",
            "For each integer from 1 to {a}, {p} it if it divides {a}.",
            "{P} all integers by which {a} is divisible.",
        ),
        unseen=("{P} each integer from 1 to {a} that divides {a}.",),
    ),
)
