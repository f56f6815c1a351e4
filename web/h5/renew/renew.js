// Assembled by clients/build.py from clients/renew/; edit it there.

// ---- listener.js ----

// Hears from the WebSocket that a payment has an outcome. It only hurries the asking over REST,
// so it keeps no seq, and a lost event costs two seconds.

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 20_000;
const HELLO_WITHIN_MS = 10_000;
// A session that ended, or a newer connection in place of this one: the REST side finds out.
const STAY_AWAY = [4401, 4409];

class Listener {
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

// ---- memory.js ----

// What outlives a reload, in this tab only: the session's token and the order in hand.

const PREFIX = "callme.renew.";

class Memory {
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

// ---- words.js ----

// What the page says, in Chinese and English. The page itself is written in Chinese; `page` has
// the English of its sentences.

const TEXTS = {
  zh: {
    locale: "zh-CN",
    titles: {
      "sign-in": "档口续费",
      loading: "档口续费",
      choose: "档口续费",
      pay: "等待付款",
      receipt: "✓ 续费成功",
    },
    months: (n) => `${n} 个月`,
    monthsUnit: () => "个月",
    person: (person, phone) => [person, phone].filter(Boolean).join(" · "),
    pay: (amount) => (amount ? `微信支付 ${amount}` : "微信支付"),
    ordering: "正在下单…",
    signIn: "登录",
    signingIn: "正在登录…",
    after: (n) => `付款后共 ${n} 个月`,
    monthsWanted: "请填 1 到 36 之间的整数。",
    codeWanted: "请填登录码。",
    due: "已到期，续费后才能发号。",
    soon: "快到期了。",
    disabled: "档口已被管理员停用，续费不会让它重新开张。",
    unfinished: (months, amount) => `有一笔还没付款的订单：${months}，${amount}。`,
    qrAlt: (amount) => `微信支付二维码，${amount}`,
    qrLoading: "正在取二维码…",
    qrFailed: "二维码暂时取不到，正在重试…",
    qrOver: "二维码已失效",
    payFor: (months, stall) => `${stall} 续费 ${months}`,
    priceChanged: (shown, asked) => `价格刚有变动：先前显示 ${shown}，这笔订单是 ${asked}。`,
    left: (hours, minutes, seconds) => `${hours}:${minutes}:${seconds}`,
    waiting: "等待付款…",
    asking: "正在向微信查询…",
    notPaid: "微信还没有收到这笔付款。如果刚付完，请等几秒再查。",
    minutesLeft: (n) => `还剩 ${n} 分钟。`,
    expired: "二维码已过期。还没付款的话，请重新下单。",
    closed: "订单已关闭，请重新下单。如果微信里已扣款，会入账或自动退回。",
    failed: "付款没有成功，请重新下单。如果微信里已扣款，会入账或自动退回。",
    refunded: "这笔付款已经退回，不计月数。",
    returned: "钱到得太晚，订单已经失效：款项会自动退回，月数没有增加。",
    offline: "网络断了，正在重连…订单不受影响。",
    orderingOffline: "网络断了，正在重试。不会重复下单。",
    balance: (before, after) => `${before} → ${after} 个月`,
    balanceAsking: (before) => `${before} → 正在核对…`,
    byWord: {
      no_answer: "网络不通，请再试一次。",
      "session.code_refused": "微信不认这个登录码。它只能用一次，几分钟内有效，请重新取一个。",
      "session.required": "登录已过期，请重新登录。没付完的订单还在。",
      "session.expired": "登录已过期，请重新登录。没付完的订单还在。",
      "account.blocked": "这个账号已被停用，请联系管理员。",
      forbidden: "这个账号不是卖家，不能续费。",
      "stall.not_found": "这个账号还没有档口，请先在卖家小程序里登记。",
      "stall.closed": "档口已被管理员停用，暂时不能续费。",
      "payments.not_found": "找不到这笔订单，请重新下单。",
      "payments.unknown": "微信还没有回应，正在重试。不会重复下单。",
      "payments.pending": "上一笔付款还没关闭，请过几分钟再下单。",
      "payments.refused": "微信支付没有接受这笔订单，没有扣款。请稍后再试。",
      "payments.unavailable": "微信支付还没有配置好，请联系管理员。",
      "payments.stopped": "收款暂停中，没有扣款。请稍后再试，或联系管理员。",
      "wechat.unavailable": "微信暂时没有回应，请稍后再试。",
      "wechat.refused": "微信拒绝了请求，请稍后再试。",
      "wechat.not_configured": "服务器还没有接上微信，请联系管理员。",
    },
    tooFast: (seconds) => `操作太快，请 ${seconds} 秒后再试。`,
    busy: "服务器正忙，请稍后再试。",
    unknown: (code, requestId) =>
      `没有办成（${code}）。请稍后再试；若一再发生，请把编号 ${requestId || "–"} 告诉管理员。`,
  },
  en: {
    page: {
      title: "Renew your stall",
      signOut: "Sign out",
      signInLead:
        "Sign in as a seller, choose the months, scan and pay with WeChat: they are there at once.",
      code: "Sign-in code",
      codeHint: "The sellers' mini-program gives it. It is good once, for a few minutes.",
      loading: "Fetching your stall…",
      again: "Try again",
      left: "Left",
      goOn: "Go on paying",
      howMany: "For how many months?",
      other: "Another number",
      ownRange: "months (1–36)",
      giveUp: "Do not wait, change it",
      payTitle: "Scan and pay with WeChat",
      step1: "Open WeChat on your phone and tap Scan",
      step2: "Point it at the code, check the amount and pay",
      step3: "The receipt appears here by itself",
      otherPhone:
        "A phone cannot scan its own screen: use another one, or open this page on a computer.",
      orderNo: "Order number",
      timeLeft: "Time left",
      paid: "I have paid",
      orderAgain: "Order again",
      back: "Back",
      receiptTitle: "Renewed",
      stall: "Stall",
      bought: "Bought",
      months: "Months left",
      paidAt: "Paid at",
      transaction: "WeChat Pay number",
      print: "Print the receipt",
      done: "Done",
    },
    locale: "en-GB",
    titles: {
      "sign-in": "Renew your stall",
      loading: "Renew your stall",
      choose: "Renew your stall",
      pay: "Waiting for payment",
      receipt: "✓ Renewed",
    },
    months: (n) => (n === 1 ? "1 month" : `${n} months`),
    monthsUnit: (n) => (n === 1 ? "month" : "months"),
    person: (person, phone) => [person, phone].filter(Boolean).join(" · "),
    pay: (amount) => (amount ? `Pay ${amount} with WeChat` : "Pay with WeChat"),
    ordering: "Making the order…",
    signIn: "Sign in",
    signingIn: "Signing in…",
    after: (n) => (n === 1 ? "1 month after paying" : `${n} months after paying`),
    monthsWanted: "Please enter a whole number from 1 to 36.",
    codeWanted: "Please enter the sign-in code.",
    due: "The months are used up: no numbers until you renew.",
    soon: "Ends soon.",
    disabled: "An administrator has switched this stall off; renewing does not open it again.",
    unfinished: (months, amount) => `An order is not paid yet: ${months}, ${amount}.`,
    qrAlt: (amount) => `WeChat Pay QR code, ${amount}`,
    qrLoading: "Fetching the code…",
    qrFailed: "The code cannot be had right now, trying again…",
    qrOver: "The code has ended",
    payFor: (months, stall) => `${months} for ${stall}`,
    priceChanged: (shown, asked) =>
      `The price has just changed: ${shown} was shown, this order is ${asked}.`,
    left: (hours, minutes, seconds) => `${hours}:${minutes}:${seconds}`,
    waiting: "Waiting for the payment…",
    asking: "Asking WeChat…",
    notPaid: "WeChat has not had this payment yet. If you have just paid, ask again in a moment.",
    minutesLeft: (n) => `${n} min left.`,
    expired: "The code has expired. If you have not paid yet, please order again.",
    closed:
      "It is closed; please order again. If WeChat has charged you, it counts or comes back.",
    failed:
      "It was not paid; please order again. If WeChat has charged you, it counts or comes back.",
    refunded: "This payment was sent back; its months do not count.",
    returned: "The money came too late and goes back by itself; no months were added.",
    offline: "The network is away, reconnecting… Your order is safe.",
    orderingOffline: "The network is away, trying again. It stays one order.",
    balance: (before, after) => `${before} → ${after} months`,
    balanceAsking: (before) => `${before} → checking…`,
    byWord: {
      no_answer: "The server cannot be reached; please try again.",
      "session.code_refused":
        "WeChat does not accept this code. It is good once, for minutes; please get a new one.",
      "session.required": "Your session has ended; please sign in again. An unpaid order is kept.",
      "session.expired": "Your session has ended; please sign in again. An unpaid order is kept.",
      "account.blocked": "This account is blocked; please ask an administrator.",
      forbidden: "This account is no seller's and cannot renew.",
      "stall.not_found": "This account has no stall; please sign up in the sellers' mini-program.",
      "stall.closed": "An administrator has switched the stall off; it cannot be renewed now.",
      "payments.not_found": "There is no such order; please order again.",
      "payments.unknown": "WeChat has not answered, trying again. It stays one order.",
      "payments.pending": "An earlier payment is still open; please order in a few minutes.",
      "payments.refused": "WeChat Pay refused the order, nothing was charged. Please try later.",
      "payments.unavailable": "WeChat Pay is not set up; please ask an administrator.",
      "payments.stopped":
        "Payments are stopped, nothing was charged. Please try later or ask an administrator.",
      "wechat.unavailable": "WeChat gives no answer right now; please try later.",
      "wechat.refused": "WeChat refused; please try later.",
      "wechat.not_configured": "WeChat is not connected to this server; ask an administrator.",
    },
    tooFast: (seconds) => `Too fast; please try again in ${seconds} seconds.`,
    busy: "The server is busy; please try again in a moment.",
    unknown: (code, requestId) =>
      `It was not done (${code}). Please try later; if it happens again, tell an administrator ` +
      `the number ${requestId || "–"}.`,
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

// Fen are integers, so no amount ever passes through a fraction.
function yuan(fen) {
  return `¥${Math.floor(fen / 100)}.${String(fen % 100).padStart(2, "0")}`;
}

// What to tell of a failure: error.code decides.
function inWords(texts, error) {
  const waitS = Math.max(1, Math.ceil(error.retryAfterMs / 1_000));
  if (error.code === "rate.limited") return texts.tooFast(waitS);
  if (error.code in texts.byWord) return texts.byWord[error.code];
  if (error.isPassing) return texts.busy;
  return texts.unknown(error.code, error.requestId);
}

// A whole number of 1 to 36, also in full-width digits, else null.
function monthsIn(text) {
  const plain = text.normalize("NFKC").trim();
  const months = /^\d{1,2}$/.test(plain) ? Number(plain) : 0;
  return months >= 1 && months <= 36 ? months : null;
}

// ---- screen.js ----

// What is seen. Every text goes in as text, never as markup.


const VIEWS = ["sign-in", "loading", "choose", "pay", "receipt"];
const SOON_MONTHS = 1;

class Screen {
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

function at(id) {
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

// ---- server.js ----

// The REST routes this page uses. A failure is a Refusal, with a code as in docs/protocol.md;
// `isPassing` says that the same request, with the same key, may be sent again.

const ASK_WITHIN_MS = 10_000;
const PASSING_CODES =
  /^(no_answer|rate\.limited|payments\.unknown|database\..+|http\.(502|503|504))$/;

class Refusal extends Error {
  constructor(code, { status = 0, requestId = "", retryAfterMs = 0 } = {}) {
    super(code);
    Object.assign(this, { code, status, requestId, retryAfterMs });
    this.isPassing = PASSING_CODES.test(code);
    this.isSessionOver = status === 401;
  }
}

class Server {
  constructor(token) {
    this.token = token;
    this.aheadMs = 0; // of the server's clock before this one, to the second
  }

  async signIn(code) {
    this.token = null;
    const body = { app: "seller", code };
    this.token = (await this.#ask("POST", "/api/v1/sessions", { body })).token;
  }

  async signOut() {
    await this.#ask("DELETE", "/api/v1/sessions/current");
  }

  stall() {
    return this.#ask("GET", "/api/v1/sellers/me/stall");
  }

  order(stallId, months, key) {
    const body = { months, trade_type: "NATIVE" };
    return this.#ask("POST", `/api/v1/stalls/${stallId}/renewals`, { body, key });
  }

  payment(outTradeNo) {
    return this.#ask("GET", paymentPath(outTradeNo));
  }

  // Lets the server ask WeChat now.
  refresh(outTradeNo) {
    return this.#ask("POST", `${paymentPath(outTradeNo)}/refresh`);
  }

  qr(outTradeNo) {
    return this.#ask("GET", `${paymentPath(outTradeNo)}/qr.png?size=480&level=M`, { take: pictureOf });
  }

  async #ask(method, path, { body, key, take = jsonOf } = {}) {
    const headers = {
      ...(this.token && { Authorization: `Bearer ${this.token}` }),
      ...(body && { "Content-Type": "application/json" }),
      ...(key && { "Idempotency-Key": key }),
    };
    let answer;
    try {
      answer = await fetch(path, {
        method,
        headers,
        body: body && JSON.stringify(body),
        cache: "no-store",
        credentials: "omit",
        signal: AbortSignal.timeout(ASK_WITHIN_MS),
      });
      const date = Date.parse(answer.headers.get("Date"));
      if (!Number.isNaN(date)) this.aheadMs = date - Date.now();
      if (answer.ok) return answer.status === 204 ? null : await take(answer);
    } catch {
      // Also a sign-in page that a canteen's Wi-Fi puts in the place of an answer.
      throw new Refusal("no_answer");
    }
    throw await refusalOf(answer);
  }
}

// For a key or the like; crypto.randomUUID is missing on pages without TLS.
function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function paymentPath(outTradeNo) {
  return `/api/v1/payments/${encodeURIComponent(outTradeNo)}`;
}

function jsonOf(answer) {
  return answer.json();
}

async function pictureOf(answer) {
  const picture = await answer.blob();
  if (!picture.type.startsWith("image/")) throw new TypeError(picture.type);
  return picture;
}

async function refusalOf(answer) {
  const problem = await answer.json().catch(() => ({}));
  return new Refusal(String(problem.code ?? `http.${answer.status}`), {
    status: answer.status,
    requestId: String(problem.request_id ?? answer.headers.get("X-Request-Id") ?? ""),
    retryAfterMs: 1_000 * (Number(answer.headers.get("Retry-After")) || 0),
  });
}

// ---- watch.js ----

// Follows one order until it has an outcome: asks every two seconds, and at once when told to.

const ASK_EVERY_MS = 2_000;

class Watch {
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

// ---- main.js ----

// The seller's renewal page: sign in, choose months, pay by QR, receipt.


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
