// On every page: link to it, theme button, relative times, and no polling for a page that nobody sees.
import { ago, exact } from "./format.js";

const TIMES_EVERY_MS = 10_000;

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function switchTheme() {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("theme", theme); } catch { /* private mode: the choice lasts for this page */ }
  document.dispatchEvent(new CustomEvent("theme-changed"));
}

export function refreshTimes(root = document) {
  const now = Date.now();
  for (const element of root.querySelectorAll("time[data-ago]")) {
    const at = new Date(element.dateTime);
    const told = ago(at, now, element.dataset.ago);
    if (element.textContent !== told) element.textContent = told; // what is written is laid out again
    element.title = exact(at);
  }
}

// The address holds what the page shows: filters, order, place, compared trials. Who opens it needs rights of their own.
async function share() {
  const box = document.querySelector("[data-shared]"), field = box.querySelector("[data-share-address]");
  if (!box.hidden) { box.hidden = true; return; }
  const address = location.href;
  let copied = false;
  try { await navigator.clipboard.writeText(address); copied = true; } catch { /* no clipboard without TLS: shown to copy */ }
  box.hidden = false;
  box.querySelector("[data-share-told]").textContent =
    `${copied ? "The link is copied." : "Copy this address."} It opens for those who may see this page.`;
  field.value = address;
  field.focus();
  field.select();
}

function leaveShare(event) {
  const box = document.querySelector("[data-shared]");
  if (!box || box.hidden) return;
  if (event.key === "Escape") document.querySelector("[data-share]").focus();
  else if (event.type === "keydown" || event.target.closest(".share")) return;
  box.hidden = true;
}

document.querySelector("[data-share]")?.addEventListener("click", share);
document.addEventListener("keydown", leaveShare);
document.addEventListener("click", leaveShare);
document.querySelector("[data-theme-button]")?.addEventListener("click", switchTheme);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new CustomEvent("theme-changed")));
document.addEventListener("htmx:afterSwap", (event) => refreshTimes(event.target));
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && !event.detail.requestConfig.triggeringEvent) event.preventDefault();
});
// The page comes with its times as they are now; their exact ones, in the reader's zone, may wait for the first plots.
addEventListener("load", () => (window.requestIdleCallback ?? setTimeout)(() => refreshTimes()));
setInterval(refreshTimes, TIMES_EVERY_MS);
