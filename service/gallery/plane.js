// The hits as points over two axes, in standard deviations of the collection.

import { contentUrl, rank } from "/gallery/api.js";
import { button, element, title } from "/gallery/dom.js";

const EDGE = 2.5; // standard deviations that fit on the plane; what lies beyond stands at its rim

export class Plane {
  constructor(root, open) {
    this.root = root;
    this.open = open;
    this.axes = ["", ""];
    this.field = element("div", { className: "field" });
    this.pickers = [0, 1].map((which) => {
      const picker = element("select");
      picker.setAttribute("aria-label", which === 0 ? "Axis from left to right" : "Axis from bottom to top");
      picker.addEventListener("change", () => {
        this.axes[which] = picker.value;
        this.draw();
      });
      return picker;
    });
    root.append(this.pickers[1], this.field, this.pickers[0]);
    this.hits = [];
  }

  setAxes(axes) {
    const names = axes.map(({ name }) => name);
    this.axes = this.axes.map((chosen, which) => (names.includes(chosen) ? chosen : names[Math.min(which, names.length - 1)] ?? ""));
    this.pickers.forEach((picker, which) => {
      picker.replaceChildren(...names.map((name) => element("option", { value: name, textContent: title(name) })));
      picker.value = this.axes[which];
    });
  }

  show(hits) {
    this.hits = hits;
    return this.draw();
  }

  async draw() {
    const hits = this.hits;
    if (this.root.hidden || !hits.length) return this.field.replaceChildren();
    const ids = hits.map(({ id }) => id);
    const answers = await Promise.all(this.axes.map((axis) => rank(axis, { ids, limit: ids.length })));
    if (hits !== this.hits) return undefined; // a newer answer came meanwhile
    const [across, up] = answers.map((answer) => new Map(answer.hits.map((hit) => [hit.id, hit.score])));
    const placed = hits.filter(({ id }) => across.get(id) != null && up.get(id) != null);
    this.field.replaceChildren(...placed.map((hit) => this.point(hit, across.get(hit.id), up.get(hit.id))));
    return undefined;
  }

  point(hit, across, up) {
    const place = (score) => 50 + (50 * Math.max(-EDGE, Math.min(EDGE, score))) / EDGE;
    const name = hit.metadata.caption || hit.uri.split("/").pop();
    const values = this.axes.map((axis, which) => `${title(axis)} ${(which ? up : across).toFixed(1)}`).join(", ");
    const point = button("", { className: "point", title: `${name}\n${values}`, onclick: () => this.open(hit) });
    point.dataset.id = hit.id;
    point.setAttribute("aria-label", `${name}: ${values}`);
    point.style.left = `${place(across)}%`;
    point.style.bottom = `${place(up)}%`;
    point.append(element("img", { src: contentUrl(hit.id, 160), alt: "", loading: "lazy" }));
    return point;
  }
}
