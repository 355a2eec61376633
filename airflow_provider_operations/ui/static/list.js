import { ask, cancel, duration, el, innerLink, moment, outerLink, setText, showProgress, taskApi, taskPath } from "./page.js";

const REFRESH_MS = 15000;
const AT_ONCE = 4;
const SHOWS = { running: "Running", orphans: "Orphans", failed: "Failed", ended: "All ended" };

const $ = (id) => document.getElementById(id);
const form = document.querySelector("form.filters");
const asked = new URLSearchParams(window.location.search);
const show = Object.hasOwn(SHOWS, asked.get("show") ?? "") ? asked.get("show") : "running";
const mayRun = show === "running" || show === "orphans"; // these are asked for, and may be cancelled
const columns = {
  ...(mayRun ? { "": "" } : {}),
  task: "Task",
  " ": "Operation",
  conn_id: "Connection",
  state: "Task state",
  ...(show === "running" ? { since: "Since" } : { ended: show === "orphans" ? "Task ended" : "Ended" }),
  "  ": "Elapsed",
};

let listed = { operations: [] };
let timer = null;
let round = 0;
let drawn = "";
const live = new Map(); // what the service said of each that runs
const chosen = new Set();
const doing = new Map(); // what became of each cancellation

for (const [name, value] of Object.entries({ show, hours: asked.get("hours") ?? "24", sort: asked.get("sort") ?? "" })) {
  form.elements[name].value = value;
}
for (const name of ["dag_id", "conn_id"]) {
  form.elements[name].value = asked.get(name) ?? "";
}

/** Return the address of the same list with something else about it. */
function other(changes) {
  const query = new URLSearchParams(asked);
  query.delete("offset");
  for (const [name, value] of Object.entries(changes)) query.set(name, value);
  return `?${query}`;
}

/** Tell rows apart, also when a task has another operation by now. */
const keyOf = ({ dag_id, run_id, task_id, map_index, name }) => JSON.stringify([dag_id, run_id, task_id, map_index, name]);

// --- refreshing ----------------------------------------------------------------------------------------------

async function refresh() {
  clearTimeout(timer);
  const mine = ++round;
  try {
    const query = new URLSearchParams();
    for (const name of ["show", "dag_id", "conn_id", "state", "hours", "sort", "offset"]) {
      if (asked.get(name)) query.set(name, asked.get(name));
    }
    listed = await ask(`api/operations?${query}`);
    draw();
    if (mayRun) await withEach(listed.operations, look, () => mine === round);
  } catch (error) {
    notice(error.message, true);
    if ([401, 403, 422].includes(error.status)) return;
  }
  if (mine === round && !document.hidden) timer = setTimeout(refresh, REFRESH_MS);
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  round += 1;
  if (!document.hidden) refresh();
});

/** Ask for an operation that runs, as its tab does; what was seen last stays where nothing is said now. */
async function look(row) {
  const { path, query } = taskApi(row);
  const key = keyOf(row);
  const before = live.get(key)?.operation;
  try {
    const view = await ask(`${path}?${query}`);
    live.set(key, view.name === row.name ? { ...view, operation: view.operation ?? before } : {});
  } catch (error) {
    live.set(key, { operation: before, problem: error.message });
  }
  drawLive(row);
}

/** Do something with each row, a few at a time, while it is of use. */
async function withEach(rows, act, useful = () => true) {
  const waiting = [...rows];
  const worker = async () => {
    while (waiting.length > 0 && useful()) await act(waiting.shift());
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

// --- showing -------------------------------------------------------------------------------------------------

function notice(text, bad = false) {
  setText($("notice"), text);
  $("notice").hidden = text === "";
  $("notice").classList.toggle("bad", bad);
}

function draw() {
  const { operations, counts, more_orphans, sweep, offset, page_rows, sort, states } = listed;
  const select = form.elements.state;
  if (select.options.length === 1) {
    select.append(...states.map((state) => el("option", { value: state }, state)));
    select.value = asked.get("state") ?? "";
    if (select.selectedIndex < 0) select.value = "";
  }
  const filtered = ["dag_id", "conn_id", "state"].some((name) => asked.get(name));
  const nothing = filtered
    ? "No operation matches."
    : show === "running"
      ? "No task waits for an operation."
      : show === "orphans"
      ? "No operation of a task that is over is known to run."
      : `No operation has ${show} in this time.`;
  notice(operations.length === 0 ? nothing : "");
  $("operations").hidden = operations.length === 0;
  const last = offset + operations.length;
  const total = counts[show];
  const page = operations.map(keyOf);
  for (const known of [live, chosen, doing]) {
    for (const key of known.keys()) if (!page.includes(key)) known.delete(key);
  }
  drawSweep(sweep, counts.orphans);
  const key = JSON.stringify([operations, counts]);
  if (key !== drawn) {
    drawn = key;
    $("shows").replaceChildren(
      ...Object.entries(SHOWS)
        .filter(([name]) => name !== "orphans" || sweep)
        .map(([name, label]) => {
          const count = `${counts[name]}${name === "orphans" && more_orphans ? " or more" : ""}`;
          return el("a", { href: other({ show: name, sort: "", state: "" }), "aria-current": name === show && "page" }, `${label} ${count}`);
        }),
    );
    $("head").replaceChildren(...Object.entries(columns).map((column) => heading(column, sort)));
    $("rows").replaceChildren(...operations.map(row));
    operations.forEach(drawLive);
    drawBulk();
    $("pages").hidden = total <= page_rows;
    $("pages").replaceChildren(
      `${operations.length ? offset + 1 : 0} to ${last} of ${total}`,
      offset > 0 ? el("a", { href: other({ offset: Math.max(offset - page_rows, 0) }) }, "Previous") : "",
      last < total ? el("a", { href: other({ offset: last }) }, "Next") : "",
    );
  }
  for (const cell of document.querySelectorAll("[data-since]")) {
    cell.textContent = duration(Date.now() - Date.parse(cell.dataset.since));
  }
}

/** Say whether sweeps run; where Airflow keeps no records there are none. */
function drawSweep(sweep, orphans) {
  const line = $("sweep");
  line.hidden = !sweep;
  if (!sweep) return;
  line.classList.toggle("bad", sweep.status === "unhealthy" || (sweep.status === "never" && orphans > 0));
  const { status, last_sweep, looked, cancelled, left } = sweep;
  if (status === "never") {
    line.replaceChildren("No sweep has run: what no task can cancel any more goes on.");
  } else {
    const missed = status === "healthy" ? "" : " No sweep has run since, though one should have.";
    line.replaceChildren("Last sweep: ", moment(last_sweep), `, looked at ${looked}, cancelled ${cancelled}, ${left} left.${missed}`);
  }
}

/** Say what a sweep has seen of an operation whose task is over; what it has noted may be anybody's text. */
function swept(orphan, ended) {
  if (!orphan) return "";
  const { said, at } = orphan;
  const parts = [said, at ? el("span", {}, "noted ", moment(at)) : ended ? el("span", {}, "not looked at since ", moment(ended)) : "not looked at"];
  return el("div", { class: "swept", dir: "auto" }, badge("orphan"), " ", ...parts.filter(Boolean).flatMap((part, index) => (index ? [", ", part] : [part])));
}

function heading([name, label], sort) {
  if (!name.trim()) return el("th", { scope: "col", "data-column": label }, label);
  const by = sort.replace("-", "") === name ? (sort.startsWith("-") ? "descending" : "ascending") : null;
  const arrow = { ascending: " ↑", descending: " ↓" }[by] ?? "";
  return el(
    "th",
    { scope: "col", "data-column": label, "aria-sort": by },
    el("a", { href: other({ sort: by === "ascending" ? `-${name}` : name }) }, label, arrow),
  );
}

function row(operation) {
  const { dag_id, run_id, task_id, map_index } = operation;
  const path = taskPath(operation);
  const label = `${dag_id} / ${task_id}${map_index >= 0 ? ` [${map_index}]` : ""}`;
  const cell = (label, attributes, ...children) => el("td", { "data-label": label, ...attributes }, ...children);
  const key = keyOf(operation);
  const box = el("input", {
    type: "checkbox",
    disabled: true,
    "aria-label": `Select ${label}`,
    onchange: (event) => {
      if (event.currentTarget.checked) chosen.add(key);
      else chosen.delete(key);
      drawBulk();
    },
  });
  return el(
    "tr",
    { "data-key": key },
    mayRun ? el("td", { class: "box" }, box) : null,
    cell(
      "Task",
      { class: "wide" },
      innerLink(`${path}/plugin/operation`, label),
      el("div", { class: "run" }, run_id),
      el("div", { class: "links" }, innerLink(path, "Log"), operation.console_url ? outerLink(operation.console_url, "Console") : ""),
    ),
    cell(
      "Operation",
      { class: "wide" },
      operation.name ? el("code", { dir: "auto" }, operation.name) : "its name isn't known",
      operation.result ? el("div", {}, badge(operation.result)) : "",
      swept(operation.orphan, operation.ended),
      mayRun ? el("div", { class: "progress", hidden: true }, el("progress", { max: 100, "aria-label": "Progress" }), el("span")) : "",
      el("div", { class: "said", dir: "auto", title: operation.message }, operation.message ?? ""),
    ),
    cell("Connection", { class: "wide" }, operation.conn_id ?? "–"),
    cell("Task state", {}, badge(operation.state ?? "no state")),
    show === "running"
      ? cell("Since", { class: "short" }, moment(operation.since))
      : cell(columns.ended, { class: "short" }, operation.ended ? moment(operation.ended) : "–"),
    mayRun
      ? cell("Elapsed", { class: "short", "data-since": operation.since })
      : cell("Elapsed", { class: "short" }, operation.ended ? duration(Date.parse(operation.ended) - Date.parse(operation.since)) : "–"),
  );
}

const badge = (state) => el("span", { class: "badge", "data-state": state }, state);

/** Show what the service said of an operation that runs, or what became of its cancellation. */
function drawLive(operation) {
  if (!mayRun) return;
  const key = keyOf(operation);
  const tr = [...$("rows").children].find((candidate) => candidate.dataset.key === key);
  if (tr === undefined) return;
  const view = live.get(key) ?? {};
  const seen = view.operation ?? null;
  if (seen) showProgress(tr.querySelector(".progress"), seen);
  const over = seen && seen.state !== "running" ? `${seen.state}; ${show === "orphans" ? "no sweep has" : "the task hasn't"} seen it yet` : "";
  const problem = view.problem ? `The service can't be asked: ${view.problem}` : "";
  const said = [over, doing.get(key), problem, seen?.message].find(Boolean) ?? "";
  const place = tr.querySelector(".said");
  setText(place, said);
  place.title = said;
  place.classList.toggle("bad", said !== "" && (said === problem || said === doing.get(key) && said !== CANCELLING));
  const box = tr.querySelector("input");
  box.disabled = !view.may_cancel || doing.get(key) === CANCELLING;
  if (box.disabled) chosen.delete(key);
  box.checked = chosen.has(key);
  drawBulk();
}

function drawBulk() {
  const boxes = [...document.querySelectorAll("#rows input:enabled")];
  $("bulk").hidden = boxes.length === 0;
  $("all").checked = boxes.length > 0 && chosen.size === boxes.length;
  $("all").indeterminate = chosen.size > 0 && chosen.size < boxes.length;
  setText($("chosen"), `${chosen.size} selected of the ${boxes.length} that you may cancel here`);
  $("cancel").disabled = chosen.size === 0;
}

// --- doing ---------------------------------------------------------------------------------------------------

const CANCELLING = "Cancelling …";
let confirming = [];

$("all").addEventListener("change", () => {
  const wanted = $("all").checked; // each click changes it
  for (const box of document.querySelectorAll("#rows input:enabled")) {
    if (box.checked !== wanted) box.click();
  }
});

$("cancel").addEventListener("click", () => {
  confirming = listed.operations.filter((operation) => chosen.has(keyOf(operation)));
  setText($("confirm-title"), confirming.length === 1 ? "Cancel this operation?" : `Cancel these ${confirming.length} operations?`);
  $("confirm-names").replaceChildren(...confirming.map(({ name }) => el("li", {}, el("code", { dir: "auto" }, name))));
  $("confirm").returnValue = "no";
  $("confirm").showModal();
});

$("confirm").addEventListener("close", async () => {
  if ($("confirm").returnValue !== "yes") return;
  // What the question named, each by a request of its own with the checks of its tab.
  for (const operation of confirming) {
    doing.set(keyOf(operation), CANCELLING);
    drawLive(operation);
  }
  await withEach(confirming, async (operation) => {
    try {
      await cancel(operation, operation.name);
    } catch (error) {
      doing.set(keyOf(operation), `Not cancelled: ${error.message}`);
      drawLive(operation);
    }
  });
  refresh();
});

refresh();
