// The page of a study: when the socket says that something changed, figures and charts are read again.
import { startCharts } from "./charts.js";
import { Live } from "./live.js";
import { pokedInitial, reducePoked } from "./reduce.js";

const main = document.querySelector("main");
const { url, path, headUrl, seq } = main.dataset;
const charts = startCharts(url);

function refresh() {
  charts.changed();
  window.htmx.trigger("#study", "study-changed");
}

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
  onChange({ state, changed }) {
    main.dataset.seq = state.seq;
    if (changed.length) refresh();
  },
});
live.open();
