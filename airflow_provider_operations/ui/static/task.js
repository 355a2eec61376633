import {
  Failure,
  ask,
  cancel,
  duration,
  el,
  innerLink,
  moment,
  outerLink,
  setText,
  showProgress,
  taskApi,
  taskPath,
} from "./page.js";

const REFRESH_MS = 2000;
const AFTER_FAILURE_MS = 10000;

const $ = (id) => document.getElementById(id);
const asked = new URLSearchParams(window.location.search);
const task = {
  dag_id: asked.get("dag_id") ?? "",
  run_id: asked.get("run_id") ?? "",
  task_id: asked.get("task_id") ?? "",
  // The UI leaves its placeholder where a task isn't mapped.
  map_index: /^\d+$/.test(asked.get("map_index") ?? "") ? Number(asked.get("map_index")) : -1,
};

let shown = null;
let lastSeen = null;
let cancelling = null;
let confirming = null;
let timer = null;
let ticking = null;
const drawn = new Map();

// --- refreshing ----------------------------------------------------------------------------------------------

async function refresh() {
  clearTimeout(timer);
  let pause = REFRESH_MS;
  try {
    const { path, query } = taskApi(task);
    shown = withLastSeen(await ask(`${path}?${query}`));
    show(shown);
    if (shown.problem) pause = AFTER_FAILURE_MS;
  } catch (error) {
    notice(error.message, true);
    pause = error instanceof Failure && [401, 403, 404, 422].includes(error.status) ? null : AFTER_FAILURE_MS;
    if (pause === null) $("operation").hidden = true;
  }
  const live = pause !== null && (shown === null || shown.live);
  document.body.dataset.live = String(live);
  if (live && !document.hidden) {
    timer = setTimeout(refresh, pause);
  }
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden && document.body.dataset.live === "true") refresh();
});

/** Keep what the service said last where it says nothing now. */
function withLastSeen(view) {
  if (view.operation !== null) {
    lastSeen = { name: view.name, operation: view.operation, at: new Date().toISOString() };
  } else if (view.problem !== null && lastSeen?.name === view.name) {
    return { ...view, operation: lastSeen.operation, seen_at: lastSeen.at };
  }
  return view;
}

// --- showing -------------------------------------------------------------------------------------------------

function notice(text, bad = false) {
  const element = $("notice");
  const parts = [text].flat();
  if (element.textContent !== parts.map((part) => part.textContent ?? part).join("")) element.replaceChildren(...parts);
  element.hidden = text === "";
  element.classList.toggle("bad", bad);
}

function show(view) {
  const operation = view.operation;
  const nothing = view.name === null && operation === null;
  const problem = view.problem ? `The service can't be asked: ${view.problem}` : "";
  notice(problem || (nothing ? withoutOperation(view) : ""), problem !== "");
  $("operation").hidden = nothing;
  if (nothing) return;
  setText($("name"), operation?.name || view.name);
  const state = operation?.state ?? "unknown";
  setText($("state"), state);
  $("state").dataset.state = state;
  redraw("remembered", [view.remembered, view.seen_at], ([remembered, at]) =>
    at ? ["as seen at ", moment(at)] : remembered ? "as the task saw it last; the service has no more to say" : "",
  );
  $("remembered").hidden = !view.remembered && !view.seen_at;
  showProgress($("progress-line"), { name: operation?.name, state, percent: operation?.percent });
  setText($("message"), operation?.message ?? "");
  $("message").hidden = !operation?.message;
  redraw("started", operation?.started ?? view.task.started, (at) => (at ? moment(at) : "–"));
  tick();
  clearInterval(ticking);
  if (state === "running") ticking = setInterval(tick, 1000);
  const { state: taskState, map_index } = view.task;
  setText($("task-state"), [taskState ?? "no state", map_index >= 0 ? `map index ${map_index}` : ""].filter(Boolean).join(", "));
  setText($("connection"), view.conn_id ?? "–");
  redraw("cancellation", view.cancel_asked, (by) =>
    by ? [`asked for by ${by.by}`, ...(by.at ? [" at ", moment(by.at)] : [])] : "",
  );
  $("cancellation").hidden = $("cancellation-label").hidden = !view.cancel_asked;
  redraw("console", view.console_url, (url) => (url ? outerLink(url, "Open in the service's console") : ""));
  $("cancel").hidden = !view.may_cancel;
  $("cancel").disabled = cancelling === view.name;
  setText($("cancel"), cancelling === view.name ? "Cancelling …" : "Cancel operation");
  if (!view.may_cancel && $("confirm").open) $("confirm").close("no");
  redraw("error", operation?.error ?? null, errorParts);
  $("error").hidden = !operation?.error;
  redraw("tree", operation?.metadata ?? null, (metadata) => (metadata === null ? "" : branch("", metadata, "", true)));
  $("metadata").hidden = (operation?.metadata ?? null) === null;
}

/** Say that there is no operation; where something failed, the log says what. */
function withoutOperation(view) {
  const state = view.task.state;
  const text = state === null || view.live ? "This task has no operation yet." : "This task has no operation.";
  return ["failed", "up_for_retry"].includes(state)
    ? [`${text} If it failed to start one, `, innerLink(taskPath(task), "its log"), " says why."]
    : text;
}

function tick() {
  const operation = shown?.operation;
  const started = Date.parse(operation?.started ?? shown?.task.started ?? "");
  const ended =
    operation?.state === "running" ? Date.now() : Date.parse(operation?.ended ?? shown?.task.ended ?? "");
  setText($("elapsed"), Number.isNaN(started) || Number.isNaN(ended) ? "–" : duration(ended - started));
}

/** Draw a part anew only when it has changed, so that focus and selection stay. */
function redraw(id, value, draw) {
  const key = JSON.stringify(value);
  if (drawn.get(id) !== key) {
    drawn.set(id, key);
    const parts = draw(value);
    $(id).replaceChildren(...(Array.isArray(parts) ? parts : [parts]));
  }
}

// --- metadata ------------------------------------------------------------------------------------------------

const folded = new Map();

function branch(key, value, path, root = false) {
  if (value === null || typeof value !== "object") {
    return el("div", { class: "leaf" }, key === "" ? null : el("span", { class: "key", dir: "auto" }, `${key}: `), leaf(value));
  }
  const entries = Object.entries(value);
  const size = Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}`;
  const open = folded.get(path) ?? (root || entries.length <= 8);
  const details = el("details", { open }, el("summary", {}, root ? "all" : key, " ", el("span", { class: "size" }, size)));
  const fill = () => {
    if (details.open && details.childElementCount === 1) {
      details.append(el("div", { class: "children" }, ...entries.map(([name, item]) => branch(name, item, `${path}/${name}`))));
    }
  };
  details.addEventListener("toggle", () => {
    folded.set(path, details.open);
    fill();
  });
  fill();
  return details;
}

function leaf(value) {
  const kind = value === null ? "null" : typeof value;
  return el("span", { class: `value ${kind}`, dir: "auto" }, kind === "string" ? value : JSON.stringify(value));
}

// --- errors --------------------------------------------------------------------------------------------------

function errorParts(error) {
  if (error === null) return "";
  return [el("h2", {}, error.code), el("p", { class: "text", dir: "auto" }, error.message), ...error.sections.map(section)];
}

function section(detail) {
  const parts = [el("h3", {}, detail.title)];
  if (detail.facts?.length) {
    parts.push(el("dl", {}, ...detail.facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", { class: "text", dir: "auto" }, cell(value))])));
  }
  if (detail.table) {
    parts.push(
      el(
        "table",
        {},
        el("thead", {}, el("tr", {}, ...detail.table.columns.map((column) => el("th", { scope: "col" }, column)))),
        el("tbody", {}, ...detail.table.rows.map((row) => el("tr", {}, ...row.map((value) => el("td", { class: "text", dir: "auto" }, cell(value)))))),
      ),
    );
  }
  if ("json" in detail) {
    parts.push(el("pre", { class: "text", dir: "auto" }, JSON.stringify(detail.json, null, 2)));
  }
  return el("section", {}, ...parts);
}

function cell(value) {
  return typeof value === "string" ? value : outerLink(value.url, value.text);
}

// --- doing ---------------------------------------------------------------------------------------------------

$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("name").textContent);
    setText($("copy"), "Copied");
  } catch {
    window.getSelection().selectAllChildren($("name"));
    setText($("copy"), "Selected");
  }
  setTimeout(() => setText($("copy"), "Copy name"), 2000);
});

$("cancel").addEventListener("click", () => {
  confirming = shown.name;
  setText($("confirm-name"), $("name").textContent);
  $("confirm").returnValue = "no";
  $("confirm").showModal();
});

$("confirm").addEventListener("close", async () => {
  if ($("confirm").returnValue !== "yes") return;
  cancelling = confirming; // what the question named: the task may have another operation by now
  show(shown);
  try {
    await cancel(task, cancelling);
    await refresh();
  } catch (error) {
    cancelling = null;
    show(shown);
    notice(`The operation was not cancelled: ${error.message}`, true);
    clearTimeout(timer);
    timer = setTimeout(refresh, AFTER_FAILURE_MS);
  }
});

refresh();
