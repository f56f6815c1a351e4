// Assembled by clients/build.py from clients/board/; edit it there.

// ---- link.js ----

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

class Link {
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

// ---- words.js ----

// What the board says and shows, in Chinese and English.

const DIGITS = {
  zh: ["零", "一", "二", "三", "四", "五", "六", "七", "八", "九"],
  en: ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
};

const TEXTS = {
  zh: {
    locale: "zh-CN",
    title: "取餐叫号",
    now: "请取餐",
    called: "已叫号，请取餐",
    waiting: "等候",
    idle: "等候叫号",
    closed: "休息中",
    unnamed: (id) => `${id} 号档口`,
    unknown: "没有这个档口",
    more: (n) => `另有 ${n} 个`,
    live: "实时",
    connecting: "连接中",
    cut: (clock) => `断线，自 ${clock} 起，正在重连`,
    voice: { speech: "浏览器朗读", clips: "录音播报", chime: "提示音", off: "静音" },
    blocked: "声音未开",
    banner: "轻触屏幕，打开叫号声音",
    choose: "请选择档口",
    none: "还没有档口",
    said: (number, stall) => `${stall ? `${stall}，` : ""}请${number}号取餐`,
  },
  en: {
    locale: "en-GB",
    title: "Order numbers",
    now: "Please collect",
    called: "Ready to collect",
    waiting: "Waiting",
    idle: "No number called yet",
    closed: "Closed",
    unnamed: (id) => `Stall ${id}`,
    unknown: "No such stall",
    more: (n) => `+${n}`,
    live: "Live",
    connecting: "Connecting",
    cut: (clock) => `Cut off since ${clock}, reconnecting`,
    voice: { speech: "Browser voice", clips: "Recorded voice", chime: "Chime", off: "Muted" },
    blocked: "Sound is off",
    banner: "Tap the screen to turn the sound on",
    choose: "Choose a stall",
    none: "There is no stall yet",
    said: (number, stall) => `${stall ? `${stall}: ` : ""}number ${number}, please collect`,
  },
};

// ?lang= decides, else the browser.
function chooseLanguage(asked, preferred) {
  const wish = asked || preferred || "zh";
  return wish.toLowerCase().startsWith("zh") ? "zh" : "en";
}

function textsOf(language) {
  return TEXTS[language];
}

function twoDigits(number) {
  return String(number).padStart(2, "0");
}

// Digit by digit, so that 39 is heard as it is printed and never as a quantity.
function sentence(language, call) {
  const between = language === "zh" ? "" : " ";
  const digits = [...twoDigits(call.number)].map((digit) => DIGITS[language][digit]);
  return TEXTS[language].said(digits.join(between), call.stallName);
}

// The recorded words that make the same sentence, without the stall's name.
function clipNames(language, number) {
  const start = language === "zh" ? ["please"] : ["number"];
  const end = language === "zh" ? ["number", "collect"] : ["collect"];
  return [...start, ...twoDigits(number), ...end];
}

// ---- screen.js ----

// What is seen: stalls, clock, link and voice. Every text goes in as text, never as markup.


const TILES = 12;
const TILES_IN_A_RUSH = 20;

class Screen {
  constructor(texts, language) {
    this.texts = texts;
    this.panels = new Map();
    this.clock = timeFormat(texts, { hour: "2-digit", minute: "2-digit" });
    this.toTheSecond = timeFormat(texts, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    this.date = timeFormat(texts, { month: "long", day: "numeric", weekday: "long" });
    document.documentElement.lang = texts.locale;
    document.documentElement.dataset.language = language;
    show("banner-text", texts.banner);
  }

  addStalls(stalls) {
    const template = document.getElementById("stall");
    const home = document.getElementById("stalls");
    for (const stall of stalls) {
      const panel = template.content.firstElementChild.cloneNode(true);
      panel.dataset.stall = stall.id;
      write(panel, ".calls-label", this.texts.called);
      write(panel, ".waiting-label", this.texts.waiting);
      this.panels.set(stall.id, panel);
      home.append(panel);
    }
    home.dataset.count = stalls.length;
  }

  draw(stall, spokenTicket) {
    const panel = this.panels.get(stall.id);
    write(panel, ".stall-name", stall.name || this.texts.unnamed(stall.id));
    write(panel, ".stall-state", this.#stateOf(stall));
    panel.classList.toggle("is-unknown", stall.isUnknown);
    write(panel, ".waiting-count", String(stall.waiting()));
    const [newest, ...others] = stall.called();
    this.#drawHero(panel.querySelector(".hero"), newest, spokenTicket);
    this.#drawCalls(panel, others, spokenTicket);
    this.#nameThePage();
  }

  #stateOf(stall) {
    if (stall.isUnknown) return this.texts.unknown;
    return stall.isOpen ? "" : this.texts.closed;
  }

  #drawHero(hero, call, spokenTicket) {
    const key = call ? `${call.ticket_id}/${call.calls}/${call.called_at}` : "";
    hero.classList.toggle("is-idle", !call);
    hero.classList.toggle("is-spoken", Boolean(call) && call.ticket_id === spokenTicket);
    if (hero.dataset.call === key) return;
    hero.dataset.call = key;
    write(hero, ".hero-label", call ? this.texts.now : this.texts.idle);
    write(hero, ".hero-note", call ? this.#when(call) : "");
    // A new element starts the flash of a new call afresh.
    const number = element("p", "hero-number number", call ? twoDigits(call.number) : "––");
    hero.querySelector(".hero-number").replaceWith(number);
  }

  #drawCalls(panel, calls, spokenTicket) {
    const isRush = calls.length > TILES;
    const shown = calls.slice(0, isRush ? TILES_IN_A_RUSH : TILES);
    const tiles = shown.map((call) => {
      const tile = element("li", "call");
      tile.classList.toggle("is-spoken", call.ticket_id === spokenTicket);
      tile.append(element("span", "call-number number", twoDigits(call.number)));
      tile.append(element("span", "call-note", this.#when(call)));
      return tile;
    });
    const list = panel.querySelector(".calls");
    list.classList.toggle("is-rush", isRush);
    list.replaceChildren(...tiles);
    const rest = calls.length - shown.length;
    write(panel, ".calls-more", rest > 0 ? this.texts.more(rest) : "");
  }

  #when({ called_at: calledAt, calls }) {
    const at = Date.parse(calledAt);
    const time = Number.isNaN(at) ? "" : this.clock.format(at);
    return calls > 1 ? `${time} ×${calls}` : time;
  }

  #nameThePage() {
    const names = [...this.panels.values()].map((panel) => panel.querySelector(".stall-name"));
    const title = names.length === 1 ? names[0].textContent : this.texts.title;
    show("title", title);
    document.title = `${names.map((name) => name.textContent).join(" · ")} – ${this.texts.title}`;
  }

  drawClock(now) {
    show("clock", this.clock.format(now));
    show("date", this.date.format(now));
  }

  drawLink(state, since) {
    document.documentElement.dataset.link = state;
    const text = this.texts[state];
    show("link-text", state === "cut" ? text(this.toTheSecond.format(since)) : text);
  }

  // voice: the name of the one that last announced, or that would; isBlocked: no gesture yet.
  drawVoice(voice, isBlocked) {
    document.documentElement.dataset.voice = isBlocked ? "blocked" : voice;
    document.getElementById("banner").hidden = !isBlocked;
    show("voice-text", isBlocked ? this.texts.blocked : this.texts.voice[voice]);
  }

  announce(text) {
    show("spoken", text);
  }

  // Without ?stall= the page offers the stalls there are.
  offer(stalls) {
    const list = document.getElementById("choices");
    const choices = stalls.map((stall) => {
      const link = element("a", "choice", String(stall.name || this.texts.unnamed(stall.id)));
      const address = new URL(location.href);
      address.searchParams.set("stall", stall.id);
      link.href = address.href;
      const item = element("li", "");
      item.append(link);
      return item;
    });
    show("title", this.texts.title);
    show("choose-text", stalls.length > 0 ? this.texts.choose : this.texts.none);
    document.title = this.texts.title;
    document.getElementById("choose").hidden = false;
    document.getElementById("status").hidden = true;
    list.replaceChildren(...choices);
  }
}

function timeFormat(texts, fields) {
  const beijing = { timeZone: "Asia/Shanghai", hourCycle: "h23" };
  return new Intl.DateTimeFormat(texts.locale, { ...beijing, ...fields });
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function show(id, text) {
  set(document.getElementById(id), text);
}

function write(parent, selector, text) {
  set(parent.querySelector(selector), text);
}

// Unchanged text is left alone, so that a screen reader and the painter have nothing to do.
function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// ---- stall.js ----

// One stall as this board knows it: its place in the stream and its live tickets.
//
// Kept in localStorage after each event, so that a board which lost its power
// comes back with its seq, asks for what it missed and says what it had not said.

const FRESH_MS = 120_000;
const WAITING = new Set(["issued", "noted"]);
const ANNOUNCED = new Set(["ticket.called", "ticket.recalled"]);
const STATUS_AFTER = {
  "ticket.issued": "issued",
  "ticket.noted": "noted",
  "ticket.requeued": "issued",
  "ticket.called": "called",
  "ticket.recalled": "called",
};

class Stall {
  constructor(id, memory) {
    this.id = id;
    this.memory = memory;
    this.key = `callme.board.stall:${id}`;
    this.place = null; // {epoch, seq} of the last event taken in
    this.name = "";
    this.isOpen = true;
    this.isUnknown = false;
    this.tickets = new Map();
    this.unlisted = 0; // tickets that wait but that the snapshot did not list
    this.unsaid = []; // calls taken in and not yet announced to their end
    this.#remember();
  }

  // Newest call first.
  called() {
    const calls = [...this.tickets.values()].filter((ticket) => ticket.status === "called");
    return calls.reverse().sort((a, b) => time(b.called_at) - time(a.called_at));
  }

  waiting() {
    const known = [...this.tickets.values()].filter((ticket) => WAITING.has(ticket.status));
    return Math.max(0, known.length + this.unlisted);
  }

  isCalled(ticketId) {
    return this.tickets.get(ticketId)?.status === "called";
  }

  // Take a whole view. Calls in it that are fresh and were not known here become unsaid;
  // none on a board without a memory, which cannot tell what has been announced before.
  takeSnapshot(epoch, seq, snapshot) {
    const before = this.place === null ? null : this.tickets;
    const calling = (snapshot.calling ?? []).map(withTicketId);
    const listed = (snapshot.tickets ?? []).map(withTicketId);
    this.tickets = new Map();
    for (const ticket of [...listed, ...[...calling].reverse()]) {
      this.tickets.delete(ticket.ticket_id);
      this.tickets.set(ticket.ticket_id, ticket);
    }
    this.unlisted = 0;
    this.unlisted = (snapshot.waiting ?? this.waiting()) - this.waiting();
    this.#describe(snapshot.stall ?? {});
    this.place = { epoch, seq };
    this.unsaid = this.unsaid.filter((call) => this.isCalled(call.ticketId));
    const missed = before === null ? [] : this.called().reverse().filter(isNews(before));
    for (const ticket of missed) this.#addCall(ticket, ticket.called_at);
    this.#save();
  }

  // Take the event that follows `place`.
  take(event) {
    const data = event.data ?? {};
    this.place = { epoch: event.epoch, seq: event.seq };
    if (event.name === "stall.changed") this.#describe(data.stall ?? data);
    if (event.name.startsWith("ticket.") && data.ticket_id) this.#put(event.name, data);
    if (ANNOUNCED.has(event.name) && this.isCalled(data.ticket_id)) this.#addCall(data, event.at);
    this.#save();
  }

  // Whether a call still makes sense to speak: not collected, not undone, not long ago.
  isWorthSaying(call, now) {
    return this.isCalled(call.ticketId) && now - time(call.at) <= FRESH_MS;
  }

  markSaid(call) {
    this.unsaid = this.unsaid.filter((other) => other.key !== call.key);
    this.#save();
  }

  rename(description) {
    this.#describe(description);
    this.#save();
  }

  #put(name, data) {
    const known = this.tickets.get(data.ticket_id);
    const status = data.status ?? STATUS_AFTER[name] ?? "ended";
    if (!known && name !== "ticket.issued" && this.unlisted > 0) this.unlisted -= 1;
    if (ANNOUNCED.has(name)) this.tickets.delete(data.ticket_id); // the newest goes last
    if (WAITING.has(status) || status === "called") {
      this.tickets.set(data.ticket_id, { ...known, ...data, status });
    } else {
      this.tickets.delete(data.ticket_id);
    }
  }

  #addCall({ ticket_id: ticketId, number, called_at: calledAt }, at) {
    const key = `${this.id}/${this.place.epoch}/${this.place.seq}/${ticketId}`;
    this.unsaid.push({ key, stallId: this.id, ticketId, number, at: at ?? calledAt });
  }

  #describe({ name, open }) {
    if (typeof name === "string") this.name = name;
    if (typeof open === "boolean") this.isOpen = open;
  }

  #save() {
    const { place, name, isOpen, unlisted, unsaid } = this;
    const tickets = [...this.tickets.values()];
    try {
      this.memory?.setItem(this.key, JSON.stringify({ place, name, isOpen, unlisted, unsaid, tickets }));
    } catch {
      // A full or forbidden store costs the resume after a reboot, nothing else.
    }
  }

  #remember() {
    try {
      const kept = JSON.parse(this.memory?.getItem(this.key) ?? "null");
      if (typeof kept?.place?.seq !== "number" || !Array.isArray(kept.tickets)) return;
      const { place, name, isOpen, unlisted, unsaid } = kept;
      Object.assign(this, { place, name, isOpen, unlisted, unsaid: unsaid ?? [] });
      this.tickets = new Map(kept.tickets.map((ticket) => [ticket.ticket_id, ticket]));
    } catch {
      // An unreadable memory is no memory: the snapshot will fill the board.
    }
  }
}

// An event calls a ticket's id ticket_id; a ticket of its own, as in a snapshot, has an id.
function withTicketId(ticket) {
  return { ...ticket, ticket_id: ticket.ticket_id ?? ticket.id };
}

function time(text) {
  return Date.parse(text) || 0;
}

// A ticket called more often, or at another time, than the board knew.
function isNews(before) {
  return (ticket) => {
    const known = before.get(ticket.ticket_id);
    const isSame = known?.calls === ticket.calls && known?.called_at === ticket.called_at;
    return !(isSame && known.status === "called");
  };
}

// ---- voice.js ----

// Announcements: one after another, each by the first voice that can, none for ever.
//
// A voice is {name, isAble(), say(call), restMs()}; say() resolves to true (heard), or to
// false or rejects (not heard), and restMs() is how long to pass it over after that. Each
// voice keeps its own time-outs, and the announcer one above them.


const QUEUE_BOUND = 8;
const SAY_WITHIN_MS = 20_000;
const START_WITHIN_MS = 4_000;
const SPEAK_WITHIN_MS = 8_000;
const VOICES_WITHIN_MS = 2_000;
const RESUME_WITHIN_MS = 300;
const LOAD_WITHIN_MS = 6_000;
const REST_MS = 60_000;
const PAUSE_MS = 350;
const WORD_GAP_S = 0.07;

class Announcer {
  // isWanted(call): still worth saying; said(call): left the queue, spoken or not;
  // started(call), used(voiceName): for the screen.
  constructor(voices, { isWanted, started, said, used }) {
    this.voices = voices.map((voice) => ({ voice, restsUntil: 0 }));
    this.isWanted = isWanted;
    this.started = started;
    this.said = said;
    this.used = used;
    this.waiting = [];
    this.keys = new Set();
    this.isRunning = false;
    this.hasAnnounced = false;
  }

  add(call) {
    if (this.keys.has(call.key)) return;
    this.keys.add(call.key);
    this.waiting.push(call);
    if (this.waiting.length > QUEUE_BOUND) this.#coalesce();
    if (!this.isRunning) this.#run();
  }

  // Tell the screen which voice the first call will have, as long as there was none.
  async probe() {
    for (const { voice } of this.voices) {
      const isAble = await within(LOAD_WITHIN_MS, voice.isAble()).catch(() => false);
      if (this.hasAnnounced) return;
      if (isAble) return this.used(voice.name);
    }
  }

  // In a rush each number is said once, as its newest call: at most the pool's 99 a stall.
  #coalesce() {
    const newest = new Map(this.waiting.map((call) => [`${call.stallId}/${call.number}`, call]));
    const kept = new Set(newest.values());
    const dropped = this.waiting.filter((call) => !kept.has(call));
    this.waiting = this.waiting.filter((call) => kept.has(call));
    dropped.forEach((call) => this.#leave(call));
  }

  #leave(call) {
    this.keys.delete(call.key);
    this.said(call);
  }

  async #run() {
    this.isRunning = true;
    while (this.waiting.length > 0) {
      const call = this.waiting.shift();
      if (this.isWanted(call)) {
        this.started(call);
        await this.#say(call);
        await wait(PAUSE_MS);
      }
      this.#leave(call);
    }
    this.started(null);
    this.isRunning = false;
  }

  async #say(call) {
    this.hasAnnounced = true;
    for (const entry of this.voices) {
      if (Date.now() < entry.restsUntil) continue;
      const isHeard = await within(SAY_WITHIN_MS, entry.voice.say(call)).catch(() => false);
      if (isHeard) return this.used(entry.voice.name);
      entry.restsUntil = Date.now() + (entry.voice.restMs());
    }
    this.used("");
  }
}

// The browser's own speech. Silent on machines without a voice for the language.
class SpeechVoice {
  name = "speech";

  constructor(language, sound) {
    this.language = language;
    this.sound = sound;
    this.engine = globalThis.speechSynthesis;
    this.engine?.getVoices(); // the list loads late, and in some browsers only when asked for
  }

  restMs() {
    return this.sound.isOn() ? REST_MS : 0;
  }

  async isAble() {
    return Boolean(this.engine && (await this.#choose()));
  }

  async say(call) {
    if (!this.engine) return false;
    const voice = await this.#choose();
    if (!voice) return false;
    const spoken = new SpeechSynthesisUtterance(sentence(this.language, call));
    Object.assign(spoken, { voice, lang: voice.lang, rate: 0.9 });
    this.spoken = spoken; // Chromium forgets the "end" of an utterance nobody holds
    return this.#speak(spoken);
  }

  // True if it was heard: an utterance that began but never tells its end counts, or the
  // next voice would say the number a second time.
  #speak(spoken) {
    return new Promise((settle) => {
      let isStarted = false;
      const finish = (isHeard) => {
        clearTimeout(startGuard);
        clearTimeout(endGuard);
        settle(isHeard);
      };
      const giveUp = () => {
        this.engine.cancel();
        // A speak() right after cancel() is dropped by some engines, so settle a little later.
        setTimeout(() => finish(isStarted), PAUSE_MS);
      };
      const startGuard = setTimeout(() => isStarted || giveUp(), START_WITHIN_MS);
      const endGuard = setTimeout(giveUp, SPEAK_WITHIN_MS);
      spoken.onstart = () => (isStarted = true);
      spoken.onend = () => finish(true);
      spoken.onerror = () => finish(false);
      if (this.engine.paused) this.engine.resume();
      this.engine.speak(spoken);
    });
  }

  async #choose() {
    if (this.engine.getVoices().length === 0 && !this.hasWaited) {
      this.hasWaited = true;
      const changed = new Promise((settle) => {
        this.engine.addEventListener("voiceschanged", settle, { once: true });
      });
      await within(VOICES_WITHIN_MS, changed).catch(() => {});
    }
    return bestVoice(this.engine.getVoices(), this.language);
  }
}

// Mandarin before other Chinese voices, and a voice of this machine before an online one.
function bestVoice(voices, language) {
  const wanted = language === "zh" ? /^(zh[-_]?(hans[-_]?)?(cn)?$|cmn)/i : /^en/i;
  const fitting = voices.filter((voice) => wanted.test(voice.lang));
  return fitting.find((voice) => voice.localService) ?? fitting[0] ?? null;
}

// The page's one AudioContext and whether the browser lets it sound.
class Sound {
  constructor(changed) {
    const Context = globalThis.AudioContext ?? globalThis.webkitAudioContext;
    this.context = Context ? new Context() : null;
    this.context?.addEventListener("statechange", changed);
  }

  isOn() {
    return this.context?.state === "running";
  }

  // Never waits long: without a gesture a resume() may stay open for ever.
  async turnOn() {
    if (!this.context || this.isOn()) return this.isOn();
    await within(RESUME_WITHIN_MS, this.context.resume()).catch(() => {});
    return this.isOn();
  }

  // Schedule one announcement with schedule(output, begin), which returns its last source and
  // its length in seconds. True when that has ended, by the clock at the latest; whatever
  // would sound after that is cut from the loudspeaker, so two calls can never overlap.
  async play(schedule) {
    const output = this.context.createGain();
    output.connect(this.context.destination);
    const [last, seconds] = schedule(output, this.context.currentTime + 0.05);
    const end = new Promise((settle) => (last.onended = () => settle(true)));
    const isHeard = await within(seconds * 1_000 + 1_500, end).catch(() => false);
    output.disconnect();
    return isHeard;
  }
}

// Recorded words from voice/, played without gaps of the network between them.
class ClipsVoice {
  name = "clips";

  constructor(language, sound, base) {
    this.language = language;
    this.sound = sound;
    this.base = base;
    this.words = new Map();
    for (let digit = 0; digit < 10; digit += 1) this.#words(digit).catch(() => {});
  }

  restMs() {
    return this.sound.isOn() ? REST_MS : 0;
  }

  async isAble() {
    return (await this.#words(0)).length > 0;
  }

  async say(call) {
    if (!(await this.sound.turnOn())) return false;
    const clips = await within(LOAD_WITHIN_MS, this.#words(call.number));
    return this.sound.play((output, begin) => {
      let at = begin;
      let last = null;
      for (const buffer of clips) {
        last = output.context.createBufferSource();
        last.buffer = buffer;
        last.connect(output);
        last.start(at);
        at += buffer.duration + WORD_GAP_S;
      }
      return [last, at - begin];
    });
  }

  #words(number) {
    const loads = clipNames(this.language, number).map((name) => {
      if (!this.words.has(name)) this.words.set(name, this.#load(name));
      return this.words.get(name);
    });
    return Promise.all(loads);
  }

  async #load(name) {
    try {
      const answer = await fetch(new URL(`voice/${this.language}/${name}.ogg`, this.base));
      if (!answer.ok) throw new Error(`clip ${name}: ${answer.status}`);
      return await this.sound.context.decodeAudioData(await answer.arrayBuffer());
    } catch (error) {
      this.words.delete(name); // tried again for the next announcement
      throw error;
    }
  }
}

// Two falling tones: a call happened, look at the board.
class ChimeVoice {
  name = "chime";

  constructor(sound) {
    this.sound = sound;
  }

  restMs() {
    return 0;
  }

  async isAble() {
    return this.sound.context !== null;
  }

  async say() {
    if (!(await this.sound.turnOn())) return false;
    return this.sound.play((output, begin) => {
      tone(output, 784, begin, 0.7);
      return [tone(output, 587, begin + 0.35, 1.1), 1.5];
    });
  }
}

function tone(output, hertz, at, seconds) {
  const source = output.context.createOscillator();
  const volume = output.context.createGain();
  source.frequency.value = hertz;
  volume.gain.setValueAtTime(0.0001, at);
  volume.gain.exponentialRampToValueAtTime(0.6, at + 0.02);
  volume.gain.exponentialRampToValueAtTime(0.0001, at + seconds);
  source.connect(volume).connect(output);
  source.start(at);
  source.stop(at + seconds);
  return source;
}

function wait(ms) {
  return new Promise((settle) => setTimeout(settle, ms));
}

function within(ms, promise) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error("too late")), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// ---- main.js ----

// The wall board: /board/?stall=7 (several: ?stall=7&stall=8), ?lang=zh|en,
// ?voice=speech|clips|chime|off.


const STALLS_MAX = 6;
const ASK_WITHIN_MS = 8_000;
const SOUND_SETTLES_MS = 600;

class Board {
  constructor(address) {
    const asked = address.searchParams;
    this.language = chooseLanguage(asked.get("lang"), navigator.language);
    this.screen = new Screen(textsOf(this.language), this.language);
    const ids = asked.getAll("stall").flatMap((value) => value.split(","));
    const known = [...new Set(ids.filter((id) => /^[1-9]\d{0,9}$/.test(id)).map(Number))];
    this.stalls = new Map(known.slice(0, STALLS_MAX).map((id) => [id, new Stall(id, memory())]));
    this.serverAheadMs = 0;
    this.spokenTicket = null;
    this.#chooseVoices(asked.get("voice"));
  }

  start() {
    this.#tick();
    this.#keepAwake();
    if (this.stalls.size === 0) return this.#offerStalls();
    this.screen.addStalls([...this.stalls.values()]);
    this.#draw();
    this.#openSound();
    this.#connect();
    for (const stall of this.stalls.values()) this.#askName(stall);
  }

  now() {
    return Date.now() + this.serverAheadMs;
  }

  #chooseVoices(asked) {
    this.sound = new Sound(() => this.#drawVoice());
    const voices = [
      new SpeechVoice(this.language, this.sound),
      new ClipsVoice(this.language, this.sound, document.baseURI),
      new ChimeVoice(this.sound),
    ];
    this.isMuted = asked === "off";
    const forced = voices.filter((voice) => voice.name === asked);
    const chosen = this.isMuted ? [] : forced.length > 0 ? forced : voices;
    this.voice = this.isMuted ? "off" : chosen[0].name;
    this.announcer = new Announcer(chosen, {
      isWanted: (call) => this.stalls.get(call.stallId).isWorthSaying(call, this.now()),
      started: (call) => this.#announce(call),
      said: (call) => this.stalls.get(call.stallId).markSaid(call),
      used: (name) => this.#useVoice(name),
    });
  }

  #connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const feeds = [...this.stalls.values()].map((stall) => this.#feed(stall));
    this.link = new Link(`${scheme}://${location.host}/api/v1/ws`, feeds, {
      tell: (state, since) => this.screen.drawLink(state, since + this.serverAheadMs),
      heard: (serverTime) => this.#setClock(serverTime),
    });
    this.link.start();
  }

  #feed(stall) {
    const changed = () => {
      stall.isUnknown = false;
      this.#draw();
      this.#announceUnsaid(stall);
    };
    return {
      topic: `stall:${stall.id}`,
      place: () => stall.place,
      recovered: (events) => {
        events.forEach((event) => stall.take(event));
        changed();
      },
      snapshot: (epoch, seq, view) => {
        stall.takeSnapshot(epoch, seq, view);
        changed();
      },
      event: (event) => {
        stall.take(event);
        changed();
        if (event.name === "stall.changed") this.#askName(stall);
      },
      refused: (error) => {
        // Any other refusal ("too busy, try again") passes; the link asks again.
        stall.isUnknown = String(error.code).endsWith(".not_found");
        this.#draw();
      },
    };
  }

  // What a reboot or a cut left unsaid comes first, in the order of the calls.
  #announceUnsaid(stall) {
    for (const call of [...stall.unsaid]) {
      if (stall.isWorthSaying(call, this.now())) this.announcer.add(this.#named(stall, call));
      else stall.markSaid(call);
    }
  }

  // On a board of several stalls the voice says which one calls.
  #named(stall, call) {
    return { ...call, stallName: this.stalls.size > 1 ? stall.name : "" };
  }

  #announce(call) {
    this.spokenTicket = call?.ticketId ?? null;
    if (call) this.screen.announce(sentence(this.language, call));
    this.#draw();
  }

  #useVoice(name) {
    if (name) this.voice = name;
    this.#drawVoice();
  }

  // Browsers keep a page silent until somebody touches it; boards started with
  // --autoplay-policy=no-user-gesture-required never see the banner.
  #openSound() {
    const touched = () => this.sound.turnOn().then(() => this.#drawVoice());
    for (const gesture of ["pointerdown", "pointerup", "keydown"]) addEventListener(gesture, touched);
    addEventListener("visibilitychange", () => document.hidden || touched());
    setTimeout(touched, SOUND_SETTLES_MS);
    this.screen.drawVoice(this.voice, false);
    this.announcer.probe();
  }

  #drawVoice() {
    const isBlocked = !this.isMuted && this.sound.context !== null && !this.sound.isOn();
    this.screen.drawVoice(this.voice, isBlocked);
  }

  #draw() {
    for (const stall of this.stalls.values()) this.screen.draw(stall, this.spokenTicket);
  }

  #setClock(serverTime) {
    const ahead = Date.parse(serverTime) - Date.now();
    if (!Number.isNaN(ahead)) this.serverAheadMs = ahead;
    this.screen.drawClock(this.now());
  }

  #tick() {
    this.screen.drawClock(this.now());
    setTimeout(() => this.#tick(), 1_000 - (this.now() % 1_000));
  }

  async #askName(stall) {
    const answer = await askJson(`/api/v1/stalls/${stall.id}`);
    if (!answer) return;
    stall.rename(answer);
    this.#draw();
  }

  async #offerStalls() {
    const answer = await askJson("/api/v1/stalls?page_size=100");
    this.screen.offer(answer?.items ?? answer ?? []);
    if (!answer) setTimeout(() => this.#offerStalls(), ASK_WITHIN_MS);
  }

  // A wall screen must not go dark; where the browser offers no lock the machine's settings do.
  async #keepAwake() {
    const hold = () => navigator.wakeLock?.request("screen").catch(() => {});
    addEventListener("visibilitychange", () => document.hidden || hold());
    await hold();
  }
}

function memory() {
  try {
    return globalThis.localStorage;
  } catch {
    return null; // forbidden: the board works, without a resume after a reboot
  }
}

async function askJson(path) {
  try {
    const answer = await fetch(path, { signal: AbortSignal.timeout(ASK_WITHIN_MS) });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

new Board(new URL(location.href)).start();
