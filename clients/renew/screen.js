// What is seen. Every text goes in as text, never as markup.

import { yuan } from "./words.js";

const VIEWS = ["sign-in", "loading", "choose", "pay", "receipt"];
const SOON_MONTHS = 1;

export class Screen {
  constructor(texts, language) {
    this.texts = texts;
    this.view = null;
    this.time = new Intl.DateTimeFormat(texts.locale, {
      timeZone: "Asia/Shanghai",
      dateStyle: "long",
      timeStyle: "medium",
      hourCycle: "h23",
    });
    this.#translate(language);
    this.drawSigningIn(false);
  }

  #translate(language) {
    document.documentElement.lang = this.texts.locale;
    for (const node of document.querySelectorAll("[data-text]")) {
      write(node, this.texts.page?.[node.dataset.text] ?? node.textContent);
    }
    for (const link of document.querySelectorAll(".languages a")) {
      if (link.lang.startsWith(language)) link.setAttribute("aria-current", "true");
    }
  }

  // The heading of a view that comes after another gets the focus, so that a screen reader tells
  // where one is.
  show(view) {
    if (this.view === view) return;
    const isFirst = this.view === null;
    this.view = view;
    for (const name of VIEWS) at(name).hidden = name !== view;
    at("sign-out").hidden = view === "sign-in";
    document.title = this.texts.titles[view];
    scrollTo(0, 0);
    if (!isFirst) at(`${view}-title`).focus({ preventScroll: true });
  }

  tell(id, text) {
    write(at(id), text);
  }

  // Says it again, also when the words are the same: screen readers hear changes only.
  tellAnew(id, text) {
    at(id).textContent = "";
    requestAnimationFrame(() => this.tell(id, text));
  }

  drawSigningIn(isBusy) {
    this.tell("sign-in-button", isBusy ? this.texts.signingIn : this.texts.signIn);
    setBusy("sign-in-button", isBusy);
  }

  drawStall(stall) {
    this.tell("stall-name", stall.name);
    this.tell("stall-person", this.texts.person(stall.person, stall.phone));
    this.tell("balance-months", String(stall.balance_months));
    this.tell("balance-unit", this.texts.monthsUnit(stall.balance_months));
    const isDue = stall.balance_months <= 0;
    const isSoon = stall.balance_months <= SOON_MONTHS;
    at("balance").dataset.state = isDue ? "due" : isSoon ? "soon" : "good";
    const ends = isDue ? this.texts.due : isSoon ? this.texts.soon : "";
    this.tell("stall-warning", stall.disabled ? this.texts.disabled : ends);
    this.#drawPrices(stall.month_price_fen);
  }

  #drawPrices(monthPriceFen) {
    for (const choice of document.querySelectorAll("label.choice")) {
      const months = Number(choice.querySelector("input").value);
      write(choice.querySelector("b"), this.texts.months(months));
      write(choice.querySelector("span"), yuan(months * monthPriceFen));
    }
  }

  // months: null while what is typed is no number of months.
  drawSum(stall, months) {
    this.tell("sum-after", months ? this.texts.after(stall.balance_months + months) : "");
    this.tell("sum-amount", months ? yuan(months * stall.month_price_fen) : "");
    if (at("order").getAttribute("aria-busy") !== "true") this.#drawOrderButton(stall, months);
  }

  drawOrdering(stall, months, isBusy) {
    at("choices").disabled = isBusy;
    setBusy("order", isBusy);
    at("give-up").hidden = true;
    if (isBusy) write(at("order"), this.texts.ordering);
    else this.#drawOrderButton(stall, months);
  }

  #drawOrderButton(stall, months) {
    write(at("order"), this.texts.pay(months ? yuan(months * stall.month_price_fen) : null));
  }

  drawUnfinished(order) {
    at("unfinished").hidden = order === null;
    if (order === null) return;
    const months = this.texts.months(order.months);
    this.tell("unfinished-text", this.texts.unfinished(months, yuan(order.amountFen)));
  }

  drawMonths(months) {
    const listed = document.querySelector(`input[name="months"][value="${months}"]`);
    (listed ?? at("own-choice")).checked = true;
    if (!listed) at("own").value = String(months);
  }

  markOwn(isWrong) {
    at("own").setAttribute("aria-invalid", String(isWrong));
  }

  drawPay(order, stall) {
    const { shownFen, amountFen } = order;
    this.tell("pay-amount", yuan(amountFen));
    this.tell("pay-what", this.texts.payFor(this.texts.months(order.months), stall.name));
    const changed = this.texts.priceChanged(yuan(shownFen), yuan(amountFen));
    this.tell("price-note", shownFen === amountFen ? "" : changed);
    this.tell("pay-no", order.outTradeNo);
    at("paid").hidden = false;
    at("order-again").hidden = true;
    setBusy("paid", false);
    this.drawQr(null, this.texts.qrLoading);
    this.drawPayStatus("waiting", this.texts.waiting);
  }

  drawQr(url, note, amountFen) {
    const picture = at("qr");
    if (picture.src) URL.revokeObjectURL(picture.src);
    picture.hidden = url === null;
    if (url === null) picture.removeAttribute("src");
    else Object.assign(picture, { src: url, alt: this.texts.qrAlt(yuan(amountFen)) });
    this.tell("qr-note", note);
  }

  drawCountdown(leftMs) {
    const seconds = Math.max(0, Math.ceil(leftMs / 1_000));
    const parts = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60, seconds % 60];
    this.tell("countdown", this.texts.left(...parts.map((part) => String(part).padStart(2, "0"))));
  }

  // state: waiting, asking, notice or over.
  drawPayStatus(state, text) {
    at("pay-status").dataset.state = state;
    this.tell("pay-status", text);
  }

  drawAsking(isBusy) {
    setBusy("paid", isBusy);
  }

  // The order cannot be paid any more: the only way on is a new one. One that has expired may
  // have been paid in its last moment, so that can still be asked.
  drawOver(text, { mayBePaid = false } = {}) {
    this.drawQr(null, this.texts.qrOver);
    this.drawPayStatus("over", text);
    this.drawCountdown(0);
    at("paid").hidden = !mayBePaid;
    at("order-again").hidden = false;
  }

  // after: the months left now, null while they are not known.
  drawReceipt(order, stall, after) {
    const { payment } = order;
    this.tell("receipt-amount", yuan(payment.amount_fen));
    this.tell("receipt-stall", stall.name);
    this.tell("receipt-months", this.texts.months(order.months));
    const asking = this.texts.balanceAsking(order.before);
    this.tell("receipt-balance", after === null ? asking : this.texts.balance(order.before, after));
    const paidAt = Date.parse(payment.paid_at ?? payment.ended_at);
    this.tell("receipt-time", Number.isNaN(paidAt) ? "–" : this.time.format(paidAt));
    this.tell("receipt-no", order.outTradeNo);
    this.tell("receipt-transaction", payment.transaction_id ?? "");
    at("receipt-transaction").parentElement.hidden = !payment.transaction_id;
  }
}

export function at(id) {
  return document.getElementById(id);
}

// Stays in the tab order, so that the keyboard does not lose its place.
function setBusy(id, isBusy) {
  at(id).setAttribute("aria-busy", String(isBusy));
  at(id).setAttribute("aria-disabled", String(isBusy));
}

// Unchanged text is left alone, so that a screen reader and the painter have nothing to do.
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
