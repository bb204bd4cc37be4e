// Values of curves under the pointer, and with the arrow keys on a figure that has the focus.
// data-plots of a drawing: {box: [left, right] as shares of its width, range: [first, last] iteration, lines:
// [{name, unit, points: [[iteration, value], …]}, …]}.

function startPlots() {
  for (const drawing of document.querySelectorAll("svg[data-plots]")) {
    const plots = JSON.parse(drawing.dataset.plots);
    const frame = drawing.closest("figure");
    const tip = make("div", { class: "tip", role: "status", hidden: "" });
    const rule = make("div", { class: "rule", hidden: "" });
    const holder = make("div", { class: "drawing" });
    drawing.replaceWith(holder);
    holder.append(drawing, rule, tip);
    const steps = [...new Set(plots.lines.flatMap((line) => line.points.map(([x]) => x)))].sort((a, b) => a - b);
    let at = -1;
    const show = (place) => {
      at = Math.min(steps.length - 1, Math.max(0, place));
      tip.replaceChildren(...valuesAt(plots, steps[at]));
      const share = (steps[at] - plots.range[0]) / (plots.range[1] - plots.range[0] || 1);
      const left = 100 * (plots.box[0] + share * (plots.box[1] - plots.box[0]));
      rule.style.left = `${left}%`;
      tip.style[left > 50 ? "right" : "left"] = `${left > 50 ? 101 - left : left + 1}%`;
      tip.style[left > 50 ? "left" : "right"] = "auto";
      tip.hidden = rule.hidden = false;
    };
    const hide = () => {
      tip.hidden = rule.hidden = true;
    };
    drawing.addEventListener("pointermove", (event) => {
      const box = drawing.getBoundingClientRect();
      const share = ((event.clientX - box.left) / box.width - plots.box[0]) / (plots.box[1] - plots.box[0]);
      show(nearest(steps, plots.range[0] + share * (plots.range[1] - plots.range[0])));
    });
    drawing.addEventListener("pointerleave", hide);
    drawing.setAttribute("tabindex", "0");
    drawing.addEventListener("blur", hide);
    drawing.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
      if (!(event.key in moves)) return;
      show(at < 0 && event.key === "ArrowRight" ? 0 : at + moves[event.key]);
      event.preventDefault();
    });
    frame.classList.add("live");
  }
}

/** The place of the value nearest to x. */
function nearest(values, x) {
  let best = 0;
  values.forEach((value, i) => {
    if (Math.abs(value - x) < Math.abs(values[best] - x)) best = i;
  });
  return best;
}

function valuesAt(plots, iteration) {
  const rows = plots.lines.flatMap((line) => {
    const point = line.points.find(([x]) => x === iteration);
    if (!point) return [];
    const value = line.unit === "%" ? `${Number((100 * point[1]).toPrecision(3))} %` : String(Number(point[1].toPrecision(4)));
    return [make("div", {}, `${line.name}: `, make("b", {}, value.replace("-", "−")))];
  });
  return [make("div", { class: "note" }, `iteration ${iteration}`), ...rows];
}
