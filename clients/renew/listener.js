// Hears from the WebSocket that a payment has an outcome. It only hurries the asking over REST,
// so it keeps no seq, and a lost event costs two seconds.

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 20_000;
const HELLO_WITHIN_MS = 10_000;
// A session that ended, or a newer connection in place of this one: the REST side finds out.
const STAY_AWAY = [4401, 4409];

export class Listener {
  constructor(url, token, heard) {
    Object.assign(this, { url, token, heard, socket: null, failures: 0, timer: 0, heartbeat: 0 });
  }

  start() {
    let socket;
    try {
      socket = new WebSocket(this.url);
    } catch {
      return this.#lost(0);
    }
    this.socket = socket;
    const mine = (act) => (event) => this.socket === socket && act(event);
    socket.onmessage = mine((event) => this.#read(event.data));
    socket.onclose = mine((event) => this.#lost(event.code));
    this.timer = setTimeout(mine(() => this.#giveUp()), HELLO_WITHIN_MS);
  }

  stop() {
    clearTimeout(this.timer);
    clearInterval(this.heartbeat);
    const { socket } = this;
    this.socket = null;
    socket?.close(1000);
  }

  // A dead network can keep a closing socket for minutes, so it is not waited for.
  #giveUp() {
    const { socket } = this;
    this.#lost(0);
    socket.close();
  }

  #read(text) {
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (frame.type === "hello") this.#greet(frame);
    else if (isAboutPayment(frame)) this.heard();
  }

  #greet(hello) {
    clearTimeout(this.timer);
    this.failures = 0;
    this.#send({ id: 1, type: "auth", token: this.token });
    this.#send({ id: 2, type: "subscribe", topic: "me" });
    const everyMs = 1_000 * (hello.heartbeat_s > 0 ? hello.heartbeat_s : 25);
    this.heartbeat = setInterval(() => this.#send({ id: 3, type: "ping" }), everyMs);
  }

  #send(frame) {
    this.socket.send(JSON.stringify(frame));
  }

  #lost(code) {
    clearTimeout(this.timer);
    clearInterval(this.heartbeat);
    this.socket = null;
    if (STAY_AWAY.includes(code)) return;
    const delay = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(this.failures, 10));
    this.failures += 1;
    this.timer = setTimeout(() => this.start(), delay * (0.5 + Math.random() / 2));
  }
}

// payment.succeeded, and payment.returned where the money came too late.
function isAboutPayment({ type, name }) {
  return type === "event" && String(name).startsWith("payment.");
}
