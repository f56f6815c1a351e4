// Follows one order until it has an outcome: asks every two seconds, and at once when told to.

const ASK_EVERY_MS = 2_000;

export class Watch {
  // told: heard(payment), failed(refusal).
  constructor(server, outTradeNo, told) {
    Object.assign(this, { server, outTradeNo, told });
    this.isOn = false;
    this.isAsking = false;
    this.isHurried = false;
    this.timer = 0;
  }

  start() {
    this.isOn = true;
    this.hurry();
  }

  stop() {
    this.isOn = false;
    clearTimeout(this.timer);
  }

  // Ask now. What happens during an asking is asked about after it.
  hurry() {
    this.isHurried = this.isAsking;
    if (this.isOn && !this.isAsking) this.#ask();
  }

  async #ask() {
    clearTimeout(this.timer);
    this.isAsking = true;
    const waitMs = await this.#askOnce();
    this.isAsking = false;
    if (!this.isOn) return;
    if (this.isHurried) this.hurry();
    else this.timer = setTimeout(() => this.#ask(), waitMs);
  }

  // Lets the server ask WeChat now. Raises a Refusal.
  async refresh() {
    const payment = await this.server.refresh(this.outTradeNo);
    if (this.isOn) this.told.heard(payment);
  }

  async #askOnce() {
    let payment;
    try {
      payment = await this.server.payment(this.outTradeNo);
    } catch (refusal) {
      if (this.isOn) this.told.failed(refusal);
      return Math.max(ASK_EVERY_MS, refusal.retryAfterMs);
    }
    if (this.isOn) this.told.heard(payment);
    return ASK_EVERY_MS;
  }
}
