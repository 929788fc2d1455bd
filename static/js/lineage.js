// The lineage page: trees do not grow under a reader's hand; it says how many trials were recorded since it was opened.
import { Live } from "./live.js";

const { slug, headUrl } = document.querySelector("main").dataset;
const recorded = new Set();

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
    if (message.type !== "event" || message.trial === null || message.trial.state !== "finished") return;
    recorded.add(message.trial.number);
    document.querySelector("[data-news-text]").textContent =
      recorded.size === 1 ? "One trial was recorded since." : `${recorded.size} trials were recorded since.`;
    document.querySelector("[data-news]").hidden = false;
  },
});
live.open();
