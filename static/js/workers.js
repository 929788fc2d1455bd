// The page of workers and queues: when the socket says that something changed, its figures are read again.
import { Live } from "./live.js";
import { pokedInitial, reducePoked } from "./reduce.js";

const main = document.querySelector("main");
const { path, headUrl, seq } = main.dataset;

const live = new Live({
  path,
  headUrl,
  snapshot: { head: { seq: Number(seq) } },
  initial: pokedInitial,
  reduce: reducePoked,
  onStatus(status, text) {
    const element = document.querySelector("[data-connection]");
    element.dataset.status = status;
    element.textContent = text;
  },
  onChange({ changed }) {
    if (changed.length) window.htmx.trigger("#workers", "workers-changed");
  },
});
live.open();
