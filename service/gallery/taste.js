// One control for each axis: how much it weighs, and which share of the collection it lets through.

import { distribution } from "/gallery/api.js";
import { button, element, title } from "/gallery/dom.js";
import { state } from "/gallery/state.js";

const BARS = 40;

// `changed(soon)` is called after every change; `soon` while the person still drags.
export function tasteControl(axis, changed) {
  const control = element("div", { className: axis.trust === "weak" ? "axis weak" : "axis" });
  control.append(weightSlider(axis, control, changed), bandToggle(axis, control, changed));
  return control;
}

function weightSlider(axis, control, changed) {
  const value = element("output");
  const input = element("input", { type: "range", min: -3, max: 3, step: 0.1, value: state.weights[axis.name] ?? 0 });
  input.setAttribute("aria-label", `Weight of ${title(axis.name)}`);
  const set = (weight) => {
    state.weights[axis.name] = weight;
    value.textContent = weight === 0 ? "off" : `${weight > 0 ? "+" : "−"}${Math.abs(weight).toFixed(1)}`;
    control.classList.toggle("on", weight !== 0);
  };
  input.addEventListener("input", () => {
    set(Number(input.value));
    changed(true);
  });
  input.addEventListener("dblclick", () => {
    input.value = 0;
    set(0);
    changed(false);
  });
  set(Number(input.value));
  return element("label", { title: axis.card }, element("span", { textContent: title(axis.name) }), value, input);
}

// The histogram of the axis with two thumbs; fetched when it is opened for the first time.
function bandToggle(axis, control, changed) {
  const toggle = button("", { className: "toggle", title: `Keep only a range of ${title(axis.name)}` });
  toggle.setAttribute("aria-label", `Range of ${title(axis.name)}`);
  let panel = null;
  const draw = () => {
    const band = state.bands[axis.name];
    toggle.textContent = band ? `${band[0]}–${band[1]} %` : "all";
    control.classList.toggle("banded", Boolean(band));
  };
  const open = async () => {
    panel = element("div", { className: "band" });
    control.append(panel);
    try {
      const found = await distribution(axis.name, BARS);
      panel.append(histogram(found), ...thumbs(axis, () => {
        draw();
        changed(true);
      }));
    } catch (error) {
      panel.textContent = error.message;
    }
  };
  toggle.addEventListener("click", () => {
    if (panel === null) open();
    else panel.hidden = !panel.hidden;
  });
  draw();
  return toggle;
}

function histogram({ counts }) {
  const most = Math.max(...counts, 1);
  const bars = counts.map((count) => {
    const bar = element("i");
    bar.style.height = `${Math.max(count ? 4 : 0, (100 * count) / most)}%`;
    return bar;
  });
  const strip = element("div", { className: "bars" }, ...bars);
  strip.setAttribute("aria-hidden", "true");
  return strip;
}

function thumbs(axis, changed) {
  const [from, to] = state.bands[axis.name] ?? [0, 100];
  const make = (value, what) => {
    const input = element("input", { type: "range", min: 0, max: 100, step: 1, value });
    input.setAttribute("aria-label", `${what} percentile of ${title(axis.name)}`);
    return input;
  };
  const low = make(from, "Lowest");
  const high = make(to, "Highest");
  const set = (moved) => {
    if (Number(low.value) >= Number(high.value)) {
      if (moved === low) low.value = Math.max(0, Number(high.value) - 1);
      else high.value = Math.min(100, Number(low.value) + 1);
    }
    const band = [Number(low.value), Number(high.value)];
    if (band[0] === 0 && band[1] === 100) delete state.bands[axis.name];
    else state.bands[axis.name] = band;
    changed();
  };
  for (const input of [low, high]) input.addEventListener("input", () => set(input));
  return [low, high];
}
