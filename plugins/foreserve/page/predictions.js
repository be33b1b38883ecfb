// The page in Airflow: the models as on the page of the lookup service, and a button for each version that readers can be
// given. It triggers the DAG `roll_back` by Airflow's API, with the session of the user.

import { get, Problem } from "./page/api.js";
import { $, difference, h, measure, say } from "./page/dom.js";
import { table } from "./page/charts.js";
import * as models from "./page/models.js";

const EVERY_MS = 5_000;
const RUNS = new URL("../api/v2/dags/roll_back/dagRuns", document.baseURI);
const ENDED = ["success", "failed"];

async function show() {
  try {
    const { models: known, may_roll_back: mayRollBack } = JSON.parse(await get("v1/models"));
    models.show(known, mayRollBack ? button : () => null);
    say($("models-state"), known.length ? "" : "There are no models yet, or none whose DAG you may read.");
    $("models-state").className = "quiet";
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    say($("models-state"), `The models cannot be listed. ${problem.message}`);
    $("models-state").className = "bad";
  }
}

async function poll() {
  if (!document.hidden) await show();
  setTimeout(poll, EVERY_MS);
}

/** The button by which readers get a version; null if they cannot get it. */
function button(model, version) {
  const isForward = model.forward_targets.includes(version.version);
  if (!isForward && !model.rollback_targets.includes(version.version)) return null;
  const made = h("button.plain", { type: "button" }, isForward ? "Promote this version" : "Roll back to this version");
  made.addEventListener("click", () => ask(model, version, isForward ? "promote" : "roll back"));
  return made;
}

/** Asks for a reason, after showing what will change, and switches readers to a version. */
function ask(model, target, verb) {
  const active = model.versions.find(({ version }) => version === model.active_version);
  say($("ask-title"), verb === "promote" ? `Promote a version of ${model.model}?` : `Roll ${model.model} back?`);
  const [from, to] = [active, target].map((version) => version?.created_at.slice(0, 19).replace("T", " "));
  say($("effect"), `Readers get the predictions of ${to} UTC${from ? `, instead of those of ${from} UTC` : ""}.`);
  $("compared").replaceChildren(active ? compared(active, target) : "");
  say($("act"), verb === "promote" ? "Promote" : "Roll back");
  $("reason").value = "";
  $("ask").returnValue = "";
  $("ask").onclose = () =>
    $("ask").returnValue === "act" && switchTo(model.model, target.version, $("reason").value, verb);
  $("ask").showModal();
  $("reason").focus();
}

/** The predictions and metrics of the active version and of another, as a table. */
function compared(active, target) {
  const [now, then] = [active, target].map(({ details }) => ({
    predictions: details.counts?.predictions,
    ...details.metrics?.candidate,
  }));
  const names = Object.keys(then).filter((name) => Number.isFinite(now[name]) && Number.isFinite(then[name]));
  const rows = names.map((name) => [name, measure(now[name]), measure(then[name]), difference(then[name] - now[name])]);
  return rows.length ? table("What changes", ["Figure", "Now", "Then", "Change"], rows) : "";
}

async function switchTo(model, version, reason, verb) {
  announce(`${model}: switching to ${version}…`);
  const done = verb === "promote" ? "promoted" : "rolled back";
  try {
    const conf = { model, version: String(version), reason };
    const run = await airflow(RUNS, { method: "POST", body: JSON.stringify({ logical_date: null, conf }) });
    const page = new URL(`${RUNS}/${encodeURIComponent(run.dag_run_id)}`);
    let { state } = run;
    while (!ENDED.includes(state)) {
      await new Promise((resolve) => setTimeout(resolve, 1000));
      ({ state } = await airflow(page));
    }
    const isDone = state === "success";
    const outcome = isDone ? `${model} was ${done}` : `${model} was not ${done}; the log says why`;
    announce(`${outcome}: ${run.dag_run_id} of the DAG roll_back.`, !isDone);
  } catch (error) {
    announce(`${model} was not ${done}. ${error.message}`, true);
  }
  await show();
}

function announce(text, bad = false) {
  say($("outcome"), text);
  $("outcome").className = bad ? "bad" : "";
}

/** Calls Airflow's API with the session of the user, and returns the answer. */
async function airflow(url, options = {}) {
  const response = await fetch(url, { ...options, headers: { "Content-Type": "application/json" } });
  if (!response.ok) throw new Error(`Airflow answered with HTTP ${response.status}: ${(await response.text()).slice(0, 300)}`);
  return response.json();
}

// Airflow's sandbox of this frame allows no new tabs, but a link of the page around it may open one.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[target=_blank]");
  if (!link || window.parent === window) return;
  event.preventDefault();
  const { href, target, rel } = link;
  Object.assign(window.parent.document.createElement("a"), { href, target, rel }).click();
});

poll();
