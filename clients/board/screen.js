// What is seen: stalls, clock, link and voice. Every text goes in as text, never as markup.

import { twoDigits } from "./words.js";

const TILES = 12;
const TILES_IN_A_RUSH = 20;

export class Screen {
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
