// Which samples are wanted, and in which order. Nothing here knows of the page.

const VERDICTS = {
  all: (s) => s.tests > 0 && s.passed === s.tests,
  some: (s) => s.passed > 0 && s.passed < s.tests,
  none: (s) => s.passed === 0 && s.tests > 0,
  unscored: (s) => s.score === undefined,
  finding: (s) => (s.findings ?? []).length > 0,
  sign: (s) => (s.signs ?? []).length > 0,
  cut: (s) => !s.ended,
};

const SIGNS = {
  up: (s) => s.advantage > 0,
  down: (s) => s.advantage < 0,
  zero: (s) => s.advantage === 0,
};

const ORDERS = {
  sampled: null,
  best: (a, b) => (b.score ?? -Infinity) - (a.score ?? -Infinity),
  worst: (a, b) => (a.score ?? Infinity) - (b.score ?? Infinity),
  advantage: (a, b) => Math.abs(b.advantage ?? 0) - Math.abs(a.advantage ?? 0),
};

/** The texts that contain the words, whatever their case: number of the text -> true. Each is looked at once,
 * however many samples have it. */
function textsWith(lowered, words) {
  return lowered.map((text) => text.includes(words));
}

/** The samples that a filter lets through, in its order, and of all but the stage filter how many there are of
 * each stage.
 * filter: {source, iteration, problem, verdict, sign, words: "" or a value; stages: a Set, empty for all; order}
 * lowered: every text of the pool in lower case. */
function choose(samples, filter, lowered) {
  const words = filter.words.trim().toLowerCase();
  const hits = words ? textsWith(lowered, words) : null;
  const found = [];
  const counts = new Map();
  for (const s of samples) {
    if (filter.source !== "" && s.source !== Number(filter.source)) continue;
    if (filter.iteration !== "" && s.iteration !== Number(filter.iteration)) continue;
    if (filter.problem !== "" && s.problem !== filter.problem) continue;
    if (filter.verdict !== "" && !VERDICTS[filter.verdict](s)) continue;
    if (filter.sign !== "" && !SIGNS[filter.sign](s)) continue;
    if (hits && !mentions(s, hits, words)) continue;
    counts.set(s.stage, (counts.get(s.stage) ?? 0) + 1);
    if (filter.stages.size === 0 || filter.stages.has(s.stage)) found.push(s);
  }
  if (ORDERS[filter.order]) found.sort(ORDERS[filter.order]); // stable: equals stay as sampled
  return { found, counts };
}

function mentions(s, hits, words) {
  return (
    hits[s.program] ||
    hits[s.response] ||
    hits[s.about] ||
    hits[s.error] ||
    (s.problem ?? "").toLowerCase().includes(words) ||
    (s.runs ?? []).some((run) => hits[run.error])
  );
}
