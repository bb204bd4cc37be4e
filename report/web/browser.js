// The sample browser: filters on top, what they let through on the left, one sample whole on the right.

let book; // {samples, texts, sources, colours, tokens, byProblem}
let list;
let current = null; // the sample that is shown
let found = []; // what the filter lets through
let lowered = null; // the texts in lower case, made at the first search
const $ = (id) => document.getElementById(id);
const filter = { source: "", iteration: "", problem: "", verdict: "", sign: "", words: "", stages: new Set(), order: "sampled" };

/** Apply the filter, and open the sample that was shown or else the first. */
function refresh() {
  if (filter.words.trim() && !lowered) lowered = book.texts.map((text) => text.toLowerCase());
  const chosen = choose(book.samples, filter, lowered);
  found = chosen.found;
  $("found").textContent = `${found.length.toLocaleString("en")} of ${plural(book.samples.length, "sample")}`;
  drawStages(chosen.counts);
  const at = Math.max(0, found.indexOf(current));
  list.show(found, found.length ? at : -1);
  open(found[at] ?? null);
}

/** Show a sample, in the list as well where the filter lets it through. */
function select(sample) {
  list.mark(found.indexOf(sample));
  open(sample);
}

function open(sample) {
  current = sample;
  $("detail").replaceChildren(...(sample ? detailOf(sample) : [make("p", {}, "No sample is like that. Loosen a filter.")]));
  $("detail").scrollTop = 0;
}

/** One sample further in the list. */
function step(by) {
  if (!found.length) return;
  const at = list.at < 0 ? 0 : Math.min(found.length - 1, Math.max(0, list.at + by));
  select(found[at]);
}

function rowOf(sample) {
  const first = textOf(sample.program).trim().split("\n", 1)[0];
  const count = sample.tests === undefined ? "" : `${sample.passed ?? 0}/${sample.tests}`;
  return [
    make("span", { class: "line" }, chip(sample.stage), make("b", {}, shown(sample.score)), make("span", {}, count), make("span", { class: "problem" }, sample.problem ?? "")),
    make("span", { class: "line note" }, `${whereOf(sample)} · `, make("code", {}, first || "empty program")),
  ];
}

function drawStages(counts) {
  const stages = Object.keys(book.colours);
  const button = (stage) =>
    make(
      "button",
      {
        type: "button",
        "aria-pressed": String(filter.stages.has(stage)),
        onclick: () => {
          if (!filter.stages.delete(stage)) filter.stages.add(stage);
          refresh();
          [...$("stages").children].find((other) => other.dataset.stage === visible(stage))?.focus();
        },
        "data-stage": stage,
      },
      chip(stage),
      ` ${counts.get(stage) ?? 0}`,
    );
  $("stages").replaceChildren(...stages.map(button));
}

/** The choices of a filter: [[value, words], …]. */
function fill(id, choices) {
  $(id).append(...choices.map(([value, words]) => make("option", { value }, words)));
  $(id).closest("label").hidden = choices.length < 2;
}

function setUp() {
  const distinct = (values) => [...new Set(values)];
  fill("source", book.sources.map(({ name, kind }, i) => [i, `${name} (${kind === "run" ? "training" : "evaluation"})`]));
  fill("iteration", distinct(book.samples.map((s) => s.iteration).filter((i) => i !== undefined)).sort((a, b) => a - b).map((i) => [i, i]));
  const problems = [...book.byProblem.keys()].sort();
  fill("problem", problems.map((id, i) => [i, id])); // by number: an attribute would spell hidden characters out
  for (const name of ["source", "iteration", "problem", "verdict", "sign", "order"]) {
    $(name).addEventListener("change", () => {
      const { value } = $(name);
      filter[name] = name === "problem" && value !== "" ? problems[value] : value;
      refresh();
    });
  }
  $("words").addEventListener("input", () => {
    filter.words = $("words").value;
    refresh();
  });
  if (!book.samples.some((s) => s.advantage !== undefined)) {
    $("sign").disabled = true;
    $("sign").title = "These files do not say which advantage a sample had.";
  }
  document.addEventListener("keydown", onKey);
}

/** j and k, the arrows in the list, / for the search; nothing while somebody types. */
function onKey(event) {
  const typing = event.target.closest?.("input, select, textarea");
  if (typing && event.key === "Escape") typing.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const inList = $("list").contains(event.target);
  const inBrowser = $("browser").contains(event.target);
  const scrolls = event.target.closest?.("pre, .across, .wide");
  const page = Math.max(1, Math.floor($("list").clientHeight / ROW_HEIGHT) - 1);
  const moves = { j: 1, k: -1 };
  if (inList) Object.assign(moves, { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity });
  if (moves[event.key]) {
    step(moves[event.key]);
    if (!inBrowser) $("samples").scrollIntoView({ block: "start" });
  } else if (event.key === "/") {
    $("words").focus();
  } else if (inBrowser && !scrolls && current && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
    select(elsewhere(current, event.key === "ArrowLeft" ? -1 : 1));
  } else {
    return;
  }
  event.preventDefault();
}

async function startBrowser() {
  const packed = $("packed-samples");
  if (!packed) return;
  book = await unpack(packed.textContent.trim());
  book.byProblem = new Map();
  book.samples.forEach((sample, place) => {
    sample.place = place;
    sample.problem ??= "";
    sample.ended ??= true;
    const same = book.byProblem.get(sample.problem);
    if (same) same.push(sample);
    else book.byProblem.set(sample.problem, [sample]);
  });
  list = new List($("list"), rowOf, select);
  $("browser").hidden = false;
  $("waiting").remove();
  setUp();
  refresh();
}
