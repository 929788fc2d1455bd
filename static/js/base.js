// On every page: theme button, relative times, and no polling for a page that nobody sees.
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
    element.textContent = ago(at, now, element.dataset.ago);
    element.title = exact(at);
  }
}

document.querySelector("[data-theme-button]")?.addEventListener("click", switchTheme);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new CustomEvent("theme-changed")));
document.addEventListener("htmx:afterSwap", (event) => refreshTimes(event.target));
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && !event.detail.requestConfig.triggeringEvent) event.preventDefault();
});
refreshTimes();
setInterval(refreshTimes, TIMES_EVERY_MS);
