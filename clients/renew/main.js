// The seller's renewal page: sign in, choose months, pay by QR, receipt.

import { Listener } from "./listener.js";
import { Memory } from "./memory.js";
import { at, Screen } from "./screen.js";
import { randomName, Server } from "./server.js";
import { Watch } from "./watch.js";
import { chooseLanguage, inWords, monthsIn, textsOf } from "./words.js";

// WeChat's own: a code_url is good for two hours.
const CODE_GOOD_MS = 2 * 3_600_000;
const TELL_LEFT_MIN = [10, 2];
const STALL_OLD_MS = 60_000;
const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 8_000;

class Renewal {
  constructor(address) {
    this.address = address;
    this.language = chooseLanguage(address.searchParams.get("lang"), navigator.language);
    this.texts = textsOf(this.language);
    this.screen = new Screen(this.texts, this.language);
    this.memory = new Memory();
    this.server = new Server(this.memory.get("token"));
    this.stall = null;
    this.stallAt = 0;
    // {stallId, months, before, shownFen, key}; once made also outTradeNo, amountFen, endsAt;
    // once paid also payment, after.
    this.order = null;
    this.isSigningIn = false;
    this.isOrdering = false;
    this.isRefreshing = false;
    this.watch = null;
    this.stops = []; // what ends when the order in hand is left
    this.wakes = new Set(); // of those who wait for the network
  }

  start() {
    this.#listen();
    const code = this.#takeCode();
    if (code) {
      at("code").value = code;
      this.screen.show("sign-in");
      this.#signIn();
    } else if (this.server.token) {
      this.#openStall();
    } else {
      this.screen.show("sign-in");
    }
  }

  #listen() {
    const on = (id, name, act) => at(id).addEventListener(name, act);
    const submitted = (act) => (event) => {
      event.preventDefault();
      act();
    };
    on("sign-in-form", "submit", submitted(() => this.#signIn()));
    on("choose-form", "submit", submitted(() => this.#chosen()));
    on("choose-form", "input", (event) => this.#choosing(event.target));
    on("own-row", "click", (event) => this.#pointedAtOwn(event));
    on("sign-out", "click", () => this.#signOut());
    on("load-again", "click", () => this.#openStall());
    on("go-on", "click", () => this.#showPay());
    on("give-up", "click", () => this.#giveUp());
    on("paid", "click", () => this.#refresh());
    on("order-again", "click", () => this.#orderAgain());
    on("back", "click", () => this.#back());
    on("print", "click", () => print());
    on("done", "click", () => this.#done());
    addEventListener("online", () => this.#networkIsBack());
    addEventListener("offline", () => this.#networkIsAway());
    addEventListener("visibilitychange", () => document.hidden || this.#seen());
  }

  // ---- signing in

  // A code in the address would stay in the history of a shared computer.
  #takeCode() {
    const { searchParams } = this.address;
    const code = searchParams.get("code");
    if (code === null) return "";
    searchParams.delete("code");
    history.replaceState(null, "", this.address);
    return code.trim();
  }

  async #signIn() {
    if (this.isSigningIn) return;
    const code = at("code").value.trim();
    if (!code) return this.#refuseCode(this.texts.codeWanted);
    this.isSigningIn = true;
    this.screen.tell("sign-in-fault", "");
    this.screen.drawSigningIn(true);
    try {
      await this.server.signIn(code);
    } catch (refusal) {
      return this.#refuseCode(inWords(this.texts, refusal));
    } finally {
      this.isSigningIn = false;
      this.screen.drawSigningIn(false);
    }
    at("code").value = "";
    this.memory.set("token", this.server.token);
    await this.#openStall();
  }

  #refuseCode(text) {
    this.screen.tellAnew("sign-in-fault", text);
    at("code").focus();
  }

  #signOut() {
    this.server.signOut().catch(() => {}); // it ends by itself when it is not used
    this.#keepOrder(null);
    this.#toSignIn("");
  }

  // The order in hand is kept: after the next sign-in it goes on.
  #toSignIn(text) {
    this.#leaveOrder();
    this.order = null;
    this.stall = null;
    this.server.token = null;
    this.memory.set("token", null);
    this.screen.tell("network", "");
    this.screen.show("sign-in");
    this.screen.tellAnew("sign-in-fault", text);
  }

  // ---- the stall

  async #openStall() {
    const { token } = this.server;
    this.screen.tell("loading-fault", "");
    at("load-again").hidden = true;
    this.screen.show("loading");
    try {
      await this.#fetchStall(() => this.server.token === token);
    } catch (refusal) {
      if (this.server.token !== token) return;
      if (refusal.isSessionOver) return this.#toSignIn(inWords(this.texts, refusal));
      this.screen.tell("loading-fault", inWords(this.texts, refusal));
      at("load-again").hidden = false;
      return;
    }
    this.#resume();
  }

  async #fetchStall(isWanted) {
    this.stall = await this.#persist(() => this.server.stall(), isWanted, (refusal) =>
      this.screen.tell("network", this.#passing(refusal)),
    );
    this.stallAt = Date.now();
    this.screen.tell("network", "");
  }

  // Goes on with what a reload or an ended session interrupted.
  #resume() {
    const order = this.memory.get("order");
    if (order?.stallId !== this.stall.id) {
      this.#keepOrder(null);
      return this.#showChoose();
    }
    this.order = order;
    this.screen.drawMonths(order.months);
    if (order.payment) {
      this.#showReceipt();
    } else if (order.outTradeNo) {
      this.#openOrder();
    } else {
      this.#showChoose();
      this.#place(order);
    }
  }

  #showChoose() {
    this.screen.drawStall(this.stall);
    this.screen.drawSum(this.stall, this.#months());
    this.screen.drawUnfinished(this.#unfinished());
    this.screen.tell("choose-fault", "");
    this.screen.show("choose");
  }

  // Months and price of a page that was left open since yesterday are looked up anew.
  async #seen() {
    this.watch?.hurry();
    const isOld = Date.now() - this.stallAt > STALL_OLD_MS;
    if (this.screen.view !== "choose" || this.isOrdering || !isOld) return;
    const stall = await this.server.stall().catch(() => null);
    if (stall === null || this.screen.view !== "choose" || this.isOrdering) return;
    this.stall = stall;
    this.stallAt = Date.now();
    this.#showChoose();
  }

  // ---- choosing

  #months() {
    const chosen = document.querySelector('input[name="months"]:checked');
    return monthsIn(chosen.id === "own-choice" ? at("own").value : chosen.value);
  }

  #choosing(field) {
    if (field === at("own")) at("own-choice").checked = true;
    this.screen.markOwn(false);
    this.screen.tell("choose-fault", "");
    this.screen.drawSum(this.stall, this.#months());
  }

  // With the keyboard one only passes here, and keeps one's place; a click by keys has no detail.
  #pointedAtOwn({ detail, target }) {
    if (detail > 0 && target !== at("own")) setTimeout(() => at("own").focus());
  }

  #chosen() {
    if (this.isOrdering) return;
    const months = this.#months();
    if (months === null) {
      this.screen.markOwn(true);
      this.screen.tellAnew("choose-fault", this.texts.monthsWanted);
      at("own").focus();
    } else if (this.#unfinished()?.months === months) {
      this.#showPay(); // the same again is the order there is
    } else {
      this.#place(this.#newOrder(months));
    }
  }

  #unfinished() {
    return this.watch !== null && !this.order.isExpired ? this.order : null;
  }

  #newOrder(months) {
    const { id, balance_months: before, month_price_fen: priceFen } = this.stall;
    return { stallId: id, months, before, shownFen: months * priceFen, key: randomName() };
  }

  // ---- ordering

  // Without an answer the same request is sent again with the same key, so it stays one order.
  async #place(order) {
    this.#leaveOrder();
    this.isOrdering = true;
    this.#keepOrder(order);
    this.screen.drawUnfinished(null);
    this.screen.tell("choose-fault", "");
    this.screen.drawOrdering(this.stall, order.months, true);
    const isWanted = () => this.order === order;
    const ask = () => this.server.order(order.stallId, order.months, order.key);
    let made;
    try {
      made = await this.#persist(ask, isWanted, (refusal) => {
        const isCut = refusal.code === "no_answer";
        this.screen.tell("network", isCut ? this.texts.orderingOffline : this.#passing(refusal));
        at("give-up").hidden = false;
      });
    } catch (refusal) {
      if (isWanted()) this.#notPlaced(refusal);
      return;
    }
    if (!isWanted()) return;
    this.#placingEnds();
    const { out_trade_no: outTradeNo, amount_fen: amountFen } = made;
    this.#keepOrder({ ...order, outTradeNo, amountFen, endsAt: Date.now() + CODE_GOOD_MS });
    this.#openOrder();
  }

  #notPlaced(refusal) {
    this.#placingEnds();
    const text = inWords(this.texts, refusal);
    if (refusal.isSessionOver) return this.#toSignIn(text);
    this.#keepOrder(null);
    this.screen.tellAnew("choose-fault", text);
  }

  #placingEnds() {
    this.isOrdering = false;
    this.screen.tell("network", "");
    this.screen.drawOrdering(this.stall, this.#months(), false);
  }

  #giveUp() {
    this.#keepOrder(null);
    this.#placingEnds();
    at("order").focus();
  }

  // ---- paying

  #openOrder() {
    const { order } = this;
    const isWanted = () => this.order === order;
    this.screen.drawPay(order, this.stall);
    this.screen.show("pay");
    this.#showQr(order, isWanted);
    this.watch = new Watch(this.server, order.outTradeNo, {
      heard: (payment) => this.#heard(payment),
      failed: (refusal) => this.#unheard(refusal),
    });
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const url = `${scheme}://${location.host}/api/v1/ws`;
    const listener = new Listener(url, this.server.token, () => this.watch?.hurry());
    const ticking = setInterval(() => this.#tick(), 1_000);
    const { watch } = this;
    this.stops = [() => watch.stop(), () => listener.stop(), () => clearInterval(ticking)];
    this.#tick();
    watch.start();
    listener.start();
  }

  // Nothing is asked or told about the order in hand any more.
  #leaveOrder() {
    for (const stop of this.stops) stop();
    this.stops = [];
    this.watch = null;
    if (this.isOrdering) this.#placingEnds();
    this.isRefreshing = false;
  }

  #keepOrder(order) {
    this.order = order;
    this.memory.set("order", order);
  }

  async #showQr(order, isWanted) {
    const isOpen = () => isWanted() && this.watch !== null && order.endsAt > Date.now();
    const failed = () => this.screen.drawQr(null, this.texts.qrFailed);
    try {
      const picture = await this.#persist(() => this.server.qr(order.outTradeNo), isOpen, failed);
      if (isOpen()) this.screen.drawQr(URL.createObjectURL(picture), "", order.amountFen);
    } catch (refusal) {
      if (isOpen()) this.screen.drawQr(null, inWords(this.texts, refusal));
    }
  }

  #showPay() {
    this.screen.show("pay");
  }

  // The order stays open, and is still followed.
  #back() {
    if (this.watch === null) this.#keepOrder(null);
    this.#showChoose();
  }

  #tick() {
    const { order } = this;
    const leftMs = order.endsAt - Date.now();
    this.screen.drawCountdown(leftMs);
    if (leftMs <= 0) return this.#expire();
    const minutes = TELL_LEFT_MIN.findLast((most) => leftMs <= most * 60_000);
    if (order.toldMin === minutes) return;
    order.toldMin = minutes;
    const left = minutes ? this.texts.minutesLeft(Math.ceil(leftMs / 60_000)) : "";
    this.screen.drawPayStatus("waiting", `${this.texts.waiting} ${left}`);
  }

  // It may have been paid in its last moment, so it is still followed.
  #expire() {
    if (this.order.isExpired) return;
    this.order.isExpired = true;
    this.screen.drawOver(this.texts.expired, { mayBePaid: true });
    this.screen.drawUnfinished(null);
  }

  #heard(payment) {
    this.screen.tell("network", "");
    const { state, debt_state: debtState } = payment;
    if (debtState === "refunded") this.#over("refunded");
    else if (payment.is_paid) this.#paid(payment);
    else if (state === "success") this.#over("returned");
    else if (debtState === "cancelled" || state === "closed") this.#over("closed");
    else if (state === "failed") this.#over("failed");
    else this.#keepTime(payment);
  }

  // Once: the server's clock is known to the second only, and the countdown is not to jump.
  #keepTime(payment) {
    const { order } = this;
    if (order.isTimed) return;
    const endsAt = Math.min(order.endsAt, Date.now() + this.#goodFor(payment));
    this.#keepOrder(Object.assign(order, { isTimed: true, endsAt }));
    this.#tick();
  }

  #goodFor({ expires_at: expiresAt }) {
    const leftMs = Date.parse(expiresAt) - (Date.now() + this.server.aheadMs);
    return Number.isNaN(leftMs) ? CODE_GOOD_MS : Math.min(CODE_GOOD_MS, leftMs);
  }

  #unheard(refusal) {
    if (refusal.isSessionOver) this.#toSignIn(inWords(this.texts, refusal));
    else if (refusal.code === "payments.not_found") this.#over("payments.not_found");
    else this.screen.tell("network", this.#passing(refusal));
  }

  #over(reason) {
    this.#leaveOrder();
    this.screen.drawAsking(false);
    this.screen.drawOver(this.texts[reason] ?? this.texts.byWord[reason]);
    // One who went back to choose sees no more than that the order is gone.
    if (this.screen.view === "pay") this.memory.set("order", null);
    else this.#keepOrder(null);
    this.screen.drawUnfinished(null);
  }

  async #refresh() {
    const { watch } = this;
    if (this.isRefreshing || watch === null) return;
    this.isRefreshing = true;
    this.screen.drawAsking(true);
    this.screen.drawPayStatus("asking", this.texts.asking);
    let text = this.texts.notPaid;
    try {
      await watch.refresh();
    } catch (refusal) {
      if (this.watch === watch && refusal.isSessionOver) return this.#unheard(refusal);
      text = inWords(this.texts, refusal);
    }
    if (this.watch !== watch) return;
    this.isRefreshing = false;
    this.screen.drawAsking(false);
    this.screen.drawPayStatus("notice", text);
  }

  #orderAgain() {
    const { months } = this.order;
    this.#leaveOrder();
    this.#keepOrder(null);
    this.screen.drawMonths(months);
    this.#showChoose();
    this.#place(this.#newOrder(months));
  }

  // ---- paid

  #paid(payment) {
    this.#leaveOrder();
    this.#keepOrder({ ...this.order, payment, after: null });
    this.#showReceipt();
  }

  async #showReceipt() {
    const { order } = this;
    const isWanted = () => this.order === order;
    this.screen.drawReceipt(order, this.stall, order.after);
    this.screen.show("receipt");
    if (order.after !== null) return;
    try {
      await this.#fetchStall(isWanted);
    } catch (refusal) {
      if (isWanted()) this.screen.tell("network", inWords(this.texts, refusal));
      return;
    }
    if (!isWanted()) return;
    order.after = this.stall.balance_months;
    this.#keepOrder(order);
    this.screen.drawReceipt(order, this.stall, order.after);
  }

  #done() {
    const isStallFresh = this.order.after !== null;
    this.#keepOrder(null);
    this.screen.tell("network", "");
    if (isStallFresh) this.#showChoose();
    else this.#openStall();
  }

  // ---- the network

  // Does it again and again while it is wanted and the failure is one that passes.
  async #persist(act, isWanted, failed) {
    for (let delayMs = FIRST_DELAY_MS; ; delayMs = Math.min(LONGEST_DELAY_MS, 2 * delayMs)) {
      try {
        return await act();
      } catch (refusal) {
        if (!refusal.isPassing || !isWanted()) throw refusal;
        failed(refusal);
        await this.#pause(Math.max(delayMs, refusal.retryAfterMs));
        if (!isWanted()) throw refusal;
      }
    }
  }

  // Ends early when the network comes back.
  #pause(ms) {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.wakes.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, ms);
      this.wakes.add(wake);
    });
  }

  #passing(refusal) {
    return refusal.code === "no_answer" ? this.texts.offline : inWords(this.texts, refusal);
  }

  #networkIsBack() {
    for (const wake of [...this.wakes]) wake();
    this.watch?.hurry();
  }

  #networkIsAway() {
    if (this.watch) this.screen.tell("network", this.texts.offline);
  }
}

new Renewal(new URL(location.href)).start();
