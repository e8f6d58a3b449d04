// How data gets here: questions over HTTP, and a websocket that comes back by itself and is polled for meanwhile.

import { plain } from "./words.js";

const TRIES_BEFORE_POLLING = 4;
const LONGEST_WAIT_S = 30;
const SILENT_AFTER_S = 75; // a heartbeat comes every 30 s
const POLL_S = 10;
const LOOK_AGAIN_S = 60;

export async function ask(path) {
  const giveUp = new AbortController();
  const timer = setTimeout(() => giveUp.abort(), 8000);
  try {
    const answer = await fetch(path, { signal: giveUp.signal, credentials: "same-origin" });
    return { status: answer.status, body: plain(await answer.json().catch(() => null)) };
  } catch {
    return { status: 0, body: {} };
  } finally {
    clearTimeout(timer);
  }
}

export const isPrivate = (status) => status === 401 || status === 403 || status === 404;

// Keeps one subscription alive: `take` gets what arrives, `poll` asks instead and gives the state, `told` hears of changes.
export class Channel {
  constructor(socketPath, { poll, take, told }) {
    Object.assign(this, { socketPath, poll, take, told, state: "connecting", failures: 0, timers: {} });
  }

  is(state) {
    this.state = state;
    this.told();
  }

  later(what, seconds, action) {
    clearTimeout(this.timers[what]);
    this.timers[what] = setTimeout(action, seconds * 1000);
  }

  open() {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${this.socketPath}`);
    this.socket = socket;
    const lost = () => this.socket === socket && this.lost();
    const wait = () => this.later("silence", SILENT_AFTER_S, () => {
      socket.close();
      lost();
    });
    socket.addEventListener("message", (event) => {
      if (this.socket !== socket) return;
      wait();
      this.heard(event.data);
    });
    socket.addEventListener("close", lost);
    wait();
  }

  heard(text) {
    let message;
    try {
      message = plain(JSON.parse(text));
    } catch {
      return;
    }
    if (message.type === "heartbeat" || message.payload !== undefined) {
      this.failures = 0;
      clearTimeout(this.timers.poll);
      this.is("live");
    }
    if (message.payload !== undefined) this.take(plain(message.payload));
  }

  lost() {
    this.socket = null;
    this.failures += 1;
    clearTimeout(this.timers.silence);
    const wait = Math.min(LONGEST_WAIT_S, 2 ** (this.failures - 1));
    this.later("open", wait * (0.75 + Math.random() / 2), () => this.open());
    if (this.failures < TRIES_BEFORE_POLLING) {
      if (this.state === "live") this.is("connecting");
    } else if (this.failures === TRIES_BEFORE_POLLING) this.keepPolling();
  }

  async keepPolling() {
    const state = await this.poll();
    if (this.state === "live") return;
    this.is(state);
    this.later("poll", POLL_S, () => this.keepPolling());
  }

  async begin() {
    const state = await this.poll();
    if (state !== "private") {
      this.open();
      return;
    }
    this.is(state);
    this.later("open", LOOK_AGAIN_S, () => this.begin());
  }
}
