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
export function chooseLanguage(asked, preferred) {
  const wish = asked || preferred || "zh";
  return wish.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export function textsOf(language) {
  return TEXTS[language];
}

// Fen are integers, so no amount ever passes through a fraction.
export function yuan(fen) {
  return `¥${Math.floor(fen / 100)}.${String(fen % 100).padStart(2, "0")}`;
}

// What to tell of a failure: error.code decides.
export function inWords(texts, error) {
  const waitS = Math.max(1, Math.ceil(error.retryAfterMs / 1_000));
  if (error.code === "rate.limited") return texts.tooFast(waitS);
  if (error.code in texts.byWord) return texts.byWord[error.code];
  if (error.isPassing) return texts.busy;
  return texts.unknown(error.code, error.requestId);
}

// A whole number of 1 to 36, also in full-width digits, else null.
export function monthsIn(text) {
  const plain = text.normalize("NFKC").trim();
  const months = /^\d{1,2}$/.test(plain) ? Number(plain) : 0;
  return months >= 1 && months <= 36 ? months : null;
}
