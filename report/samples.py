"""The sample browser: programs of a few iterations, with what happened to each.

Shown are up to SHOWN samples per iteration, evenly spaced from the best score to the worst: a fair picture
of the whole rollout, and the same one every time. All of it is untrusted text.
"""

from collections import Counter
from collections.abc import Sequence

from report.curves import STAGE_COLOURS
from report.markup import details, number, text
from report.read import Row, Run, as_mapping

SHOWN = 12  # samples per iteration
TESTS = 10  # tests per sample
PROGRAM_LIMIT = 20_000  # characters of a program
TEST_LIMIT = 1_100  # characters of a test's input or output: what a record has of it
FIELD_LIMIT = 500  # characters of anything else


def samples_section(runs: Sequence[Run]) -> str:
    """The browser of all runs, or nothing where no run has samples."""
    runs = [run for run in runs if run.samples]
    if not runs:
        return ""
    body = "".join(_run(run, len(runs) > 1) for run in runs)
    return (
        '<section id="samples"><h2>Samples</h2><p>Programs of training rollouts, evenly spaced from the '
        "best score to the worst. A test is passed if the run ended cleanly and its output is right.</p>"
        f"{_filter(runs)}{body}</section>"
    )


def pick(samples: Sequence[Row], shown: int = SHOWN) -> list[Row]:
    """Up to `shown` samples, evenly spaced by score from best to worst; unscored ones last."""
    ranked = sorted(samples, key=lambda row: (row.get("score") is None, -(row.get("score") or 0.0)))
    if len(ranked) <= shown:
        return ranked
    return [ranked[i * (len(ranked) - 1) // (shown - 1)] for i in range(shown)]


def _filter(runs: Sequence[Run]) -> str:
    """One button per stage; plain buttons, so that without scripts everything is simply visible."""
    counts = Counter(_stage(row) for run in runs for samples in run.samples.values() for row in pick(samples))
    order = [stage for stage in STAGE_COLOURS if stage in counts]
    order += sorted(stage for stage in counts if stage not in STAGE_COLOURS)
    if len(order) < 2:
        return ""
    buttons = "".join(
        f'<button type="button" data-stage="{text(stage)}" aria-pressed="false">'
        f"{_chip(stage)} {counts[stage]}</button>"
        for stage in order
    )
    every = f'<button type="button" aria-pressed="true">all {counts.total()}</button>'
    return f'<div class="filter" role="group" aria-label="Stage">{every}{buttons}</div>'


def _run(run: Run, named: bool) -> str:
    heading = f"<h3>{text(run.name)}</h3>" if named else ""
    last = max(run.samples)
    return heading + "".join(
        _iteration(run, iteration, samples, iteration == last)
        for iteration, samples in sorted(run.samples.items())
    )


def _iteration(run: Run, iteration: int, samples: Sequence[Row], opened: bool) -> str:
    chosen = pick(samples)
    scores = [row["score"] for row in samples if row.get("score") is not None]
    mean = f", mean score {number(sum(scores) / len(scores), '{:.3f}')}" if scores else ""
    best = " (best on validation)" if iteration == run.best else ""
    summary = f"<b>Iteration {iteration}</b>{best}: {len(chosen)} of {len(samples)} samples{mean}"
    return details(summary, "".join(map(_sample, chosen)), opened=opened, attributes=' class="iteration"')


def _sample(row: Row) -> str:
    verdict = as_mapping(row.get("verdict"))
    stage = _stage(row)
    # A reward function's own record has no such keys.
    counts = [verdict[key] for key in ("passed", "num_tests") if key in verdict]
    tests = f"{counts[0]}/{counts[1]} tests" if len(counts) == 2 else ""
    findings = len(_rows(verdict, "findings"))
    shown = verdict.get("sentinels")
    signs = ", ".join(map(str, shown)).replace("_", " ") if isinstance(shown, list) else ""
    summary = (
        f'{_chip(stage)}<span class="score">{number(row.get("score"), "{:.3f}")}</span>'
        f'<span>{text(tests)}</span><span class="problem">{text(row.get("problem", ""), FIELD_LIMIT)}</span>'
        + (f'<span class="warn">{findings} finding{"s" * (findings > 1)}</span>' if findings else "")
        + (f'<span class="warn">{text(signs, FIELD_LIMIT)}</span>' if signs else "")
        + ("" if row.get("ended", True) else '<span class="warn">cut at the limit</span>')
    )
    body = _prompt(row) + _program(row) + _errors(verdict) + _tests(verdict) + _findings(verdict)
    return details(summary, body, attributes=f' class="sample" data-stage="{text(stage)}"')


def _prompt(row: Row) -> str:
    """What was asked, in the words that the model read."""
    prompt = row.get("prompt")
    return details("Prompt", f"<pre>{text(prompt, PROGRAM_LIMIT)}</pre>") if isinstance(prompt, str) else ""


def _program(row: Row) -> str:
    program = row["program"]
    shown = (
        f'<pre class="program">{text(program, PROGRAM_LIMIT)}</pre>' if program else "<p>Empty program.</p>"
    )
    response = row.get("response")
    if not isinstance(response, str) or response.strip() == program.strip():
        return shown
    return shown + details("Whole response", f"<pre>{text(response, PROGRAM_LIMIT)}</pre>")


def _errors(verdict: Row) -> str:
    """What compiler or analyser said of a program that they could not read."""
    told = [verdict[key] for key in ("error", "scan_reason") if verdict.get(key)]
    return "".join(f'<p class="warn">{text(message, FIELD_LIMIT)}</p>' for message in told)


def _tests(verdict: Row) -> str:
    rows = _rows(verdict, "verdicts")
    if not rows:
        return ""
    shown = [key for key in ("input", "expected") if any(isinstance(row.get(key), str) for row in rows)]
    body = "".join(_test(index, row, shown) for index, row in enumerate(rows[:TESTS], start=1))
    more = f"<p>{len(rows) - TESTS} more tests.</p>" if len(rows) > TESTS else ""
    head = "".join(f"<th>{name}</th>" for name in ("test", "passed", "status", *shown, "output"))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>{more}'


def _test(index: int, row: Row, shown: Sequence[str]) -> str:
    """One row of the table; `shown`: what else than the output the records have."""
    passed = '<td class="yes">yes</td>' if row.get("passed") else '<td class="no">no</td>'
    given = "".join(f"<td>{_written(row.get(key))}</td>" for key in shown)
    error = f'<div class="warn">{text(row["error"], FIELD_LIMIT)}</div>' if row.get("error") else ""
    said = f"<td>{_written(row.get('stdout'))}{error}</td>"
    return f"<tr><td>{index}</td>{passed}<td>{text(row.get('status', ''))}</td>{given}{said}</tr>"


def _written(value: object) -> str:
    return f"<code>{text(value, TEST_LIMIT)}</code>" if value else ""


def _findings(verdict: Row) -> str:
    keys = ("line", "id", "severity", "confidence", "cwe")
    body = "".join(
        "<tr>" + "".join(f"<td>{text(row.get(key, ''), FIELD_LIMIT)}</td>" for key in keys) + "</tr>"
        for row in _rows(verdict, "findings")
    )
    head = "".join(f"<th>{key}</th>" for key in keys)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<p>Findings of the analyser:</p><div class="wide">{table}</div>' if body else ""


def _rows(verdict: Row, key: str) -> list[Row]:
    """A list of objects in a record; a reward function's own record may hold anything there."""
    value = verdict.get(key)
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _stage(row: Row) -> str:
    """The stage, or the outcome that a reward function named; what could not be scored has neither."""
    if row.get("score") is None:
        return "not scored"
    return str(as_mapping(row.get("verdict")).get("stage") or row.get("outcome") or "scored")


def _chip(stage: str) -> str:
    colour = STAGE_COLOURS.get(stage, "#888888")
    return f'<span class="chip" style="--chip:{colour}">{text(stage, 40)}</span>'
