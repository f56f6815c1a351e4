// What outlives a reload, in this tab only: the session's token and the order in hand.

const PREFIX = "callme.renew.";

export class Memory {
  constructor() {
    this.kept = new Map();
    try {
      this.storage = globalThis.sessionStorage;
    } catch {
      this.storage = null; // forbidden: the page works until it is reloaded
    }
  }

  get(name) {
    try {
      const text = this.storage?.getItem(PREFIX + name) ?? "null";
      return JSON.parse(text) ?? this.kept.get(name) ?? null;
    } catch {
      return null;
    }
  }

  set(name, value) {
    this.kept.set(name, value);
    try {
      if (value === null) this.storage?.removeItem(PREFIX + name);
      else this.storage?.setItem(PREFIX + name, JSON.stringify(value));
    } catch {
      // Full or forbidden.
    }
  }
}
