"""Which lines of an answer are words about a program rather than lines of one.

Conservative on purpose: a line of code with a slip in it ("For i in range(3):", "Print the n.", "improt sys")
must never be taken for prose, or a broken program would be repaired by dropping its broken line. So a line
counts as prose only where no Python could have been meant. Every pattern is linear: no two neighbouring
repetitions can match the same character.
"""

import builtins
import keyword
import re

# A capitalised word and two more, or four words: adjacent words are no Python. No "=", only round brackets.
_SENTENCE = re.compile(r"[A-Z][\w'’]*[,!]?(?: [\w'’\"`,;:/()%+.-]+){2,}[!?]?")
_WORDS = re.compile(r"[a-z][\w'’]*,?(?: [\w'’,;/()-]+){3,}[.!?]?")
# A line that begins like code may be a slip ("For i in items:", "Print the n."), unless it goes on like this.
_LONG = re.compile(r"[A-Za-z][a-z]*,?(?: [\w'’`,;-]+){4,}[.!?]")
_CODE_WORDS = {"import", "None", "True", "False", "lambda"}
_NOT_PROSE = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins)}

# A heading or item of Markdown, without "#": that is a comment, which a program may well begin or end with.
_MARKED = re.compile(r"(?:[-*•] |\d{1,3}[.)] |\*\*|> )(?P<words>.*)")
_RULE = re.compile(r"[-=_*]{3,}|</?[A-Za-z][\w-]*/?>|\[/?[A-Z][A-Z _]*\]")
# What a dialogue or a worked example puts before a colon.
_LABEL = re.compile(
    r"(?:(?:Expected |Sample |Example )?(?:Input|Output)|"
    r"(?:The |Python |Full |Complete )?(?:Code|Program|Solution)|"
    r"A|Answer|Assistant|Examples?|Explanation|Human|Notes?|Problem|Q|Question|Response|Result|Step|Usage|User)"
    r"(?: \d{1,3})?:(?: [^()=]*)?",
    re.IGNORECASE,
)
_INTERJECTION = re.compile(
    r"(?:Sure|Sure thing|Certainly|Absolutely|Of course|Okay|OK|Yes|No|Great|Done|Thanks|Thank you|Python|"
    r"Alternatively|Hello|Hi)(?:[.!,:]|\.\.\.)"
)
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
    """Whether the line is of sentences, an item of a list, a label such as "Output:", a rule or a tag."""
    line = line.rstrip()
    if len(line) > _MAX_LINE:
        return False
    if _LABEL.fullmatch(line) or _INTERJECTION.fullmatch(line) or _RULE.fullmatch(line):
        return True
    if marked := _MARKED.match(line):
        return _is_sentence(marked["words"].replace("**", "")) or line.startswith("**")
    return _is_sentence(line)


def _is_sentence(line: str) -> bool:
    words = _CODE_SPAN.sub("it", line)
    first = re.split(r"\W", words, maxsplit=1)[0]
    if {first, first.lower()} & _NOT_PROSE:
        return _LONG.fullmatch(words) is not None
    if _SENTENCE.fullmatch(words):
        return True
    return _WORDS.fullmatch(words) is not None and not _CODE_WORDS & {*words.split()}
