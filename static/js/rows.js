// The table of trials, live: rows that changed come again from the server, which knows what the address asks for.
//
// New ones are put on top while the reader is there, on the first page in the order of time. Anywhere else nothing moves
// under the reader's hand: the page says how many there are and where.
import * as format from "./format.js";
import { refreshTimes } from "./base.js";
import { Live } from "./live.js";

const EVERY_MS = 700;
const AT_ONCE = 100; // numbers in one request: what the server takes

const { slug, headUrl } = document.querySelector("main").dataset;
const changed = new Set(); // numbers that were heard of and not asked for yet
const fresh = new Set(); // matching trials that the page does not show
const heard = new Map(); // number -> when it was heard of last
let asked = 0; // when the fragment on its way was asked for
let timer = null;
let busy = false;

const table = () => document.getElementById("trial-table");
const body = () => table().querySelector("tbody");
const find = (number) => table().querySelector(`tr[data-number="${Number(number)}"]`);

function plan() {
  if (busy || timer !== null || document.hidden) return;
  timer = setTimeout(flush, EVERY_MS);
}

// Whether a number can stand on this page: on a full first page only what is newer than its end.
function worthAsking(number) {
  if (find(number) !== null) return true;
  const rows = body()?.rows;
  if (!rows?.length || table().dataset.live === undefined) return true;
  return rows.length < Number(table().dataset.live) || number > Number(rows[rows.length - 1].dataset.number);
}

async function flush() {
  timer = null;
  const numbers = [...changed].filter(worthAsking).sort((a, b) => b - a).slice(0, AT_ONCE);
  if (numbers.length < AT_ONCE) changed.clear();
  else numbers.forEach((number) => changed.delete(number));
  if (!numbers.length) return;
  const here = table();
  busy = true;
  try {
    const query = numbers.map((number) => `number=${number}`).join("&");
    const answer = await fetch(`${here.dataset.rows}${here.dataset.rows.includes("?") ? "&" : "?"}${query}`);
    if (!answer.ok) throw new Error(`rows: ${answer.status}`);
    const text = await answer.text();
    if (here === table()) apply(numbers, text);
    else numbers.forEach((number) => changed.add(number)); // another question was asked meanwhile
  } catch {
    numbers.forEach((number) => changed.add(number)); // offline: the reconnect or the next event asks again
  } finally {
    busy = false;
    if (changed.size) plan();
  }
}

function apply(numbers, html) {
  const holder = document.createElement("template");
  holder.innerHTML = `<table><tbody>${html}</tbody></table>`;
  const rows = new Map([...holder.content.querySelectorAll("tr")].map((row) => [Number(row.dataset.number), row]));
  if (body() === null) {
    if (rows.size) window.htmx.ajax("GET", location.href, { target: "#trial-table", swap: "outerHTML" });
    return;
  }
  for (const number of numbers) {
    const old = find(number), row = rows.get(number);
    if (old && row) replace(old, row);
    else if (old) old.remove();
    else if (row && moves()) insert(number, row);
    else if (row) fresh.add(number);
  }
  trim();
  refreshTimes(table());
  tell();
}

function replace(old, row) {
  const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  old.replaceWith(row);
  if (focused) row.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}

// Rows may be put on top: the first page in the order of time, and its top is what the reader looks at.
function moves() {
  const scroll = table().querySelector(".trials-scroll");
  const above = scroll.getBoundingClientRect().top < 0;
  return table().dataset.live !== undefined && scroll.scrollTop < 4 && !above && !fresh.size;
}

function insert(number, row) {
  const below = [...body().rows].find((each) => Number(each.dataset.number) < number) ?? null;
  if (below === null && body().rows.length >= Number(table().dataset.live)) return;
  row.classList.add("fresh");
  body().insertBefore(row, below);
}

// As many rows as a page has; the next page begins below the last of them.
function trim() {
  if (table().dataset.live === undefined) return;
  const rows = body().rows, most = Number(table().dataset.live), next = table().querySelector(".older a");
  let cut = false;
  for (; rows.length > most; cut = true) body().lastElementChild.remove();
  if (cut) {
    const address = new URL(next.href);
    address.searchParams.set("after", rows[rows.length - 1].dataset.number);
    next.href = address.search;
    next.setAttribute("hx-get", address.search);
    window.htmx.process(next);
    next.parentElement.hidden = false;
    table().querySelector("[data-of-more]").hidden = false;
  }
  table().querySelector("[data-count]").textContent = format.whole(rows.length);
}

function tell() {
  const news = table().querySelector("[data-news]");
  news.hidden = fresh.size === 0;
  news.querySelector("[data-news-count]").textContent = format.whole(fresh.size);
}

function showProgress(number, progress) {
  const cell = find(number)?.querySelector(".c-state");
  if (!cell || !progress) return;
  let doing = cell.querySelector(".doing");
  if (doing === null) {
    doing = document.createElement("span");
    doing.className = "doing";
    cell.append(doing);
  }
  doing.textContent = format.phase(progress.phase, progress.fraction);
}

const live = new Live({
  path: `/ws/campaigns/${slug}/`,
  headUrl,
  snapshot: { head: { seq: Number(document.querySelector("main").dataset.seq) } },
  onStatus(status, text) {
    const element = document.querySelector("[data-connection]");
    element.dataset.status = status;
    element.textContent = text;
    if (status === "live") plan();
  },
  onChange({ state, changed: numbers, message }) {
    if (message.type === "progress") {
      showProgress(message.trial, state.progress[message.trial]);
      return;
    }
    for (const number of numbers) {
      changed.add(number);
      heard.set(number, performance.now());
    }
    document.querySelector("main").dataset.seq = state.seq;
    plan();
  },
});

document.addEventListener("visibilitychange", plan);
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.detail.target.id === "trial-table") asked = performance.now();
});
// A fragment may be older than what was heard while it was on its way.
document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target.id !== "trial-table") return;
  fresh.clear();
  for (const [number, at] of heard) {
    if (at >= asked) changed.add(number);
    else heard.delete(number);
  }
  plan();
});
live.open();
