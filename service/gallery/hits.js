// A hit as a card in the grid, and as a large picture with the reasons for its place.

import { contentUrl } from "/gallery/api.js";

const ROW_HEIGHT = 210;
const HIDDEN = new Set(["captions", "caption", "width", "height", "size"]);

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

const nameOf = (hit) => hit.metadata.caption || decodeURI(hit.uri).split("/").pop();
const shown = (score) => (score === null ? "—" : score.toFixed(3));

export function hitCard(hit, { open, like }) {
  const { width = 1, height = 1 } = hit.metadata;
  const shape = Math.min(2.6, Math.max(0.6, width / height));
  const card = element("article", "hit");
  card.dataset.id = hit.id;
  card.style.flex = `${shape} 1 ${shape * ROW_HEIGHT * 0.8}px`;
  card.style.maxWidth = `${shape * ROW_HEIGHT * 1.6}px`;
  const picture = element("img");
  picture.src = contentUrl(hit.id, 320);
  picture.alt = nameOf(hit);
  picture.loading = "lazy";
  const label = element("div", "label");
  label.append(element("span", "", nameOf(hit)));
  const opener = element("button", "open");
  opener.type = "button";
  opener.setAttribute("aria-label", `Open ${nameOf(hit)}`);
  opener.onclick = () => open(hit);
  const more = element("button", "like", "More like this");
  more.type = "button";
  more.onclick = like;
  card.append(picture, label, element("div", "score", shown(hit.score)), opener, more);
  return card;
}

// One bar for each term of the score; the longest fills its track.
function whyRows(hit) {
  const terms = Object.entries(hit.contributions);
  const longest = Math.max(...terms.map(([, share]) => Math.abs(share)), 1e-9);
  return terms.map(([name, share]) => {
    const row = element("div", share < 0 ? "minus" : "");
    const bar = element("span", "bar");
    const fill = element("i");
    fill.style.width = `${(100 * Math.abs(share)) / longest}%`;
    bar.append(fill);
    row.append(element("b", "", name), bar, element("em", "", `${share < 0 ? "−" : "+"}${Math.abs(share).toFixed(3)}`));
    return row;
  });
}

export function showViewer(dialog, hit, { like, unlike }) {
  const { width, height, ...metadata } = hit.metadata;
  const picture = dialog.querySelector("img");
  picture.src = contentUrl(hit.id, 1280);
  picture.alt = nameOf(hit);
  dialog.querySelector("h2").textContent = nameOf(hit);
  dialog.querySelector(".why").replaceChildren(...whyRows(hit));
  dialog.querySelector('[data-act="like"]').onclick = like;
  dialog.querySelector('[data-act="unlike"]').onclick = unlike;
  dialog.querySelector('[data-act="open"]').href = contentUrl(hit.id);
  const facts = [["score", shown(hit.score)], ["id", hit.id], ["size", `${width} × ${height}`], ["file", hit.uri]];
  for (const [name, value] of Object.entries(metadata))
    if (!HIDDEN.has(name) && value !== null) facts.push([name, typeof value === "object" ? JSON.stringify(value) : value]);
  dialog.querySelector("dl").replaceChildren(...facts.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", String(value))]));
  dialog.querySelector(".close").onclick = () => dialog.close();
  dialog.onclick = (event) => event.target === dialog && dialog.close(); // outside of the picture
  if (!dialog.open) dialog.showModal();
}
