// Advantage, value and KL of every token as colour, where tokens.jsonl has kept them.

const SIGNALS = { advantage: "advantage", value: "value", kl: "KL to the reference, nats" };

function tokensOf(sample) {
  const kept = book.tokens[sample.place];
  if (!kept) return null;
  const names = Object.keys(SIGNALS).filter((name) => kept[name]);
  if (!names.length) return null;
  const picture = make("pre", { class: "tokens", tabindex: 0 });
  const readout = make("output", { class: "note" });
  const buttons = names.map((name) => make("button", { type: "button", onclick: () => draw(name) }, SIGNALS[name]));
  const draw = (name) => {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(names[i] === name)));
    const values = kept[name];
    const largest = Math.max(1e-9, ...values.map((value) => Math.abs(value ?? 0)));
    picture.setAttribute("aria-label", `Tokens coloured by ${SIGNALS[name]}`);
    picture.replaceChildren(
      ...kept.tokens.map((token, i) => {
        const said = names.map((other) => `${other} ${shown(kept[other][i])}`).join(", ");
        const span = make("span", { title: said }, token);
        span.style.setProperty("--share", `${Math.round((55 * Math.abs(values[i] ?? 0)) / largest)}%`);
        if (values[i] < 0) span.classList.add("below");
        return span;
      }),
    );
    readout.textContent = `${SIGNALS[name]}: blue above 0, orange below, the strongest ±${shown(largest)}`;
  };
  draw(names[0]);
  return make(
    "div",
    {},
    make("h4", {}, "Tokens"),
    make("div", { class: "filter", role: "group", "aria-label": "Colour tokens by" }, buttons),
    picture,
    readout,
    folded("As numbers", () => tokenTable(kept, names)),
  );
}

function tokenTable(kept, names) {
  const head = ["token", ...names].map((name) => make("th", { scope: "col" }, name));
  const rows = kept.tokens.map((token, i) =>
    make("tr", {}, make("td", {}, make("code", {}, JSON.stringify(token))), names.map((name) => make("td", {}, shown(kept[name][i])))),
  );
  return make("div", { class: "wide" }, make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows)));
}
