
// Stage filter of the sample browser. Without scripts every sample is visible.
const buttons = [...document.querySelectorAll(".filter button")];
const samples = [...document.querySelectorAll(".sample")];
for (const button of buttons) {
  button.addEventListener("click", () => {
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
    const stage = button.dataset.stage;
    for (const sample of samples) sample.hidden = stage !== undefined && sample.dataset.stage !== stage;
  });
}
