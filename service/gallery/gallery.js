// The page is a function of `state`: a change goes into it, `refresh` asks the server, the views show the answer.

import { base64Of, clicked, listAxes, Problem, rank, search } from "/gallery/api.js";
import { at, button, element, title } from "/gallery/dom.js";
import { hitCard, showViewer } from "/gallery/hits.js";
import { Making } from "/gallery/made.js";
import { Plane } from "/gallery/plane.js";
import { example, fromAddress, isCostly, isTasteless, request, state, toAddress, UNLIKE } from "/gallery/state.js";
import { tasteControl } from "/gallery/taste.js";
import { Teaching } from "/gallery/teach.js";

const PAGE = 40;
const PLANE_PAGE = 120; // the plane has no second page
const TYPING_PAUSE_MS = 180;
const SETTLED_MS = 1500; // without a key for so long, typing has ended

let axes = [];
let hits = [];
let cursor = null;
let running = null;
let pause = 0;
let draft = false; // whether the hits are those of a request without its costly wishes

// ---- asking ------------------------------------------------------------------------------------

function ask(from, signal) {
  const { axis, body } = request({ draft });
  const page = { limit: state.view === "plane" ? PLANE_PAGE : PAGE, cursor: from };
  return axis ? rank(axis, { ...body, ...page }, signal) : search({ ...body, ...page }, signal);
}

async function refresh(inBetween = false) {
  clearTimeout(pause);
  running?.abort();
  draft = inBetween;
  const mine = (running = new AbortController());
  at("main").classList.add("busy");
  remember();
  try {
    const answer = await ask(null, mine.signal);
    if (mine !== running) return;
    hits = [];
    at("#grid").replaceChildren();
    at("#notes").replaceChildren(...notes(answer).map((text) => element("li", { textContent: text })));
    making.show(answer);
    show(answer);
  } catch (error) {
    if (error.name !== "AbortError") fail(error);
  } finally {
    if (mine === running) at("main").classList.remove("busy");
  }
}

async function showMore() {
  const more = at("#more button");
  more.disabled = true;
  try {
    show(await ask(cursor, running?.signal));
  } catch (error) {
    if (error.name !== "AbortError") fail(error);
  } finally {
    more.disabled = false;
  }
}

function refreshSoon() {
  clearTimeout(pause);
  pause = setTimeout(() => {
    refresh(true);
    if (isCostly()) pause = setTimeout(refresh, SETTLED_MS);
  }, TYPING_PAUSE_MS);
}

// ---- what came back ----------------------------------------------------------------------------

function show(answer) {
  cursor = answer.cursor;
  hits = [...hits, ...answer.hits];
  const card = (hit) => hitCard(hit, { open, like: () => like(hit, 1), give: (end) => teaching.give(hit.id, end) });
  at("#grid").append(...answer.hits.map(card));
  if (!hits.length) at("#grid").append(emptyMessage(answer.index.images));
  plane.show(hits).catch(fail);
  const order = answer.candidates.mode === "exact" ? "every picture scored" : `best ${answer.candidates.n} candidates`;
  at("#status").className = "";
  at("#status").textContent =
    `${answer.index.images.toLocaleString()} pictures · ${order} · ${Math.round(answer.timings_ms.total)} ms · ${answer.model}`;
  at("#more button").hidden = cursor === null || state.view === "plane";
}

// What a person should know before trusting the hits.
function notes({ warnings, rewrite, words, match, match_probability: probability }) {
  const said = [...warnings, ...words.filter(({ how }) => how === "spelling").map(respelled)];
  if (rewrite) said.unshift(rewrite.text ? `Searched for this too: ${rewrite.text}` : `Not rephrased: ${rewrite.reason}`);
  const isUnlikely = probability !== null && probability < match.threshold;
  if (isUnlikely) said.unshift(`Perhaps nothing here fits (${Math.round(100 * probability)} %).`);
  return said;
}

const respelled = ({ word, forms }) => `No picture has the word “${word}”: searched for ${forms.join(", ")} too.`;

function emptyMessage(images) {
  const message = element("p", { className: "empty", textContent: images ? "No picture passes." : "No pictures yet. Add some with " });
  if (!images) message.append(element("code", { textContent: "kallos index FOLDER" }));
  return message;
}

function fail(error) {
  at("#status").className = "error";
  at("#status").textContent = error instanceof Problem ? error.message : `The server cannot be reached: ${error.message}`;
}

function open(hit) {
  if (state.words.trim()) clicked(state.words.trim(), hit.id);
  showViewer(at("#viewer"), hit, { like: () => like(hit, 1), unlike: () => like(hit, UNLIKE) });
}

// ---- examples ----------------------------------------------------------------------------------

function like(hit, weight) {
  // "More like this" starts from this picture; "less" refines what is there.
  const others = weight > 0 ? [] : state.examples.filter((other) => other.id !== hit.id);
  state.examples = [...others, example(hit.id, weight)];
  if (weight > 0) state.words = at("#words").value = "";
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
    ...state.examples.map((one) => {
      const against = one.weight < 0;
      const remove = button("×", {
        onclick: () => {
          state.examples = state.examples.filter((other) => other !== one);
          drawExamples();
          refresh();
        },
      });
      remove.setAttribute("aria-label", "Remove this picture from the query");
      const picture = element("img", { src: one.url, alt: against ? "less like this picture" : "like this picture" });
      return element("li", { className: against ? "against" : "" }, picture, remove);
    }),
  );
}

// ---- taste -------------------------------------------------------------------------------------

function tasteChanged(dragging) {
  at("#reset").hidden = isTasteless();
  if (dragging) refreshSoon();
  else refresh();
}

function drawTaste() {
  at("#sliders").replaceChildren(...axes.map((axis) => tasteControl(axis, tasteChanged)));
  const choices = [["", "Best match"]];
  for (const { name } of axes) choices.push([`${name} desc`, `${title(name)}: most first`], [`${name} asc`, `${title(name)}: least first`]);
  at("#sort").replaceChildren(...choices.map(([value, textContent]) => element("option", { value, textContent })));
  at("#sort").value = state.sort;
  at("#reset").hidden = isTasteless();
  plane.setAxes(axes);
}

const teaching = new Teaching(async (axis) => {
  axes = await listAxes();
  state.weights[axis.name] = 1.5;
  drawTaste();
  refresh();
});
const making = new Making(at("#made"), refresh);
const plane = new Plane(at("#plane"), open);

function drawView() {
  at("#grid").hidden = state.view === "plane";
  at("#plane").hidden = state.view !== "plane";
  at("#view").textContent = state.view === "plane" ? "Grid" : "Plane";
}

// ---- the address bar ---------------------------------------------------------------------------

function remember() {
  const text = toAddress();
  if (text !== (location.search || "/")) history.pushState(null, "", text);
}

function recall() {
  fromAddress(location.search);
  at("#words").value = state.words;
  for (const box of document.querySelectorAll("#wishes input")) box.checked = state.wishes.has(box.value);
  drawExamples();
  drawView();
}

// ---- wiring ------------------------------------------------------------------------------------

at("#ask").addEventListener("submit", (event) => {
  event.preventDefault();
  refresh();
});
at("#words").addEventListener("input", () => {
  state.words = at("#words").value;
  refreshSoon();
});
at("#file").addEventListener("change", (event) => useFile(event.target.files[0]));
at("#sort").addEventListener("change", () => {
  state.sort = at("#sort").value;
  tasteChanged(false);
});
at("#wishes").addEventListener("change", ({ target }) => {
  if (target.checked) state.wishes.add(target.value);
  else state.wishes.delete(target.value);
  refresh();
});
at("#view").addEventListener("click", () => {
  state.view = state.view === "plane" ? "grid" : "plane";
  drawView();
  refresh();
});
at("#reset").addEventListener("click", () => {
  Object.assign(state, { weights: {}, bands: {}, sort: "" });
  drawTaste();
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
  drawTaste();
  refresh();
});

recall();
try {
  axes = await listAxes();
  drawTaste();
  await refresh();
} catch (error) {
  fail(error);
}
