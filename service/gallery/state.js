// What the person asks for. The address bar holds all of it but pictures from their own computer.

import { contentUrl } from "/gallery/api.js";

export const UNLIKE = -0.5; // at full weight it would outweigh the words
const DEFAULT_AXIS = "aesthetics";

// bands: axis → [from, to] in percentiles; an axis that is not in it keeps everything.
export const state = { words: "", examples: [], weights: {}, bands: {}, sort: "", view: "grid", wishes: new Set() };

// What a search may be asked beside: name → what it adds to the request. The names stand in the address bar.
export const WISHES = {
  unique: { deduplicate: true },
  diverse: { diversify: { method: "mmr" } },
  rephrase: { rephrase: "auto" },
  make: { generate_if_no_match: true },
};
const COSTLY = new Set(["rephrase", "make"]); // a model works for seconds: not for words that are still being typed

export const example = (id, weight) => ({ id, weight, url: contentUrl(id, 160) });

export const isTasteless = () => !state.sort && !Object.values(state.weights).some(Boolean) && !Object.keys(state.bands).length;

export const isCostly = () => [...state.wishes].some((name) => COSTLY.has(name));

// The request that the state stands for: { axis, body } for /rank, { body } for /search. A draft leaves out what is costly.
export function request({ draft = false } = {}) {
  const parts = state.examples.map(({ id, image, weight }) => (id ? { id, weight } : { image, weight }));
  if (state.words.trim()) parts.unshift({ text: state.words.trim() });
  const query = parts.length ? parts : null;
  const axes = Object.fromEntries(Object.entries(state.weights).filter(([, weight]) => weight !== 0));
  const percentiles = state.bands;
  if (state.sort || (!query && !Object.keys(axes).length)) {
    const [axis, order] = (state.sort || `${DEFAULT_AXIS} desc`).split(" ");
    return { axis, body: { query, order, percentiles } };
  }
  const wishes = [...state.wishes].filter((name) => !(draft && COSTLY.has(name))).map((name) => WISHES[name]);
  return { body: { query, axes, percentiles, ...Object.assign({}, ...wishes) } };
}

export function toAddress() {
  const address = new URLSearchParams();
  if (state.words.trim()) address.set("q", state.words.trim());
  for (const { id, weight } of state.examples) if (id) address.append(weight < 0 ? "unlike" : "like", id);
  for (const [name, weight] of Object.entries(state.weights)) if (weight) address.append("axis", `${name}=${weight}`);
  for (const [name, band] of Object.entries(state.bands)) address.append("band", `${name}=${band.join(":")}`);
  if (state.sort) address.set("sort", state.sort);
  for (const name of state.wishes) address.append("wish", name);
  if (state.view !== "grid") address.set("view", state.view);
  return address.size ? `?${address}` : "/";
}

export function fromAddress(text) {
  const address = new URLSearchParams(text);
  const pairs = (key) => address.getAll(key).map((pair) => pair.split("="));
  state.words = address.get("q") ?? "";
  state.sort = address.get("sort") ?? "";
  state.view = address.get("view") === "plane" ? "plane" : "grid";
  state.wishes = new Set(address.getAll("wish").filter((name) => name in WISHES));
  state.weights = Object.fromEntries(pairs("axis").map(([name, weight]) => [name, Number(weight) || 0]));
  state.bands = Object.fromEntries(pairs("band").map(([name, band = ""]) => [name, band.split(":").map(Number)]));
  state.examples = [
    ...address.getAll("like").map((id) => example(Number(id), 1)),
    ...address.getAll("unlike").map((id) => example(Number(id), UNLIKE)),
  ];
}
