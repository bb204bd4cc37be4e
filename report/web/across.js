// The same problem over iterations and models, side by side.

const COLUMNS = 24; // more are thinned out evenly, around the sample that is shown

/** [[heading, samples], …] of a problem: a column per model and per iteration of a run, in their order. */
function columnsOf(problem) {
  const columns = new Map();
  for (const sample of book.byProblem.get(problem) ?? []) {
    const heading = whereOf(sample);
    if (!columns.has(heading)) columns.set(heading, []);
    columns.get(heading).push(sample);
  }
  return [...columns];
}

function acrossOf(sample) {
  const columns = columnsOf(sample.problem);
  if (columns.length === 1 && columns[0][1].length === 1) return null;
  const here = columns.findIndex(([, samples]) => samples.includes(sample));
  const step = Math.ceil(columns.length / COLUMNS);
  const kept = columns.filter((_, i) => (i - here) % step === 0);
  const note = `${plural(columns.length, "column")}${kept.length < columns.length ? `, ${kept.length} of them shown` : ""}; ← and → go from one to the next.`;
  return make(
    "div",
    {},
    make("h4", {}, "The same problem elsewhere"),
    make("p", { class: "note" }, note),
    promptsDiffer(columns) && make("p", { class: "note warn" }, "Not all of these answers are to the same prompt: templates or tokenizers differ. Compare outcomes, not numbers per token."),
    make("div", { class: "across", tabindex: 0, role: "group", "aria-label": "The same problem elsewhere" }, kept.map(([heading, samples]) => columnOf(heading, samples, sample))),
  );
}

const promptsDiffer = (columns) => new Set(columns.flatMap(([, samples]) => samples.map((s) => s.prompt)).filter((p) => p !== undefined)).size > 1;

/** Buttons for the samples of one column, and the program of the one shown or else of the best. */
function columnOf(heading, samples, current) {
  const best = samples.includes(current) ? current : [...samples].sort(ORDERS.best)[0];
  const buttons = samples.map((sample) =>
    make(
      "button",
      { type: "button", "aria-pressed": String(sample === current), onclick: () => select(sample), title: `score ${shown(sample.score)}` },
      chip(sample.stage),
      " ",
      shown(sample.score, 2),
    ),
  );
  return make("div", { class: "column" }, make("h5", {}, heading), make("div", { class: "filter" }, buttons), programOf(textOf(best.program)));
}

/** The best sample of the column `step` further on, for the arrow keys; the sample itself at the end. */
function elsewhere(sample, step) {
  const columns = columnsOf(sample.problem);
  const here = columns.findIndex(([, samples]) => samples.includes(sample));
  const there = columns[here + step];
  return there ? [...there[1]].sort(ORDERS.best)[0] : sample;
}
