
// Stage filter of the sample browser. Without scripts every sample can be seen. Iterations with a match are
// opened, those without one are hidden; "all" puts everything back as it was.
const buttons = [...document.querySelectorAll(".filter button")];
const iterations = [...document.querySelectorAll("details.iteration")];
const opened = new Set(iterations.filter((iteration) => iteration.open));
for (const button of buttons) {
  button.addEventListener("click", () => {
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
    const stage = button.dataset.stage;
    for (const iteration of iterations) {
      let matches = 0;
      for (const sample of iteration.querySelectorAll(".sample")) {
        sample.hidden = stage !== undefined && sample.dataset.stage !== stage;
        if (!sample.hidden) matches += 1;
      }
      iteration.hidden = matches === 0;
      iteration.open = stage === undefined ? opened.has(iteration) : matches > 0;
    }
  });
}
