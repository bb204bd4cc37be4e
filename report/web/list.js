// A list of any length: only the rows in view are on the page.

const ROW_HEIGHT = 52; // pixels, as in browser.css
const BEYOND = 8; // rows kept above and below those in view

class List {
  /** box: the element that scrolls; row(sample): its content; chosen(sample): called when one is clicked. */
  constructor(box, row, chosen) {
    Object.assign(this, { box, row, chosen, samples: [], at: -1 });
    this.inside = make("div", { class: "rows", role: "presentation" });
    box.replaceChildren(this.inside);
    box.addEventListener("scroll", () => this.draw(), { passive: true });
  }

  show(samples, at) {
    this.samples = samples;
    this.inside.style.height = `${samples.length * ROW_HEIGHT}px`;
    this.mark(at);
  }

  /** Make row `at` the current one, and bring it into view. */
  mark(at) {
    this.at = at;
    const [top, height] = [at * ROW_HEIGHT, this.box.clientHeight];
    if (at < 0 || top < this.box.scrollTop) this.box.scrollTop = Math.max(0, top);
    else if (top + ROW_HEIGHT > this.box.scrollTop + height) this.box.scrollTop = top + ROW_HEIGHT - height;
    this.draw();
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW_HEIGHT) - BEYOND);
    const last = Math.min(this.samples.length, first + Math.ceil(this.box.clientHeight / ROW_HEIGHT) + 2 * BEYOND);
    const rows = [];
    for (let i = first; i < last; i++) {
      const sample = this.samples[i];
      const row = make(
        "div",
        { role: "option", id: `row-${i}`, class: "row", "aria-selected": String(i === this.at), "aria-setsize": this.samples.length, "aria-posinset": i + 1, onclick: () => this.chosen(sample) },
        this.row(sample),
      );
      row.style.top = `${i * ROW_HEIGHT}px`;
      rows.push(row);
    }
    this.inside.replaceChildren(...rows);
    const current = this.at >= first && this.at < last;
    if (current) this.box.setAttribute("aria-activedescendant", `row-${this.at}`);
    else this.box.removeAttribute("aria-activedescendant");
  }
}
