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

/** Return a duration for people: 42 s, 3 min 5 s, 2 h 4 min, 3 d 2 h. */
export function duration(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const [m, h, d] = [Math.floor(s / 60), Math.floor(s / 3600), Math.floor(s / 86400)];
  if (d > 0) return `${d} d ${h % 24} h`;
  if (h > 0) return `${h} h ${m % 60} min`;
  return m > 0 ? `${m} min ${s % 60} s` : `${s} s`;
}

/** Return a point in time as the browser's language writes it. */
export function moment(iso) {
  const date = new Date(iso);
  return Number.isNaN(date.getTime())
    ? iso
    : el("time", { datetime: iso, title: iso }, date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" }));
}
