// Small helpers over the document.

export const at = (selector) => document.querySelector(selector);

// element("b", { className: "x", textContent: "y" }, child, …)
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function button(text, properties = {}) {
  return element("button", { type: "button", textContent: text, ...properties });
}

// "recency_visual" → "Recency visual"
export const title = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");
