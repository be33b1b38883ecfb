// The page: a form to look predictions up, the live latency, and the models.

import { get, hasKey, Problem, useKey } from "./api.js";
import { $, say, span } from "./dom.js";
import * as latency from "./latency.js";
import * as lookup from "./lookup.js";
import * as models from "./models.js";

const EVERY_MS = 5_000;

async function showModels() {
  const { models: known } = JSON.parse(await get("v1/models"));
  models.show(known, () => [], lookup.button);
  lookup.offer(known.map(({ model }) => model));
  say($("models-state"), known.length ? "" : "There are no models yet. Run a refresh, and its model will appear here.");
  $("models-state").className = "quiet";
}

async function showReadiness() {
  const { registry_age_seconds: age } = JSON.parse(await get("readyz"));
  say($("readiness"), "Ready");
  $("readiness").title = `The registry was read ${span(age)} ago.`;
  $("readiness").className = "pill good";
}

function modelsFailed(problem) {
  say($("models-state"), `The models cannot be listed. ${problem.message}`);
  $("models-state").className = "bad";
}

function readinessFailed(problem) {
  say($("readiness"), problem.title);
  $("readiness").title = problem.message;
  $("readiness").className = "pill bad";
}

/** Runs `show`. Returns false if it must not be repeated: after a 401, which needs another key. */
async function attempt(show, onProblem) {
  try {
    await show();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    onProblem(problem);
    return problem.status !== 401;
  }
  return true;
}

async function poll() {
  if (!document.hidden) {
    const repeat = await Promise.all([attempt(showModels, modelsFailed), attempt(showReadiness, readinessFailed)]);
    if (repeat.includes(false)) return;
  }
  setTimeout(poll, EVERY_MS);
}

window.addEventListener("unauthorized", () => {
  say(
    $("access-text"),
    hasKey() ? "The key was not accepted. Try another." : "Enter one to see the models and to look predictions up.",
  );
  if ($("access").hidden) {
    $("access").hidden = false;
    $("key").focus();
  }
});

$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey($("key").value);
  location.reload();
});

lookup.start();
latency.start();
poll();
