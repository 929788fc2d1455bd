// Charts: figures come from the server, colours from the page's stylesheet. Never drawn more than twice a second.

const EVERY_MS = 1000; // at most one refresh a second per chart, well under 2 Hz
const NEAR_PX = 200; // a chart so far below the screen is drawn too
const CONFIG = { displayModeBar: false, responsive: true };
const NARROW_PX = 480;
const VARIABLE = /^var\((--[a-z0-9-]+)\)$/;

const probe = document.createElement("span");
probe.hidden = true;

function colourOf(name, cache) {
  if (!cache.has(name)) {
    probe.style.color = `var(${name})`;
    cache.set(name, getComputedStyle(probe).color);
  }
  return cache.get(name);
}

// A copy of a figure with every var(--name) replaced by the colour that it has now.
function coloured(value, cache = new Map()) {
  if (typeof value === "string") {
    const match = VARIABLE.exec(value);
    return match ? colourOf(match[1], cache) : value;
  }
  if (Array.isArray(value)) return value.map((item) => coloured(item, cache));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, cache)]));
  }
  return value;
}

class Chart {
  constructor(element, base) {
    this.element = element;
    this.plot = element.querySelector(".plot");
    this.base = base;
    this.figure = null;
    this.dirty = true;
    this.busy = false;
    this.visible = false;
    this.last = -Infinity; // the first is drawn at once, however soon after the navigation
  }

  async refresh() {
    if (this.busy || !this.visible || !this.dirty) return;
    const wait = this.last + EVERY_MS - performance.now();
    if (wait > 0) {
      this.busy = true;
      await new Promise((resolve) => setTimeout(resolve, wait));
      this.busy = false;
    }
    this.busy = true;
    this.dirty = false;
    this.last = performance.now();
    try {
      const answer = await fetch(this.element.dataset.url);
      if (answer.ok) await this.show(await answer.json());
    } catch {
      this.dirty = true; // offline: the next event or the reconnect asks again
    } finally {
      this.busy = false;
    }
    if (this.dirty && navigator.onLine) setTimeout(() => this.refresh(), EVERY_MS);
  }

  async show({ figure, table, note }) {
    this.figure = figure;
    this.element.querySelector("[data-chart-note]").textContent = note;
    this.fillTable(table);
    await this.draw();
  }

  async draw() {
    const empty = !this.figure.data.some((trace) => trace.x?.length || trace.y?.length);
    this.plot.toggleAttribute("data-empty", empty);
    if (empty && !this.plot.hasChildNodes()) return;
    const { data, layout } = coloured(this.figure);
    const family = getComputedStyle(document.body).fontFamily;
    if (this.plot.clientWidth < NARROW_PX && layout.barmode === "stack" && data.length > 5) {
      layout.legend = { ...layout.legend, y: -0.25, yanchor: "top" };
    }
    const first = !this.plot.classList.contains("js-plotly-plot");
    await window.Plotly.react(this.plot, data, { ...layout, autosize: true, font: { ...layout.font, family } }, CONFIG);
    if (first) this.plot.on("plotly_click", (event) => this.open(event.points[0]));
  }

  open(point) {
    const number = point.customdata?.[0];
    if (Number.isInteger(number)) location.href = `${this.base}trials/${number}/`;
  }

  fillTable({ columns, rows }) {
    const cells = (tag, values) => {
      const line = document.createElement("tr");
      for (const value of values) {
        const cell = document.createElement(tag);
        cell.textContent = value;
        line.append(cell);
      }
      return line;
    };
    this.element.querySelector("thead").replaceChildren(cells("th", columns));
    this.element.querySelector("tbody").replaceChildren(...rows.map((row) => cells("td", row)));
  }
}

export function startCharts(base) {
  document.body.append(probe);
  const charts = Array.from(document.querySelectorAll("[data-chart]"), (element) => new Chart(element, base));
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const chart = charts.find(({ element }) => element === entry.target);
      chart.visible = entry.isIntersecting;
      chart.refresh();
    }
  }, { rootMargin: `${NEAR_PX}px` });
  for (const chart of charts) {
    const { top, bottom } = chart.element.getBoundingClientRect();
    chart.visible = top < innerHeight + NEAR_PX && bottom > -NEAR_PX;
    chart.refresh(); // what is in sight does not wait for the observer, which speaks after the next frame
    watcher.observe(chart.element);
  }
  document.addEventListener("theme-changed", () => charts.forEach((chart) => chart.figure && chart.draw()));
  return {
    changed() {
      for (const chart of charts) {
        chart.dirty = true;
        chart.refresh();
      }
    },
  };
}
