// Teaching an axis: examples with much and with little of an attribute, and a name for it.

import { contentUrl, createAxis } from "/gallery/api.js";
import { at, button, element } from "/gallery/dom.js";

const ENOUGH = 5; // examples an end; fewer work, less well

export class Teaching {
  // `taught(axis)` is called with a new axis.
  constructor(taught) {
    this.taught = taught;
    this.ends = { high: [], low: [] };
    at("#teach-open").addEventListener("click", () => this.toggle());
    at("#teach").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    at("#teach-close").addEventListener("click", () => this.toggle());
    this.draw();
  }

  toggle() {
    at("#teach").hidden = !at("#teach").hidden;
    document.body.classList.toggle("teaching", !at("#teach").hidden);
    if (!at("#teach").hidden) at("#teach-name").focus();
  }

  // Put a picture at one end; there already: take it away.
  give(id, end) {
    const other = end === "high" ? "low" : "high";
    this.ends[other] = this.ends[other].filter((one) => one !== id);
    this.ends[end] = this.ends[end].includes(id) ? this.ends[end].filter((one) => one !== id) : [...this.ends[end], id];
    this.draw();
  }

  draw() {
    for (const [end, ids] of Object.entries(this.ends)) {
      at(`#teach-${end}`).replaceChildren(
        ...ids.map((id) => {
          const remove = button("×", { onclick: () => this.give(id, end) });
          remove.setAttribute("aria-label", "Take this example away");
          return element("li", {}, element("img", { src: contentUrl(id, 160), alt: `Example ${id}` }), remove);
        }),
      );
    }
    const { high, low } = this.ends;
    const least = Math.min(high.length, low.length);
    at("#teach button[type=submit]").disabled = least === 0;
    at("#teach-hint").textContent =
      least === 0
        ? "Give examples with + and − on the pictures."
        : least < ENOUGH
          ? `${high.length} and ${low.length} examples: ${ENOUGH} an end do better.`
          : `${high.length} and ${low.length} examples.`;
  }

  async submit() {
    const { high, low } = this.ends;
    try {
      const axis = await createAxis({ name: at("#teach-name").value.trim().toLowerCase().replaceAll(" ", "_"), extremes: { high, low } });
      this.ends = { high: [], low: [] };
      at("#teach-name").value = "";
      this.draw();
      this.toggle();
      this.taught(axis);
    } catch (error) {
      at("#teach-hint").textContent = error.message;
    }
  }
}
