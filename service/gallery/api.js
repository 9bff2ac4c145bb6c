// The REST interface, as the page uses it.

export class Problem extends Error {}

async function call(method, path, body, signal) {
  const response = await fetch(path, {
    method,
    signal,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Problem(answer.detail ?? `the server answered ${response.status}`);
  return answer;
}

export const listAxes = async () => (await call("GET", "/axes")).axes;
export const createAxis = (body) => call("POST", "/axes", body);
export const distribution = (axis, bars) => call("GET", `/axes/${encodeURIComponent(axis)}/distribution?bars=${bars}`);
export const generation = (id) => call("GET", `/generations/${id}`);
export const promote = (id) => call("POST", `/generations/${id}/promote`);
export const jobEvents = (id) => new EventSource(`/jobs/${id}/events`);
export const search = (body, signal) => call("POST", "/search", body, signal);
export const rank = (axis, body, signal) => call("POST", `/rank?axis=${encodeURIComponent(axis)}`, body, signal);
// Which hit was opened. The page may close meanwhile, and does not wait for the answer.
export const clicked = (query, image) =>
  fetch("/feedback", {
    method: "POST",
    keepalive: true,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ query, image, action: "click" }),
  }).catch(() => {});
export const contentUrl = (id, width) => `/images/${id}/content${width ? `?width=${width}` : ""}`;

// A file's bytes as base64, without the data: prefix.
export function base64Of(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
