// What tab and list have in common. Whatever comes from a server is put into the page as text, never as HTML.

/** Return a new element; children that aren't nodes become text. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, String(value));
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined).map(asNode));
  return element;
}

function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

/** Show exactly this text; leaves the element alone where it shows it already. */
export function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

/** Where Airflow's UI begins, with the path of [api] base_url. */
export const HOME = new URL("../", window.location.href);

/**
 * Let the page around us follow a link. Our frame's sandbox allows neither new tabs nor leaving the frame, and most
 * sites refuse to be shown in one; a link in the document around us is under no sandbox.
 */
function follow(event) {
  const link = event.currentTarget;
  let outer = null;
  try {
    outer = window.parent === window ? null : window.parent.document;
  } catch {
    // Framed by another origin.
  }
  if (outer === null) {
    return;
  }
  event.preventDefault();
  const twin = outer.createElement("a");
  twin.href = link.href;
  twin.rel = "noopener noreferrer";
  if (link.target === "_blank" || event.ctrlKey || event.metaKey || event.shiftKey) {
    twin.target = "_blank";
  }
  twin.hidden = true;
  outer.body.append(twin);
  twin.click();
  twin.remove();
}

/** Return a link within Airflow. */
export function innerLink(path, ...children) {
  return el("a", { href: new URL(path, HOME).href, target: "_top", onclick: follow }, ...children);
}

/** Return a link to another site, or mere text where the URL isn't http(s). */
export function outerLink(url, ...children) {
  let parsed = null;
  try {
    parsed = new URL(url);
  } catch {
    // No URL.
  }
  if (parsed === null || !["http:", "https:"].includes(parsed.protocol)) {
    return el("span", {}, ...children);
  }
  return el(
    "a",
    { href: parsed.href, title: parsed.href, target: "_blank", rel: "noopener noreferrer", onclick: follow },
    ...children,
  );
}

/** Return the JSON that the app answers with; throws an Error whose text is for people. */
export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", credentials: "same-origin", ...options });
  } catch {
    throw new Failure("Airflow doesn't answer.", 0);
  }
  let body = null;
  try {
    body = await response.json();
  } catch {
    // Not ours: a proxy's page.
  }
  if (!response.ok) {
    const said = typeof body?.detail === "string" ? body.detail : `HTTP ${response.status}`;
    const text =
      response.status === 401
        ? "You are signed out. Reload the page to sign in."
        : response.status === 403
          ? `You may not see or do this: ${said}.`
          : said;
    throw new Failure(text, response.status);
  }
  return body;
}

export class Failure extends Error {
  constructor(text, status) {
    super(text);
    this.status = status;
  }
}

/** Return a duration as Airflow's UI writes it: 00:03:05, 1d02:03:04. */
export function duration(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const days = Math.floor(s / 86400);
  const parts = [Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60, s % 60];
  return (days > 0 ? `${days}d` : "") + parts.map((part) => String(part).padStart(2, "0")).join(":");
}

/** The time zone that was chosen in Airflow's UI, which keeps it where a page of the same origin may look. */
function timeZone() {
  try {
    return JSON.parse(window.localStorage.getItem("timezone")) ?? undefined;
  } catch {
    return undefined; // Storage is blocked: the browser's, as in Airflow's UI where none was chosen.
  }
}

/** Write a point in time as Airflow's UI does: 2026-11-29 02:30:00, which is what Sweden writes. */
function written(date, options = {}) {
  try {
    return date.toLocaleString("sv-SE", { timeZone: timeZone(), ...options });
  } catch {
    return date.toLocaleString("sv-SE", options); // No such zone here.
  }
}

/** Return a point in time in Airflow's format and time zone. */
export function moment(iso) {
  const time = el("time", { datetime: iso });
  if (Number.isNaN(Date.parse(iso))) return iso;
  fill(time);
  return time;
}

function fill(time) {
  const date = new Date(time.dateTime);
  setText(time, written(date));
  time.title = written(date, { dateStyle: "short", timeStyle: "full" });
}

window.addEventListener("storage", (event) => {
  if (event.key === "timezone") document.querySelectorAll("time").forEach(fill);
});

/** Return where Airflow's UI has a task instance; its first tab is the log. */
export function taskPath({ dag_id, run_id, task_id, map_index }) {
  const part = encodeURIComponent;
  const mapped = map_index >= 0 ? `/mapped/${map_index}` : "";
  return `dags/${part(dag_id)}/runs/${part(run_id)}/tasks/${part(task_id)}${mapped}`;
}

/** Return where the app tells of a task's operation, and the query that says which task. */
export function taskApi({ dag_id, run_id, task_id, map_index }) {
  const query = new URLSearchParams({ run_id, task_id, map_index });
  return { path: `api/dags/${encodeURIComponent(dag_id)}/operation`, query };
}

/** Ask for the cancellation of the operation that the question named. */
export async function cancel(task, name) {
  const { path, query } = taskApi(task);
  query.set("name", name);
  await ask(`${path}/cancel?${query}`, { method: "POST", headers: { "X-Airflow-Operations": "cancel" } });
}

/** Show how far an operation is; one whose progress isn't known only if it runs. Of the same one it never falls. */
export function showProgress(line, { name, state, percent }) {
  const [bar, text] = line.children;
  if (name && bar.dataset.name === name && bar.hasAttribute("value")) percent = Math.max(percent ?? 0, bar.value);
  bar.dataset.name = name ?? "";
  const known = typeof percent === "number";
  line.hidden = !known && state !== "running";
  bar.dataset.state = state;
  if (known) {
    bar.value = percent;
  } else {
    bar.removeAttribute("value");
  }
  setText(text, known ? `${Number(percent.toPrecision(4))} %` : "");
}
