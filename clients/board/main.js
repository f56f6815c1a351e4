// The wall board: /board/?stall=7 (several: ?stall=7&stall=8), ?lang=zh|en,
// ?voice=speech|clips|chime|off.

import { Link } from "./link.js";
import { Screen } from "./screen.js";
import { Stall } from "./stall.js";
import { Announcer, ChimeVoice, ClipsVoice, Sound, SpeechVoice } from "./voice.js";
import { chooseLanguage, sentence, textsOf } from "./words.js";

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
