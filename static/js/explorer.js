// Pages of plots: they are drawn anew when an event tells that a trial has an outcome.
import { startCharts } from "./charts.js";
import { Live } from "./live.js";

const FINISHING = new Set(["trial_finished", "campaign_calibrated", "confirmation_closed"]);

const { slug, url, headUrl } = document.querySelector("main").dataset;
const charts = startCharts(url);
const live = new Live({
  path: `/ws/campaigns/${slug}/`,
  headUrl,
  snapshot: { head: JSON.parse(document.getElementById("campaign-head").textContent) },
  onStatus(status, text) {
    const element = document.querySelector("[data-connection]");
    element.dataset.status = status;
    element.textContent = text;
  },
  onChange({ message }) {
    if (message.type === "event" && FINISHING.has(message.kind)) charts.changed();
  },
});
live.open();
