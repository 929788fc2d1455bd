// The trial page: progress while it runs, and the whole record again, from the server, whenever an event is about it.
import { showProgress as show } from "./format.js";
import { Live } from "./live.js";

const main = document.querySelector("main");
const { campaign, headUrl, trial } = main.dataset;
const number = Number(trial);

function showStatus(status, text) {
  const element = document.querySelector("[data-connection]");
  element.dataset.status = status;
  element.textContent = text;
}

function showProgress(progress) {
  const doing = document.querySelector("[data-doing]");
  if (doing && progress) show(doing, progress);
  const tail = document.querySelector("[data-tail]");
  if (!tail || !progress?.tail) return;
  const atEnd = tail.scrollTop + tail.clientHeight >= tail.scrollHeight - 4;
  tail.hidden = false;
  document.querySelector("[data-no-tail]").hidden = true;
  tail.textContent = progress.tail;
  if (atEnd) tail.scrollTop = tail.scrollHeight;
}

// Folded parts that the reader opened stay open when the record is replaced.
const opened = new Set();
document.addEventListener("htmx:beforeSwap", () => {
  opened.clear();
  for (const element of document.querySelectorAll("#trial-record details[open]")) opened.add(element.dataset.key);
});
document.addEventListener("htmx:afterSwap", () => {
  for (const element of document.querySelectorAll("#trial-record details")) {
    if (opened.has(element.dataset.key)) element.open = true;
  }
  showProgress(live.state.progress[number]);
});

const live = new Live({
  path: `/ws/campaigns/${campaign}/`,
  headUrl,
  snapshot: { head: JSON.parse(document.getElementById("campaign-head").textContent) },
  onStatus: showStatus,
  onChange({ state, changed, message }) {
    const next = document.querySelector("[data-next]");
    if (next && message.type === "event" && message.trial?.number > number) next.hidden = false;
    if (!changed.includes(number) && message.trial?.parent !== number) return;
    if (message.type === "progress") showProgress(state.progress[number]);
    else document.body.dispatchEvent(new CustomEvent("trial-changed"));
  },
});
live.open();
