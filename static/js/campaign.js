// The campaign page: what the socket says goes into table, figures and charts.
import { startCharts } from "./charts.js";
import * as format from "./format.js";
import { Live } from "./live.js";
import { openCounts } from "./reduce.js";
import { TrialTable } from "./table.js";

const FIGURES_EVERY_MS = 3000;
const SHOW = { score: format.score, percent: format.percent, whole: format.whole, one: format.seconds };
const FINISHING = new Set([
  "trial_finished", "campaign_calibrated", "confirmation_closed", "sealed_measured", "campaign_state",
]);

const main = document.querySelector("main");
const { campaign, url, headUrl, direction } = main.dataset;
const read = (id) => JSON.parse(document.getElementById(id).textContent);

const table = new TrialTable({
  body: document.querySelector("#trial-rows"),
  template: document.querySelector("#row-template"),
  base: url,
  direction,
  onlyNewest: main.dataset.window === "newest",
});
const charts = startCharts(url);

function showFigure(name, value) {
  for (const element of document.querySelectorAll(`[data-head="${name}"]`)) {
    if (element.tagName === "PROGRESS") element.value = value ?? 0;
    else element.textContent = (SHOW[element.dataset.format] ?? format.text)(value);
    if ("sense" in element.dataset) element.className = format.sense(value, direction);
  }
}

function showHead(head) {
  for (const [name, value] of Object.entries(head)) showFigure(name, value);
  const badge = document.querySelector("[data-state-badge] .badge");
  badge.dataset.name = head.state;
  badge.textContent = format.words(head.state);
  document.querySelector("[data-actions]")?.setAttribute("data-state", head.state);
  const asks = document.querySelector("[data-waiting]");
  if (asks) asks.hidden = !head.waiting;
}

function showElapsed() {
  const element = document.querySelector("[data-elapsed]");
  if (!element) return; // a released run does not go on
  const until = element.dataset.until ? Date.parse(element.dataset.until) : Date.now();
  const passed = Math.max(0, until - Date.parse(element.dataset.since)) / 1000;
  element.textContent = format.duration(Math.floor(passed));
  document.querySelector("[data-elapsed-bar]").value = passed / 3600;
}

// Figures that no event carries: trials per hour, sealed scores, the end of the campaign.
let figuresTimer = null;
function refreshFigures() {
  figuresTimer ??= setTimeout(async () => {
    figuresTimer = null;
    try {
      const answer = await fetch(headUrl, { headers: { Accept: "application/json" } });
      if (!answer.ok) return;
      const figures = await answer.json();
      for (const name of ["trials_per_hour", "sealed_best", "sealed_start", "sealed_gain"]) showFigure(name, figures[name]);
      document.querySelector("[data-sealed]").hidden = figures.sealed_best === null;
      document.querySelector("[data-elapsed]").dataset.until = figures.finished_at ?? "";
    } catch { /* offline: the next event asks again */ }
  }, FIGURES_EVERY_MS);
}

// Messages come in bursts: they change the state at once, the page once per frame.
const waiting = new Set();
let planned = false;
function plan() {
  if (planned) return;
  planned = true;
  const run = () => { planned = false; render(); };
  if (document.hidden) setTimeout(run, 500);
  else requestAnimationFrame(run);
}

function render() {
  const { state } = live;
  for (const number of [...waiting].sort((a, b) => a - b)) {
    if (state.rows[number]) table.update(state.rows[number], state.progress[number]);
    else table.showProgress(number, state.progress[number]);
  }
  waiting.clear();
  main.dataset.seq = state.seq;
  showHead(state.head);
  const counts = openCounts(state);
  for (const element of document.querySelectorAll("[data-open]")) element.textContent = counts[element.dataset.open];
  document.querySelector("[data-no-rows]").hidden = table.body.rows.length > 0;
  if (state.latest) document.querySelector("[data-latest]").textContent = state.latest.told;
}

function showStatus(status, text) {
  const element = document.querySelector("[data-connection]");
  element.dataset.status = status;
  element.textContent = text;
  if (status === "live") charts.changed();
}

const live = new Live({
  path: `/ws/campaigns/${campaign}/`,
  headUrl,
  snapshot: { head: read("campaign-head"), open: read("campaign-open") },
  onStatus: showStatus,
  onChange({ changed, message }) {
    for (const number of changed) waiting.add(number);
    if (message.type === "event" && FINISHING.has(message.kind)) {
      charts.changed();
      refreshFigures();
    }
    plan();
  },
});

document.addEventListener("htmx:afterSwap", () => table.grew());
showElapsed();
setInterval(showElapsed, 1000);
plan();
live.open();
