// State + message -> state. Pure: no page, no socket, no clock. The first state is what the server rendered.
//
// state.seq is the number of the last event that was applied. An event with the next number is applied, a lower one is
// dropped, a higher one means that something was missed: `ask` then holds the number to catch up from.

const KEPT_ROWS = 1000;
const OPEN = new Set(["queued", "running"]);

export function initial({ head, open = {} }) {
  return { seq: head.seq, head, open: { ...open }, rows: {}, progress: {}, latest: null, asking: false };
}

const nothing = (state) => ({ state, changed: [], ask: null });

function ask(state) {
  return state.asking ? nothing(state) : { state: { ...state, asking: true }, changed: [], ask: state.seq };
}

function newerHead(state, head) {
  return head && head.seq >= state.head.seq ? head : state.head;
}

function keepNewest(rows) {
  const numbers = Object.keys(rows);
  if (numbers.length <= KEPT_ROWS) return rows;
  const oldest = Math.min(...numbers.map(Number));
  const { [oldest]: _, ...kept } = rows;
  return kept;
}

function apply(state, event) {
  const next = { ...state, seq: event.seq, head: newerHead(state, event.campaign), latest: event };
  const row = event.trial;
  if (row === null) return { state: next, changed: [], ask: null };
  next.rows = keepNewest({ ...state.rows, [row.number]: row });
  next.open = { ...state.open, [row.number]: row.state };
  if (!OPEN.has(row.state)) delete next.open[row.number];
  if (row.state !== "running" && row.number in state.progress) {
    next.progress = { ...state.progress };
    delete next.progress[row.number];
  }
  return { state: next, changed: [row.number], ask: null };
}

function progress(state, { trial, phase, progress: fraction, tail }) {
  const row = state.rows[trial];
  if (row && !OPEN.has(row.state)) return nothing(state);
  const next = { ...state, progress: { ...state.progress, [trial]: { phase, fraction, tail: tail ?? state.progress[trial]?.tail ?? "" } } };
  return { state: next, changed: [trial], ask: null };
}

function head(state, message) {
  const next = { ...state, head: newerHead(state, message.campaign), asking: false };
  return message.campaign.seq > next.seq ? ask(next) : nothing(next);
}

// Messages of the server (event, progress, gap, head) and of the connection (opened). Unknown ones change nothing.
export function reduce(state, message) {
  switch (message.type) {
    case "opened":
      return ask({ ...state, asking: false });
    case "event":
      if (message.seq <= state.seq) return nothing(state);
      return message.seq === state.seq + 1 ? apply(state, message) : ask(state);
    case "progress":
      return progress(state, message);
    case "gap":
      return ask(state);
    case "head":
      return head(state, message);
    default:
      return nothing(state);
  }
}

export function openCounts(state) {
  const counts = { queued: 0, running: 0 };
  for (const value of Object.values(state.open)) if (value in counts) counts[value] += 1;
  return counts;
}

// A page of many campaigns is told that something changed and asks where it stands; its figures come as HTML.
export function pokedInitial({ head }) {
  return { seq: head.seq, head, asking: false, poked: false };
}

export function reducePoked(state, message) {
  switch (message.type) {
    case "opened":
      return { state: { ...state, asking: true }, changed: [], ask: state.seq };
    case "changed":
      return { state: { ...state, asking: true, poked: true }, changed: [], ask: state.seq };
    case "head": {
      const moved = state.poked || message.page.seq !== state.seq;
      const next = { seq: message.page.seq, head: message.page, asking: false, poked: false };
      return { state: next, changed: moved ? ["page"] : [], ask: null };
    }
    default:
      return nothing(state);
  }
}
