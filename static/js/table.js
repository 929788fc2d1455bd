// The trial table: rows are clones of one template row; every cell is filled by textContent from plain values.
import * as format from "./format.js";

const LONGEST = 500; // rows that the page keeps by itself; "load older" raises it

const SHOW = {
  role: (value) => format.words(value),
  hypothesis: (value) => format.short(value),
  reason: (value) => format.text(value),
  score: format.score,
  delta_vs_parent: format.delta,
  delta_vs_best: format.delta,
  artifact_bytes: format.whole,
  queue_seconds: format.seconds,
  run_seconds: format.seconds,
  eval_seconds: format.seconds,
};
const SENSED = new Set(["delta_vs_parent", "delta_vs_best"]);

export class TrialTable {
  constructor({ body, template, base, direction, onlyNewest }) {
    Object.assign(this, { body, template, base, direction, onlyNewest });
    this.longest = Math.max(LONGEST, body.rows.length);
  }

  find(number) {
    return this.body.querySelector(`tr[data-number="${Number(number)}"]`);
  }

  // After "load older" put rows of its own below.
  grew() {
    this.longest = Math.max(this.longest, this.body.rows.length);
  }

  // Show one trial as it is now; rows outside of the window that the page holds are left to "load older".
  update(row, progress) {
    const existing = this.find(row.number);
    const element = existing ?? this.insert(row.number);
    if (element === null) return;
    this.fill(element, row);
    this.showProgress(row.number, progress);
    if (!existing) element.classList.add("fresh");
  }

  insert(number) {
    const rows = this.body.rows;
    const last = rows[rows.length - 1];
    if (this.onlyNewest === false || (last && number < Number(last.dataset.number) && this.hasOlder())) return null;
    const element = this.template.content.firstElementChild.cloneNode(true);
    const below = Array.from(rows).find((row) => Number(row.dataset.number) < number) ?? null;
    this.body.insertBefore(element, below);
    if (rows.length > this.longest) this.trim();
    return element;
  }

  hasOlder() {
    return document.querySelector("#older a") !== null;
  }

  trim() {
    this.body.lastElementChild.remove();
    const oldest = this.body.lastElementChild.dataset.number;
    let link = document.querySelector("#older a");
    if (link === null) {
      link = document.createElement("a");
      link.textContent = "Load older trials";
      link.setAttribute("hx-target", "#trial-rows");
      link.setAttribute("hx-swap", "beforeend");
      document.querySelector("#older").append(link);
    }
    link.href = `?before=${oldest}#trials`;
    link.setAttribute("hx-get", `?before=${oldest}`);
    window.htmx?.process(link);
  }

  fill(element, row) {
    element.dataset.number = row.number;
    element.dataset.label = row.label;
    for (const cell of element.querySelectorAll("[data-field]")) {
      const field = cell.dataset.field;
      const value = row[field];
      cell.dataset.value = value ?? "";
      if (field in SHOW) cell.textContent = SHOW[field](value);
      if (SENSED.has(field)) {
        cell.classList.remove("better", "worse");
        const sense = format.sense(value, this.direction);
        if (sense) cell.classList.add(sense);
      }
    }
    this.link(element.querySelector('[data-field="number"]'), row.number);
    this.link(element.querySelector('[data-field="parent"]'), row.parent);
    const badge = element.querySelector('[data-field="label"]');
    badge.dataset.name = row.label || row.state;
    badge.textContent = format.words(row.label || row.state);
    element.querySelector(".doing").hidden = row.state !== "running";
    this.time(element.querySelector('[data-field="submitted_at"]'), row.submitted_at);
  }

  link(cell, number) {
    if (number === null) {
      cell.textContent = format.NOTHING;
      return;
    }
    const link = document.createElement("a");
    link.href = `${this.base}trials/${Number(number)}/`;
    link.textContent = number;
    cell.replaceChildren(link);
  }

  time(cell, iso) {
    const at = new Date(iso);
    const element = document.createElement("time");
    element.dateTime = iso;
    element.dataset.ago = "";
    element.title = format.exact(at);
    element.textContent = format.ago(at);
    cell.replaceChildren(element);
  }

  showProgress(number, progress) {
    const element = this.find(number);
    if (element === null || !progress) return;
    format.showProgress(element.querySelector(".doing"), progress);
  }
}
