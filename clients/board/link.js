// The WebSocket link of docs/protocol: never gives up, resumes each feed by its seq.
//
// A feed is {topic, place(), recovered(epoch, events), snapshot(epoch, seq, view),
// event(frame), refused(error)}. place() is {epoch, seq} or null.

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 10_000;
const ANSWER_WITHIN_MS = 10_000;
const PONG_WITHIN_MS = 5_000;
const ASK_AGAIN_MS = 3_000;
const HELD_MAX = 1_000;
// Close codes that say how soon it makes sense to come back.
const DELAY_AFTER_MS = {
  1012: [1_000, 3_000], // restarting
  1013: [500, 1_000], // this board was too slow; its seq brings the rest
  4409: [8_000, 10_000], // replaced by another connection
  4429: [8_000, 10_000], // too fast
};

export class Link {
  // tell(state, sinceMs) with state "connecting" | "live" | "cut"; heard(serverTimeText).
  constructor(url, feeds, { tell, heard }) {
    this.url = url;
    this.feeds = new Map(feeds.map((feed) => [feed.topic, { feed, answered: false, held: null }]));
    this.tell = tell;
    this.heard = heard;
    this.socket = null;
    this.failures = 0;
    this.lastId = 0;
    this.asked = new Map(); // request id -> what to do with its result
    this.heartbeatMs = 25_000;
    this.cutSince = null;
    this.retryTimer = 0;
    this.answerTimer = 0;
  }

  start() {
    addEventListener("online", () => this.hurry());
    addEventListener("visibilitychange", () => document.hidden || this.hurry());
    addEventListener("pageshow", (event) => event.persisted && this.hurry());
    setInterval(() => this.#watch(), 1_000);
    this.tell("connecting", Date.now());
    this.#open();
  }

  // The network or the screen came back: connect now, or find out at once if the link is dead.
  hurry() {
    if (this.socket === null) this.#open();
    else if (this.isGreeted) this.#ping();
  }

  #open() {
    clearTimeout(this.retryTimer);
    clearTimeout(this.answerTimer);
    this.asked.clear();
    this.isGreeted = false;
    this.pingedAt = null;
    this.heardAt = Date.now();
    let socket;
    try {
      socket = new WebSocket(this.url);
    } catch {
      return this.#lost(0);
    }
    this.socket = socket;
    // A dead network can keep a closing socket for minutes, so one that was given up is
    // not listened to any more.
    const mine = (act) => (event) => this.socket === socket && act(event);
    socket.onmessage = mine((event) => this.#read(event.data));
    socket.onclose = mine((event) => this.#lost(event.code));
    this.answerTimer = setTimeout(mine(() => this.#giveUp()), ANSWER_WITHIN_MS);
  }

  #giveUp() {
    const socket = this.socket;
    this.#lost(0);
    socket.close();
  }

  #lost(code) {
    clearTimeout(this.answerTimer);
    clearTimeout(this.retryTimer);
    this.socket = null;
    this.cutSince ??= Date.now();
    this.tell("cut", this.cutSince);
    this.retryTimer = setTimeout(() => this.#open(), this.#delay(code));
    this.failures += 1;
  }

  // Doubling and random, so that a hall full of boards does not return in one moment.
  #delay(code) {
    const most = Math.min(LONGEST_DELAY_MS, 2 * FIRST_DELAY_MS * 2 ** Math.min(this.failures, 10));
    const [from, to] = DELAY_AFTER_MS[code] ?? [most / 2, most];
    return from + Math.random() * (Math.max(to, most) - from);
  }

  #send(frame, then) {
    this.lastId += 1;
    this.asked.set(this.lastId, then);
    this.socket.send(JSON.stringify({ id: this.lastId, ...frame }));
  }

  #read(text) {
    this.heardAt = Date.now();
    this.pingedAt = null;
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (frame.type === "hello") this.#greet(frame);
    else if (frame.type === "event") this.#event(frame);
    else this.#answer(frame);
  }

  #greet(hello) {
    this.isGreeted = true;
    if (hello.heartbeat_s > 0) this.heartbeatMs = hello.heartbeat_s * 1_000;
    if (hello.server_time) this.heard(hello.server_time);
    for (const entry of this.feeds.values()) Object.assign(entry, { answered: false, held: null });
    this.lastId = 0;
    this.#send({ type: "auth", board: true }, (result) => {
      if (!result.ok) return this.#giveUp();
      for (const entry of this.feeds.values()) this.#subscribe(entry, entry.feed.place());
    });
  }

  #answer(frame) {
    const then = this.asked.get(frame.id);
    this.asked.delete(frame.id);
    then?.(frame);
  }

  // What arrives before the answer is held and looked at after it, so nothing falls between.
  #subscribe(entry, since) {
    const { feed } = entry;
    entry.held = [];
    const frame = { type: "subscribe", topic: feed.topic, ...(since && { since }) };
    this.#send(frame, (result) => {
      const held = entry.held;
      entry.held = null;
      entry.answered = true;
      if (!result.ok) this.#refused(entry, result.error ?? {});
      else if (!this.#resume(feed, since, result.data)) return this.#subscribe(entry, null);
      for (const event of held) this.#event(event);
      this.#report();
    });
  }

  // False if the events do not continue what the feed has: then only a snapshot helps.
  #resume(feed, since, { epoch, seq, recovered, events = [], snapshot }) {
    if (!recovered || !since) {
      feed.snapshot(epoch, seq, snapshot ?? {});
      return true;
    }
    const missed = events.filter((event) => event.seq > since.seq);
    const isWhole =
      since.epoch === epoch &&
      since.seq + missed.length === seq &&
      missed.every((event, i) => event.seq === since.seq + 1 + i);
    if (isWhole) feed.recovered(missed.map((event) => ({ epoch, ...event })));
    return isWhole;
  }

  #refused(entry, error) {
    const { socket } = this;
    entry.feed.refused(error);
    setTimeout(() => {
      if (this.socket === socket) this.#subscribe(entry, entry.feed.place());
    }, ASK_AGAIN_MS);
  }

  #event(frame) {
    const entry = this.feeds.get(frame.topic);
    if (!entry) return;
    if (entry.held) {
      if (entry.held.length < HELD_MAX) entry.held.push(frame);
      return;
    }
    const place = entry.feed.place();
    if (!place || frame.epoch !== place.epoch || frame.seq > place.seq + 1) {
      this.#subscribe(entry, place);
    } else if (frame.seq === place.seq + 1) {
      entry.feed.event(frame);
    }
  }

  #report() {
    if (![...this.feeds.values()].every((entry) => entry.answered)) return;
    clearTimeout(this.answerTimer);
    this.failures = 0;
    this.cutSince = null;
    this.tell("live", Date.now());
  }

  #ping() {
    if (this.pingedAt !== null) return;
    this.pingedAt = Date.now();
    this.#send({ type: "ping" }, () => {});
  }

  // Script never sees the protocol's own pings, so long silence is asked about before it is believed.
  #watch() {
    if (this.socket === null || !this.isGreeted) return;
    const now = Date.now();
    if (this.pingedAt !== null && now - this.pingedAt > PONG_WITHIN_MS) this.#giveUp();
    else if (now - this.heardAt > 2.5 * this.heartbeatMs) this.#ping();
  }
}
