// What the board says and shows, in Chinese and English.

const DIGITS = {
  zh: ["零", "一", "二", "三", "四", "五", "六", "七", "八", "九"],
  en: ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
};

const TEXTS = {
  zh: {
    locale: "zh-CN",
    title: "取餐叫号",
    now: "请取餐",
    called: "已叫号，请取餐",
    waiting: "等候",
    idle: "等候叫号",
    closed: "休息中",
    unnamed: (id) => `${id} 号档口`,
    unknown: "没有这个档口",
    more: (n) => `另有 ${n} 个`,
    live: "实时",
    connecting: "连接中",
    cut: (clock) => `断线，自 ${clock} 起，正在重连`,
    voice: { speech: "浏览器朗读", clips: "录音播报", chime: "提示音", off: "静音" },
    blocked: "声音未开",
    banner: "轻触屏幕，打开叫号声音",
    choose: "请选择档口",
    none: "还没有档口",
    said: (number, stall) => `${stall ? `${stall}，` : ""}请${number}号取餐`,
  },
  en: {
    locale: "en-GB",
    title: "Order numbers",
    now: "Please collect",
    called: "Ready to collect",
    waiting: "Waiting",
    idle: "No number called yet",
    closed: "Closed",
    unnamed: (id) => `Stall ${id}`,
    unknown: "No such stall",
    more: (n) => `+${n}`,
    live: "Live",
    connecting: "Connecting",
    cut: (clock) => `Cut off since ${clock}, reconnecting`,
    voice: { speech: "Browser voice", clips: "Recorded voice", chime: "Chime", off: "Muted" },
    blocked: "Sound is off",
    banner: "Tap the screen to turn the sound on",
    choose: "Choose a stall",
    none: "There is no stall yet",
    said: (number, stall) => `${stall ? `${stall}: ` : ""}number ${number}, please collect`,
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

export function twoDigits(number) {
  return String(number).padStart(2, "0");
}

// Digit by digit, so that 39 is heard as it is printed and never as a quantity.
export function sentence(language, call) {
  const between = language === "zh" ? "" : " ";
  const digits = [...twoDigits(call.number)].map((digit) => DIGITS[language][digit]);
  return TEXTS[language].said(digits.join(between), call.stallName);
}

// The recorded words that make the same sentence, without the stall's name.
export function clipNames(language, number) {
  const start = language === "zh" ? ["please"] : ["number"];
  const end = language === "zh" ? ["number", "collect"] : ["collect"];
  return [...start, ...twoDigits(number), ...end];
}
