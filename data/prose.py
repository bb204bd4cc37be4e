"""Which lines of an answer are words about a program rather than lines of one.

Conservative on purpose: a line of code with a slip in it ("For i in range(3):", "Print the n.") must never
be taken for prose, or a broken program would be repaired by dropping its broken line. So a line counts as
prose only where no Python could have been meant. Every pattern is linear: no two neighbouring repetitions can
match the same character.
"""

import builtins
import keyword
import re

# A sentence: a capitalised word, two more, a mark at the end. No bracket but round ones and no equals sign.
_SENTENCE = re.compile(r"[A-Z][\w'’]*[,!]?(?: [\w'’\"`,;:/()%+-]+){2,}[.:!?)]")
# A heading or item of Markdown, without "#": that is a comment, which a program may well begin or end with.
_MARKED = re.compile(r"(?:[-*•] |\d{1,3}[.)] |\*\*)(?P<words>.*)")
# What a dialogue or a worked example puts before a colon.
_LABEL = re.compile(
    r"(?:Answer|Assistant|Code|Example|Examples|Explanation|Human|Input|Note|Output|Problem|Question|"
    r"Sample Input|Sample Output|Solution|User)(?: \d{1,3})?:(?: .*)?"
)
_INTERJECTION = re.compile(
    r"(?:Sure|Sure thing|Certainly|Absolutely|Of course|Okay|OK|Yes|No|Great|Done|Thanks|Thank you|"
    r"Alternatively|Hello|Hi)(?:[.!,:]|\.\.\.)"
)
# A line that begins like code may be a slip ("For i in items:", "Print the n."), unless it goes on like this.
_LONG = re.compile(r"[A-Z][a-z]*(?: [A-Za-z'’`,;]+){4,}[.!]")
_NOT_PROSE = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins)}
# Lines with which other languages begin, and Python never does: a comment or a syntax error in Python.
_FOREIGN = re.compile(
    r"#include\b|using namespace\b|(?:int|void) main\(|public (?:static |class )|import java\b|"
    r"package main\b|func main\(|function \w+\(|fn main\(|#!/bin/(?:ba)?sh"
)
_CODE_SPAN = re.compile(r"`[^`\n]*`")
_MAX_LINE = 2_000  # characters; no sentence is longer


def is_blank(line: str) -> bool:
    """Whether Python would see nothing on the line."""
    return not line.strip(" \t\r\n")


def is_comment(line: str) -> bool:
    """Whether the line holds a comment alone: harmless in a program, and a heading in Markdown."""
    return line.lstrip(" \t").startswith("#") and not is_foreign(line)


def is_foreign(line: str) -> bool:
    """Whether a program in another language begins here."""
    return _FOREIGN.match(line) is not None


def is_prose(line: str) -> bool:
    """Whether the line is a sentence, an item of a list of sentences, or a label such as "Output:"."""
    line = line.rstrip()
    if len(line) > _MAX_LINE:
        return False
    if _LABEL.fullmatch(line) or _INTERJECTION.fullmatch(line):
        return True
    if marked := _MARKED.match(line):
        return _is_sentence(marked["words"].replace("**", "")) or line.startswith("**")
    return _is_sentence(line)


def _is_sentence(line: str) -> bool:
    words = _CODE_SPAN.sub("it", line)
    first = re.split(r"\W", words, maxsplit=1)[0]
    pattern = _LONG if {first, first.lower()} & _NOT_PROSE else _SENTENCE
    return pattern.fullmatch(words) is not None
