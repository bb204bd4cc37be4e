// One sample, whole: what was asked, what was answered, what came of it.
// `book` is what browser.js unpacked: {samples, texts, sources, colours, tokens}.

const textOf = (place) => book.texts[place];
const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;

function chip(stage) {
  return make("span", { class: "chip", colour: book.colours[stage] ?? "#888888" }, stage);
}

function whereOf(sample) {
  const { name, kind } = book.sources[sample.source];
  return kind === "run" ? `${name}, iteration ${sample.iteration}` : `${name}, evaluation`;
}

/** A part that opens on a click; what is in it is made when it first opens. */
function folded(title, content, open = false) {
  const part = make("details", {}, make("summary", {}, title));
  const fill = () => part.childElementCount === 1 && part.append(content());
  part.addEventListener("toggle", fill, { once: true });
  if (open) {
    fill();
    part.open = true;
  }
  return part;
}

function detailOf(sample) {
  const failed = failedLines(sample);
  return [
    headOf(sample),
    sample.about !== undefined && make("div", {}, make("h4", {}, "Problem"), make("p", { class: "text" }, textOf(sample.about))),
    sample.prompt !== undefined && folded("Prompt, as the model read it", () => make("pre", {}, textOf(sample.prompt))),
    make("h4", {}, "Program"),
    programOf(textOf(sample.program), failed),
    ...messagesOf(sample, failed),
    answerOf(sample),
    tokensOf(sample),
    testsOf(sample),
    findingsOf(sample),
    acrossOf(sample),
  ].filter(Boolean);
}

function headOf(sample) {
  const facts = [
    ["score", shown(sample.score)],
    ...Object.entries(sample.parts ?? {}).map(([name, value]) => [name, shown(value)]),
    sample.tests !== undefined && ["tests passed", `${sample.passed ?? 0} of ${sample.tests}`],
    sample.advantage !== undefined && ["advantage", shown(sample.advantage)],
    sample.kl !== undefined && ["ref_kl, nats", shown(sample.kl)],
    !sample.ended && ["answer", "cut at the limit of tokens"],
    sample.signs && ["signs of playing the reward", sample.signs.join(", ").replaceAll("_", " ")],
  ].filter(Boolean);
  return make(
    "header",
    {},
    make("h3", {}, sample.problem ?? "", make("small", {}, whereOf(sample))),
    make("p", {}, chip(sample.stage), " ", facts.map(([name, value]) => make("span", { class: "fact" }, `${name} `, make("b", {}, value)))),
  );
}

/** What compiler or analyser said that stands at no line of the program. */
function messagesOf(sample, failed) {
  const marked = [...failed.values()].flat();
  return [sample.error, sample.scan]
    .filter((place) => place !== undefined && !marked.includes(textOf(place)))
    .map((place) => make("p", { class: "warn" }, textOf(place)));
}

/** Line -> what failed there: of the compiler, of runs that raised, of the analyser. */
function failedLines(sample) {
  const failed = new Map();
  const add = (line, why) => line > 0 && failed.set(line, [...new Set([...(failed.get(line) ?? []), why])]);
  const told = sample.error === undefined ? "" : textOf(sample.error);
  const compiler = /line (\d{1,7})\)?\s*$/.exec(told);
  if (compiler) add(Number(compiler[1]), told);
  for (const run of sample.runs ?? []) if (run.line !== undefined) add(run.line, run.error === undefined ? run.status : textOf(run.error));
  for (const found of sample.findings ?? []) add(found.line, `${found.id}${found.cwe === undefined ? "" : `, CWE-${found.cwe}`}`);
  return failed;
}

function programOf(program, failed = new Map()) {
  if (!program.trim()) return make("p", { class: "note" }, "Empty program.");
  const lines = pythonLines(program).map((parts, i) => {
    const why = failed.get(i + 1);
    return make(
      "li",
      { class: why && "failed", title: why?.join("\n") },
      parts.map(([kind, text]) => (kind ? make("span", { class: `py-${kind}` }, text) : text)),
      why && make("span", { class: "why" }, `← ${why.join("; ")}`),
    );
  });
  return make("pre", { class: "program", tabindex: 0, "aria-label": "Program" }, make("ol", {}, lines));
}

/** The whole answer, with what `extract` took of it marked. */
function answerOf(sample) {
  if (sample.response === undefined) return null;
  const response = textOf(sample.response);
  const [start, end] = sample.taken ?? [0, 0];
  const whole = !response.slice(0, start).trim() && !response.slice(end).trim();
  const title = whole ? "Answer: the program and nothing else" : "Answer, the program in it marked";
  const body = () => make("pre", {}, response.slice(0, start), end > start && make("mark", {}, response.slice(start, end)), response.slice(end));
  return folded(title, body, !whole);
}

function testsOf(sample) {
  if (!sample.runs) return null;
  const rows = sample.runs.map((run, i) =>
    make(
      "tr",
      {},
      make("td", {}, i + 1, " ", run.passed ? make("b", { class: "yes" }, "passed") : make("b", { class: "no" }, run.status === "ok" ? "wrong" : run.status)),
      make("td", {}, written(run.input)),
      make("td", {}, comparison(run), run.error !== undefined && make("p", { class: "warn" }, textOf(run.error))),
    ),
  );
  const more = (sample.tests ?? 0) - sample.runs.length;
  const head = ["test", "input", "output"].map((name) => make("th", { scope: "col" }, name));
  return make(
    "div",
    {},
    make("h4", {}, "Tests"),
    make("p", { class: "note" }, make("span", { class: "missing" }, "− expected, missing"), " ", make("span", { class: "extra" }, "+ printed, not expected")),
    make("div", { class: "wide" }, make("table", { class: "tests" }, make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows))),
    more > 0 && make("p", { class: "note" }, `${plural(more, "test")} more.`),
  );
}

const written = (place) => (place === undefined ? make("span", { class: "note" }, "nothing") : make("code", {}, textOf(place)));

/** A passed test shows its output; another what is missing from it and what should not be there. */
function comparison(run) {
  if (run.passed || run.expected === undefined) return written(run.output);
  const marks = { same: " ", missing: "−", extra: "+" };
  const actual = run.output === undefined ? "" : textOf(run.output);
  return make(
    "code",
    { class: "diff" },
    diffLines(textOf(run.expected), actual).map(([kind, line]) =>
      make("span", { class: kind }, `${marks[kind]} ${line}\n`),
    ),
  );
}

function findingsOf(sample) {
  if (!sample.findings) return null;
  const names = ["line", "id", "severity", "confidence", "cwe"];
  const cell = (found, name) => make("td", {}, found[name] === undefined ? "" : name === "cwe" ? `CWE-${found.cwe}` : found[name]);
  return make(
    "div",
    {},
    make("h4", {}, "Findings of the analyser"),
    make(
      "div",
      { class: "wide" },
      make(
        "table",
        {},
        make("thead", {}, make("tr", {}, names.map((name) => make("th", { scope: "col" }, name)))),
        make("tbody", {}, sample.findings.map((found) => make("tr", {}, names.map((name) => cell(found, name))))),
      ),
    ),
  );
}
