import { ask, duration, el, innerLink, moment } from "./page.js";

const REFRESH_MS = 15000;

const $ = (id) => document.getElementById(id);
const form = document.querySelector("form");
const asked = new URLSearchParams(window.location.search);
let timer = null;
let drawn = "";

for (const name of ["dag_id", "conn_id"]) {
  form.elements[name].value = asked.get(name) ?? "";
}

async function refresh() {
  clearTimeout(timer);
  try {
    const query = new URLSearchParams();
    for (const name of ["dag_id", "conn_id", "state"]) {
      if (asked.get(name)) query.set(name, asked.get(name));
    }
    show(await ask(`api/operations?${query}`));
  } catch (error) {
    notice(error.message, true);
    if ([401, 403, 422].includes(error.status)) return;
  }
  if (!document.hidden) timer = setTimeout(refresh, REFRESH_MS);
}

document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));

function notice(text, bad = false) {
  $("notice").textContent = text;
  $("notice").hidden = text === "";
  $("notice").classList.toggle("bad", bad);
}

function show({ operations, more, states }) {
  const select = form.elements.state;
  if (select.options.length === 1) {
    select.append(...states.map((state) => el("option", { value: state }, state)));
    select.value = asked.get("state") ?? "";
    if (select.selectedIndex < 0) select.value = "";
  }
  const filtered = ["dag_id", "conn_id", "state"].some((name) => asked.get(name));
  notice(
    operations.length === 0
      ? filtered
        ? "No running operation matches."
        : "No task waits for an operation."
      : more
        ? "There are more; these run longest. Filter to see others."
        : "",
  );
  $("operations").hidden = operations.length === 0;
  const key = JSON.stringify(operations);
  if (key !== drawn) {
    drawn = key;
    $("rows").replaceChildren(...operations.map(row));
  }
  for (const cell of document.querySelectorAll("[data-since]")) {
    cell.textContent = duration(Date.now() - Date.parse(cell.dataset.since));
  }
}

function row(operation) {
  const { dag_id, run_id, task_id, map_index } = operation;
  const part = encodeURIComponent;
  const mapped = map_index >= 0 ? `/mapped/${map_index}` : "";
  const path = `dags/${part(dag_id)}/runs/${part(run_id)}/tasks/${part(task_id)}${mapped}/plugin/operation`;
  const label = `${dag_id} / ${task_id}${map_index >= 0 ? ` [${map_index}]` : ""}`;
  return el(
    "tr",
    {},
    el("td", { class: "wide" }, innerLink(path, label), el("div", { class: "run" }, run_id)),
    el("td", { class: "wide" }, el("code", {}, operation.name)),
    el("td", {}, operation.conn_id ?? "–"),
    el("td", {}, el("span", { class: "badge", "data-state": operation.state }, operation.state)),
    el("td", { class: "short" }, moment(operation.since)),
    el("td", { class: "short", "data-since": operation.since }),
  );
}

refresh();
