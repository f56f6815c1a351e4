// Where the code on a cabinet leads an ordinary scanner: whose it is, and where it opens a door.

const ASK_WITHIN_MS = 8_000;

const TEXTS = {
  zh: {
    asking: "正在查询…",
    door: (name, store, door) => `${[store, name].filter(Boolean).join(" · ")}，${door} 号门`,
    store: (name) => `${name}：在小程序里选一台柜子。`,
    invalid: "这个码已经作废，或者不是我们的。请找工作人员。",
    failed: "暂时查不到柜子的名字。",
  },
  en: {
    page: {
      title: "This is the code of a smart cabinet",
      how:
        "Its door opens in the WeChat mini-program: open the mini-program, choose to scan, and " +
        "scan this code again.",
      nothing: "This page only explains. It opens no door and charges nothing.",
    },
    asking: "Asking…",
    door: (name, store, door) => `${[store, name].filter(Boolean).join(" · ")}, door ${door}`,
    store: (name) => `${name}: choose a cabinet in the mini-program.`,
    invalid: "This code is void, or none of ours. Please ask the staff.",
    failed: "The name of the cabinet cannot be had right now.",
  },
};

const address = new URL(location.href);
const wish = address.searchParams.get("lang") || navigator.language || "zh";
const language = wish.toLowerCase().startsWith("zh") ? "zh" : "en";
const texts = TEXTS[language];

// The page itself is written in Chinese; only English has to replace its sentences.
function translate() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-text]")) {
    node.textContent = texts.page?.[node.dataset.text] ?? node.textContent;
  }
  document.title = document.querySelector("h1").textContent;
  for (const link of document.querySelectorAll(".languages a")) {
    // The code goes along.
    const other = new URL(address);
    other.searchParams.set("lang", new URL(link.href).searchParams.get("lang"));
    link.href = other.href;
    if (link.lang.startsWith(language)) link.setAttribute("aria-current", "true");
  }
}

async function named(code) {
  if (!code) return texts.invalid;
  try {
    const answer = await fetch(`/api/v1/cabinets/${encodeURIComponent(code)}`, {
      signal: AbortSignal.timeout(ASK_WITHIN_MS),
    });
    if (answer.status === 404 || answer.status === 422) return texts.invalid;
    if (!answer.ok) return texts.failed;
    const label = await answer.json();
    return label.kind === "door"
      ? texts.door(label.name, label.store_name, label.door_no)
      : texts.store(label.store_name);
  } catch {
    return texts.failed;
  }
}

translate();
const cabinet = document.getElementById("cabinet");
cabinet.textContent = texts.asking;
cabinet.textContent = await named(address.searchParams.get("c"));
