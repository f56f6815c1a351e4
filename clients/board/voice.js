// Announcements: one after another, each by the first voice that can, none for ever.
//
// A voice is {name, isAble(), say(call), restMs()}; say() resolves to true (heard), or to
// false or rejects (not heard), and restMs() is how long to pass it over after that. Each
// voice keeps its own time-outs, and the announcer one above them.

import { clipNames, sentence } from "./words.js";

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

export class Announcer {
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
export class SpeechVoice {
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
export class Sound {
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
export class ClipsVoice {
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
export class ChimeVoice {
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
