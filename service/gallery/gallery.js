// The page is a function of `state`: a change goes into it, `refresh` asks the server, the grid shows the answer.

import { base64Of, contentUrl, listAxes, Problem, rank, search } from "/gallery/api.js";
import { hitCard, showViewer } from "/gallery/hits.js";

const PAGE = 40;
const TYPING_PAUSE_MS = 180;
const UNLIKE = -0.5; // at full weight it would drown the wish
const DEFAULT_AXIS = "aesthetics";

const at = (selector) => document.querySelector(selector);
const state = { words: "", examples: [], weights: {}, sort: "", cursor: null };
let running = null;

// ---- what to ask -------------------------------------------------------------------------------

function query() {
  const parts = state.examples.map(({ id, image, weight }) => (id ? { id, weight } : { image, weight }));
  if (state.words.trim()) parts.unshift({ text: state.words.trim() });
  return parts.length ? parts : null;
}

function ask(cursor, signal) {
  const parts = query();
  const axes = Object.fromEntries(Object.entries(state.weights).filter(([, weight]) => weight !== 0));
  const taste = Object.keys(axes).length > 0;
  const page = { limit: PAGE, cursor };
  if (state.sort || (!parts && !taste)) {
    const [axis, order] = (state.sort || `${DEFAULT_AXIS} desc`).split(" ");
    return rank(axis, { query: parts, order, ...page }, signal);
  }
  return search({ query: parts, axes, ...page }, signal);
}

async function refresh() {
  running?.abort();
  const mine = (running = new AbortController());
  at("#grid").classList.add("busy");
  remember();
  try {
    const answer = await ask(null, mine.signal);
    if (mine !== running) return;
    at("#grid").replaceChildren();
    show(answer);
  } catch (error) {
    if (error.name !== "AbortError") fail(error);
  } finally {
    if (mine === running) at("#grid").classList.remove("busy");
  }
}

async function showMore() {
  const button = at("#more button");
  button.disabled = true;
  try {
    show(await ask(state.cursor, running?.signal));
  } catch (error) {
    if (error.name !== "AbortError") fail(error);
  } finally {
    button.disabled = false;
  }
}

// ---- what came back ----------------------------------------------------------------------------

function show(answer) {
  state.cursor = answer.cursor;
  at("#grid").append(...answer.hits.map((hit) => hitCard(hit, { open, like: () => like(hit, 1) })));
  if (!at("#grid").childElementCount) at("#grid").append(emptyMessage(answer.index.images));
  const order = answer.candidates.mode === "exact" ? "every picture scored" : `best ${answer.candidates.n} candidates`;
  at("#status").className = "";
  at("#status").textContent =
    `${answer.index.images.toLocaleString()} pictures · ${order} · ${Math.round(answer.timings_ms.total)} ms · ${answer.model}`;
  at("#notes").replaceChildren(...answer.warnings.map((text) => element("li", text)));
  at("#more button").hidden = answer.cursor === null;
}

function emptyMessage(images) {
  const message = element("p", images ? "No picture passes." : "No pictures yet. Add some with ");
  message.className = "empty";
  if (!images) message.append(element("code", "kallos index FOLDER"));
  return message;
}

function fail(error) {
  at("#status").className = "error";
  at("#status").textContent = error instanceof Problem ? error.message : `The server cannot be reached: ${error.message}`;
}

function open(hit) {
  showViewer(at("#viewer"), hit, { like: () => like(hit, 1), unlike: () => like(hit, UNLIKE) });
}

// ---- examples ----------------------------------------------------------------------------------

function like(hit, weight) {
  const others = state.examples.filter((example) => example.id !== hit.id);
  // "More like this" starts from this picture; "less" refines what is there.
  state.examples = weight > 0 ? [{ id: hit.id, weight, url: contentUrl(hit.id, 160) }] : [...others, { id: hit.id, weight, url: contentUrl(hit.id, 160) }];
  if (weight > 0) {
    state.words = "";
    at("#words").value = "";
  }
  at("#viewer").close();
  scrollTo({ top: 0 });
  drawExamples();
  refresh();
}

async function useFile(file) {
  if (!file) return;
  state.examples = [{ image: await base64Of(file), weight: 1, url: URL.createObjectURL(file) }];
  drawExamples();
  refresh();
}

function drawExamples() {
  at("#parts").replaceChildren(
    ...state.examples.map((example) => {
      const item = element("li");
      item.classList.toggle("against", example.weight < 0);
      const picture = element("img");
      picture.src = example.url;
      picture.alt = example.weight < 0 ? "less like this picture" : "like this picture";
      const remove = element("button", "×");
      remove.type = "button";
      remove.setAttribute("aria-label", "Remove this picture from the query");
      remove.onclick = () => {
        state.examples = state.examples.filter((other) => other !== example);
        drawExamples();
        refresh();
      };
      item.append(picture, remove);
      return item;
    }),
  );
}

// ---- taste -------------------------------------------------------------------------------------

function drawAxes(axes) {
  at("#sliders").replaceChildren(...axes.map(slider));
  const choices = [["", "Best match"]];
  for (const { name } of axes) choices.push([`${name} desc`, `${title(name)}: most first`], [`${name} asc`, `${title(name)}: least first`]);
  at("#sort").replaceChildren(...choices.map(([value, text]) => Object.assign(element("option", text), { value })));
  at("#sort").value = state.sort;
}

function slider(axis) {
  const label = element("label");
  label.className = axis.trust === "weak" ? "axis weak" : "axis";
  label.title = axis.card;
  const input = Object.assign(element("input"), { type: "range", min: -3, max: 3, step: 0.1, value: state.weights[axis.name] ?? 0 });
  input.setAttribute("aria-label", `Weight of ${title(axis.name)}`);
  const value = element("output");
  const draw = () => {
    const weight = Number(input.value);
    value.textContent = weight === 0 ? "off" : `${weight > 0 ? "+" : "−"}${Math.abs(weight).toFixed(1)}`;
    label.classList.toggle("on", weight !== 0);
    at("#reset").hidden = Object.values(state.weights).every((other) => !other) && !state.sort;
  };
  const set = (weight) => {
    state.weights[axis.name] = weight;
    draw();
  };
  input.addEventListener("input", () => {
    set(Number(input.value));
    soon(refresh);
  });
  input.addEventListener("dblclick", () => {
    input.value = 0;
    set(0);
    refresh();
  });
  label.append(element("span", title(axis.name)), value, input);
  draw();
  return label;
}

const title = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");

// ---- the address bar holds the words, the examples by id, and the taste ---------------------------

function remember() {
  const address = new URLSearchParams();
  if (state.words.trim()) address.set("q", state.words.trim());
  for (const { id, weight } of state.examples) if (id) address.append(weight < 0 ? "unlike" : "like", id);
  for (const [name, weight] of Object.entries(state.weights)) if (weight) address.append("axis", `${name}=${weight}`);
  if (state.sort) address.set("sort", state.sort);
  const text = address.size ? `?${address}` : "/";
  if (text !== (location.search || "/")) history.pushState(null, "", text);
}

function recall() {
  const address = new URLSearchParams(location.search);
  state.words = address.get("q") ?? "";
  state.sort = address.get("sort") ?? "";
  state.weights = Object.fromEntries(address.getAll("axis").map((text) => [text.split("=")[0], Number(text.split("=")[1]) || 0]));
  const example = (weight) => (id) => ({ id: Number(id), weight, url: contentUrl(Number(id), 160) });
  state.examples = [...address.getAll("like").map(example(1)), ...address.getAll("unlike").map(example(UNLIKE))];
  at("#words").value = state.words;
  drawExamples();
}

// ---- wiring ------------------------------------------------------------------------------------

function element(tag, text) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  return made;
}

let pause = 0;
function soon(work) {
  clearTimeout(pause);
  pause = setTimeout(work, TYPING_PAUSE_MS);
}

at("#ask").addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(pause);
  refresh();
});
at("#words").addEventListener("input", () => {
  state.words = at("#words").value;
  soon(refresh);
});
at("#file").addEventListener("change", (event) => useFile(event.target.files[0]));
at("#sort").addEventListener("change", () => {
  state.sort = at("#sort").value;
  at("#reset").hidden = false;
  refresh();
});
at("#reset").addEventListener("click", () => {
  state.weights = {};
  state.sort = "";
  drawAxes(axes);
  at("#reset").hidden = true;
  refresh();
});
at("#more button").addEventListener("click", showMore);
new IntersectionObserver(([entry]) => entry.isIntersecting && !at("#more button").hidden && !at("#more button").disabled && showMore(), {
  rootMargin: "600px",
}).observe(at("#more"));

for (const kind of ["dragenter", "dragover"])
  addEventListener(kind, (event) => {
    event.preventDefault();
    at("#drop").classList.add("on");
  });
addEventListener("dragleave", (event) => event.relatedTarget === null && at("#drop").classList.remove("on"));
addEventListener("drop", (event) => {
  event.preventDefault();
  at("#drop").classList.remove("on");
  useFile(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => useFile([...event.clipboardData.files].find((file) => file.type.startsWith("image/"))));
addEventListener("popstate", () => {
  recall();
  drawAxes(axes);
  refresh();
});

recall();
let axes = [];
try {
  axes = await listAxes();
  drawAxes(axes);
  await refresh();
} catch (error) {
  fail(error);
}
