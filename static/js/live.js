// The socket of one campaign: keeps it open, catches up by sequence number, and says how the connection stands.
import * as campaigns from "./reduce.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const CHECK_EVERY_MS = 20_000; // asks what came after the last event: finds a dead connection and a lost push alike
const ANSWER_WITHIN_MS = 10_000;

export class Live {
  // onChange({state, changed, message}) after every message that changed something; onStatus(status, text).
  // reduce: what messages do to the state, by default those of a campaign; initial: the first state from the snapshot.
  constructor({ path, headUrl, snapshot, onChange, onStatus, initial = campaigns.initial, reduce = campaigns.reduce }) {
    Object.assign(this, { path, headUrl, onChange, reduce });
    this.shown = "";
    this.onStatus = (status, text) => {
      if (this.shown === status + text) return;
      this.shown = status + text;
      onStatus(status, text);
    };
    this.state = initial(snapshot);
    this.failures = 0;
    this.socket = null;
    this.retry = this.deadline = null;
    addEventListener("online", () => this.reconnectNow());
    addEventListener("offline", () => this.drop());
    addEventListener("pagehide", () => this.drop());
    addEventListener("pageshow", (event) => event.persisted && this.reconnectNow());
    setInterval(() => this.check(), CHECK_EVERY_MS);
  }

  open() {
    clearTimeout(this.retry);
    this.onStatus("connecting", "connecting");
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${this.path}`);
    this.socket = socket;
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.onStatus("catching-up", "catching up");
      this.take({ type: "opened" });
    };
    socket.onmessage = (event) => socket === this.socket && this.take(JSON.parse(event.data));
    socket.onclose = () => socket === this.socket && this.closed(opened);
  }

  take(message) {
    if (message.type === "frame") {
      message.messages.forEach((each) => this.take(each));
      return;
    }
    const { state, changed, ask } = this.reduce(this.state, message);
    const applied = state !== this.state;
    this.state = state;
    if (ask !== null) this.ask(ask);
    if (message.type === "head") {
      clearTimeout(this.deadline);
      this.deadline = null;
      this.failures = 0;
      if (!state.asking) this.onStatus("live", "live");
    }
    if (applied) this.onChange({ state, changed, message });
  }

  ask(after) {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    this.socket.send(JSON.stringify({ type: "catch_up", after }));
    clearTimeout(this.deadline);
    this.deadline = setTimeout(() => this.drop(), ANSWER_WITHIN_MS);
  }

  check() {
    if (this.socket?.readyState === WebSocket.OPEN && this.deadline === null) this.ask(this.state.seq);
  }

  // Give the connection up at once: a closing handshake may never be answered.
  drop() {
    const socket = this.socket;
    if (socket === null) return;
    this.socket = null;
    socket.close();
    this.closed(true);
  }

  reconnectNow() {
    if (this.socket === null) this.open();
  }

  async closed(opened) {
    this.socket = null;
    clearTimeout(this.deadline);
    this.deadline = null;
    if (!opened && (await this.refused())) return;
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.failures) * (0.5 + Math.random() / 2);
    this.failures += 1;
    this.onStatus("offline", navigator.onLine ? "offline, trying again" : "offline");
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.open(), wait);
  }

  // A socket that never opened: ask over HTTP whether this account may still look.
  async refused() {
    try {
      const answer = await fetch(this.headUrl, { redirect: "manual", headers: { Accept: "application/json" } });
      if (answer.ok || answer.status >= 500) return false;
      this.onStatus("refused", answer.type === "opaqueredirect" ? "logged out: log in again" : "no longer available");
      return true;
    } catch {
      return false;
    }
  }
}
