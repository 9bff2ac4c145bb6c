// A hit as a card in the grid, and as a large picture with the reasons for its place.

import { contentUrl } from "/gallery/api.js";
import { button, element } from "/gallery/dom.js";

const ROW_HEIGHT = 210;
const HIDDEN = new Set(["captions", "caption", "width", "height", "size"]);

const nameOf = (hit) => hit.metadata.caption || hit.metadata.prompt || readable(hit.uri.split("/").pop());
// A local path may hold any %, a URL only those that stand for something.
function readable(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

const shown = (score) => (score === null ? "—" : score.toFixed(3));

// `give(end)` makes the picture an example of that end of the axis that is being taught.
export function hitCard(hit, { open, like, give }) {
  const { width = 1, height = 1 } = hit.metadata;
  const shape = Math.min(2.6, Math.max(0.6, width / height));
  const card = element("article", { className: "hit" });
  card.dataset.id = hit.id;
  card.style.flex = `${shape} 1 ${shape * ROW_HEIGHT * 0.8}px`;
  card.style.maxWidth = `${shape * ROW_HEIGHT * 1.6}px`;
  const opener = button("", { className: "open", onclick: () => open(hit) });
  opener.setAttribute("aria-label", `Open ${nameOf(hit)}`);
  const label = element("div", { className: "label" }, element("span", {}, ...marked(nameOf(hit), hit)), ...elsewhere(hit));
  if (Object.keys(hit.contributions).length > 1) label.append(element("div", { className: "why" }, ...whyRows(hit)));
  card.append(
    element("img", { src: contentUrl(hit.id, 320), alt: nameOf(hit), loading: "lazy" }),
    label,
    element("div", { className: "score", textContent: shown(hit.score) }),
    ...(hit.metadata.generated ? [madeBadge()] : []),
    opener,
    button("More like this", { className: "like", onclick: like }),
    exampleButtons(give),
  );
  return card;
}

// `text` with the words that were searched for marked.
function marked(text, hit) {
  const found = hit.highlights.find((highlight) => highlight.text === text);
  return found ? pieces(found) : [text];
}

function pieces({ text, spans }) {
  const letters = [...text]; // positions count characters, not halves of them
  const parts = [];
  let at = 0;
  for (const [start, end] of spans) {
    if (start < at) continue;
    parts.push(letters.slice(at, start).join(""), element("mark", { textContent: letters.slice(start, end).join("") }));
    at = end;
  }
  return [...parts, letters.slice(at).join("")];
}

// Where words match that do not stand on the card: a tag, a folder, a date.
function elsewhere(hit) {
  const others = hit.highlights.filter(({ text }) => text !== nameOf(hit)).slice(0, 2);
  return others.map((other) => element("small", { className: "match", title: other.field }, ...pieces(other)));
}

// A made picture must not be taken for a found one.
function madeBadge() {
  return element("div", { className: "made", textContent: "generated", title: "Made by a model, not found" });
}

function exampleButtons(give) {
  const more = button("+", { onclick: () => give("high"), title: "Much of it" });
  const less = button("−", { onclick: () => give("low"), title: "Little of it" });
  more.setAttribute("aria-label", "Example with much of it");
  less.setAttribute("aria-label", "Example with little of it");
  return element("div", { className: "examples" }, more, less);
}

// One bar for each term of the score; the longest fills its track.
function whyRows(hit) {
  const terms = Object.entries(hit.contributions);
  const longest = Math.max(...terms.map(([, share]) => Math.abs(share)), 1e-9);
  return terms.map(([name, share]) => {
    const fill = element("i");
    fill.style.width = `${(100 * Math.abs(share)) / longest}%`;
    const bar = element("span", { className: "bar" }, fill);
    const amount = `${share < 0 ? "−" : "+"}${Math.abs(share).toFixed(3)}`;
    const row = element("div", { className: share < 0 ? "minus" : "" });
    row.append(element("b", { textContent: name }), bar, element("em", { textContent: amount }));
    return row;
  });
}

export function showViewer(dialog, hit, { like, unlike }) {
  const { width, height, ...metadata } = hit.metadata;
  Object.assign(dialog.querySelector("img"), { src: contentUrl(hit.id, 1280), alt: nameOf(hit) });
  dialog.querySelector("h2").textContent = nameOf(hit);
  dialog.querySelector(".why").replaceChildren(...whyRows(hit));
  dialog.querySelector('[data-act="like"]').onclick = like;
  dialog.querySelector('[data-act="unlike"]').onclick = unlike;
  dialog.querySelector('[data-act="open"]').href = contentUrl(hit.id);
  const facts = [["score", shown(hit.score)], ["id", hit.id], ["size", `${width} × ${height}`], ["file", hit.uri]];
  for (const [name, value] of Object.entries(metadata))
    if (!HIDDEN.has(name) && value !== null) facts.push([name, typeof value === "object" ? JSON.stringify(value) : value]);
  dialog.querySelector("dl").replaceChildren(
    ...facts.flatMap(([name, value]) => [element("dt", { textContent: name }), element("dd", { textContent: String(value) })]),
  );
  dialog.querySelector(".close").onclick = () => dialog.close();
  dialog.onclick = (event) => event.target === dialog && dialog.close(); // outside of the picture
  if (!dialog.open) dialog.showModal();
}
