// Numbers and times as people read them: the same rules as trials/formatting.py, so a live cell equals a fresh page.
export const NOTHING = "\u2013";
const MINUS = "\u2212";
const SHORT_TEXT = 160;

const known = (value) => value !== null && value !== undefined && value !== "";

export function fixed(value, digits) {
  const [whole, part] = Number(value).toFixed(digits).split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return (part ? `${grouped}.${part}` : grouped).replace("-", MINUS);
}

export const score = (value) => (known(value) ? fixed(value, Math.abs(value) < 100 ? 5 : 2) : NOTHING);
export const delta = (value) => (known(value) ? (value < 0 ? "" : "+") + score(value) : NOTHING);
export const percent = (value) => (known(value) ? `${value < 0 ? "" : "+"}${fixed(value * 100, 2)} %` : NOTHING);
export const seconds = (value) => (known(value) ? fixed(value, 1) : NOTHING);
export const whole = (value) => (known(value) ? fixed(value, 0) : NOTHING);
// Characters that reorder a line are shown by their code points.
export const visible = (value) =>
  value.replace(/[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]/g,
    (found) => `[U+${found.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}]`);
export const words = (name) => visible(name).replaceAll("_", " ");
export const text = (value) => (known(value) ? visible(String(value)) : "");

export function short(value, length = SHORT_TEXT) {
  const all = Array.from(value);
  const flat = Array.from(visible(all.slice(0, length * 4).join("").trim().replace(/\s+/g, " ")));
  return flat.length <= length && all.length <= length * 4 ? flat.join("") : `${flat.slice(0, length - 1).join("")}\u2026`;
}

export function duration(value) {
  if (!known(value)) return NOTHING;
  if (value < 60) return `${fixed(value, 1)} s`;
  const total = Math.floor(value);
  const minutes = Math.floor(total / 60), hours = Math.floor(total / 3600), days = Math.floor(total / 86400);
  const two = (number) => String(number).padStart(2, "0");
  if (hours === 0) return `${minutes} min ${two(total % 60)} s`;
  if (days === 0) return `${hours} h ${two(minutes % 60)} min`;
  return `${days} d ${hours % 24} h`;
}

// Without progress: what is waited for.
export const phase = (name, progress) => (progress === null ? name : `${words(name)} ${fixed(100 * progress, 0)} %`);

export function ago(at, now = Date.now(), suffix = "") {
  const passed = Math.max(0, now - at) / 1000;
  if (passed < 5) return "now";
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (passed >= size) return `${Math.floor(passed / size)} ${unit} ${suffix}`.trimEnd();
  }
  return `${Math.floor(passed)} s ${suffix}`.trimEnd();
}

let exactly = null; // made when first asked for, and once: making it is slow
export function exact(at) {
  exactly ??= new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
  return exactly.format(at);
}

// "better", "worse" or nothing for a difference of scores.
export function sense(value, direction) {
  if (!known(value) || Number(value) === 0) return "";
  return (direction === "lower") === (value < 0) ? "better" : "worse";
}

// A bar and what is being done; only words while a trial waits.
export function showProgress(element, { phase: name, fraction }) {
  const bar = element.querySelector("progress");
  element.hidden = false;
  bar.hidden = fraction === null;
  bar.value = fraction ?? 0;
  element.querySelector(".phase").textContent = phase(name, fraction);
}
