// The page in Airflow: the models as on the page of the lookup service, and buttons for what a person may decide about a
// version. A decision is a run of a DAG, which the page triggers by Airflow's API, with the session of the user.

import { get, Problem } from "./page/api.js";
import { table } from "./page/charts.js";
import { $, count, difference, h, measure, say, span } from "./page/dom.js";
import * as models from "./page/models.js";

const EVERY_MS = 5_000;
const DAGS = new URL("../api/v2/dags/", document.baseURI);
const ENDED = ["success", "failed"];

/** The decisions: the DAG, the name of the button, and the words for the outcome. */
const DECISIONS = {
  promote: { dag: "roll_back", button: "Promote", done: "promoted" },
  rollBack: { dag: "roll_back", button: "Roll back", done: "rolled back" },
  abort: { dag: "abort_version", button: "Abort", done: "freed of the version" },
  release: { dag: "release_run", button: "Release", done: "released" },
};

async function show() {
  try {
    const { models: known, may } = JSON.parse(await get("v1/models"));
    models.show(known, (model, version) => buttons(model, version, may));
    say($("models-state"), known.length ? "" : "There are no models yet, or none whose DAG you may read.");
    $("models-state").className = "quiet";
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    say($("models-state"), `The models cannot be listed. ${problem.message}`);
    $("models-state").className = "bad";
  }
}

async function poll() {
  try {
    if (!document.hidden) await show();
  } finally {
    setTimeout(poll, EVERY_MS);
  }
}

/** The buttons for the decisions that are possible about a version, as far as the user may trigger their DAGs. */
function buttons(model, version, may) {
  const number = version.version;
  const possible = {
    promote: [model.forward_targets.includes(number), "Promote this version"],
    rollBack: [model.rollback_targets.includes(number), "Roll back to this version"],
    abort: [["open", "exporting", "ready"].includes(version.status), "Abort this version"],
    release: [model.run_lease && number === model.versions[0].version, "Release its run"],
  };
  const wanted = Object.entries(possible).filter(([kind, [isPossible]]) => isPossible && may[DECISIONS[kind].dag]);
  return wanted.map(([kind, [, name]]) => {
    const button = h("button.plain", { type: "button" }, name);
    button.addEventListener("click", () => ask(model, version, kind));
    return button;
  });
}

/** Asks for a reason, after showing what will change, and makes the decision. */
function ask(model, version, kind) {
  const { button } = DECISIONS[kind];
  const titles = {
    promote: `Promote a version of ${model.model}?`,
    rollBack: `Roll ${model.model} back?`,
    abort: `Abort a version of ${model.model}?`,
    release: `Release the run of ${model.model}?`,
  };
  const active = model.versions.find((each) => each.version === model.active_version);
  const isSwitch = kind === "promote" || kind === "rollBack";
  say($("ask-title"), titles[kind]);
  const effects = isSwitch ? ofSwitch(model, active, version) : kind === "abort" ? ofAbort(active, version) : ofRelease(model, version);
  $("effects").replaceChildren(...effects.filter(Boolean).map((effect) => h("li", effect)));
  $("compared").replaceChildren(isSwitch && active ? compared(active, version) : "");
  say($("act"), button);
  $("reason").value = "";
  $("ask").returnValue = "";
  $("ask").onclose = () => $("ask").returnValue === "act" && decide(model, version, kind, $("reason").value);
  $("ask").showModal();
  $("reason").focus();
}

const time = ({ created_at: at }) => `${at.slice(0, 19).replace("T", " ")} UTC`;

/** The effects of another active version: what readers get, how long they had either, and how many predictions differ. */
function ofSwitch(model, active, target) {
  if (!active) return [`Readers get the predictions of ${time(target)}. They have none now.`];
  return [
    `Readers get the predictions of ${time(target)}, instead of those of ${time(active)}.`,
    had("They have had the present ones", active),
    had("They had the others", target),
    differing(model, active, target),
  ];
}

/** How long readers had a version, in words; null if they never had it. */
function had(words, { served }) {
  const milliseconds = served.reduce((sum, { since, until }) => sum + ((until ? Date.parse(until) : Date.now()) - Date.parse(since)), 0);
  const last = served.at(-1);
  if (!last) return null;
  const end = last.until ? `, until ${last.until.slice(0, 19).replace("T", " ")} UTC` : "";
  return `${words} for ${span(milliseconds / 1000)}${end}.`;
}

/**
 * The largest number of predictions that differ, in words: the cells that were written from the older version to the
 * newer one. A full export writes equal ones too, and of several versions in between, the same one may be written twice.
 */
function differing(model, active, target) {
  const [older, newer] = [active, target].sort((a, b) => a.version - b.version);
  let [at, differ] = [newer, 0];
  while (at && at !== older) {
    const { counts, promotion } = at.details;
    const previous = promotion ? promotion.previous : model.active_version;
    if (!counts) return "It is not known how many predictions differ.";
    differ += counts.written + counts.tombstones;
    at = model.versions.find(({ version }) => version === previous);
  }
  if (!at) return "It is not known how many predictions differ.";
  const all = target.details.counts?.predictions;
  return `Predictions that differ: at most ${count(differ)}${all === undefined ? "" : ` of ${count(all)}`}.`;
}

function ofAbort(active, version) {
  const { receipt, run } = version;
  return [
    `The version of ${time(version)} (${version.status}) ends. Readers keep ${active ? `that of ${time(active)}` : "none"}.`,
    receipt
      ? `Its ${count(receipt.predictions + receipt.tombstones)} cells stay until the next refresh purges them.`
      : "Cells that it has stay until the next refresh purges them.",
    run ? "Its run goes on until its next step. Mark it as failed." : null,
  ];
}

function ofRelease({ run_lease: run }, version) {
  return [
    `The run lease of ${run} ends, so that another run may open a version.`,
    `Once it does, the version of ${time(version)} (${version.status}) can no longer be promoted.`,
  ];
}

/** The predictions and metrics of the active version and of another, as a table. */
function compared(active, target) {
  const [now, then] = [active, target].map(({ details }) => ({
    predictions: details.counts?.predictions,
    ...details.metrics?.candidate,
  }));
  const names = Object.keys(then).filter((name) => Number.isFinite(now[name]) && Number.isFinite(then[name]));
  const shown = (number) => (Number.isInteger(number) ? count(number) : measure(number));
  const rows = names.map((name) => [name, shown(now[name]), shown(then[name]), difference(then[name] - now[name])]);
  return rows.length ? table("What changes", ["Figure", "Now", "Then", "Change"], rows) : "";
}

/** What the person was shown, as `prediction_store.decisions` has it: the DAG compares it with what is there then. */
function shown(model, { status, receipt, details }) {
  const [{ version: latest }] = model.versions;
  return { active: model.active_version, latest, status, receipt, ended: details.ended ?? null };
}

async function decide(model, version, kind, reason) {
  const { dag, done } = DECISIONS[kind];
  const name = model.model;
  announce(`${name}: the DAG ${dag} is running…`);
  let run = null;
  try {
    const conf = { model: name, version: String(version.version), reason, shown: shown(model, version) };
    const runs = new URL(`${dag}/dagRuns`, DAGS);
    run = await airflow(runs, { method: "POST", body: JSON.stringify({ logical_date: null, conf }) });
    const page = `${runs}/${encodeURIComponent(run.dag_run_id)}`;
    let { state } = run;
    while (!ENDED.includes(state)) {
      await new Promise((resolve) => setTimeout(resolve, 1000));
      ({ state } = await airflow(page));
    }
    const isDone = state === "success";
    const outcome = isDone ? `${name} was ${done}` : await failure(page, name, done);
    announce(`${outcome}. Run ${run.dag_run_id} of the DAG ${dag}.`, !isDone);
  } catch (error) {
    const outcome = run
      ? `It is not known whether ${name} was ${done}, by run ${run.dag_run_id} of the DAG ${dag}`
      : `${name} was not ${done}`;
    announce(`${outcome}. ${error.message}`, true);
  }
  await show();
}

/** The outcome of a run that failed, with the reason, which its first failed task has kept. */
async function failure(page, name, done) {
  const { task_instances: tasks } = await airflow(`${page}/taskInstances`);
  const failed = tasks.find(({ state }) => state === "failed");
  let reason = "the log says why";
  try {
    if (failed) reason = (await airflow(`${page}/taskInstances/${failed.task_id}/xcomEntries/failure`)).value;
  } catch {
    // A task that was ended from outside keeps no reason.
  }
  // The task confirm comes after the switch.
  return failed?.task_id === "confirm"
    ? `${name} was ${done}, but the service does not confirm it: ${reason}`
    : `${name} was not ${done}: ${reason}`;
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
