// The front page: its language, the state of the server and the boards of its stalls.

const ASK_WITHIN_MS = 8_000;

const TEXTS = {
  zh: {
    healthy: "服务正常",
    unhealthy: "服务还没准备好",
    unreachable: "连不上服务器",
    open: "营业中",
    closed: "休息中",
    none: "还没有档口。管理员可以添加。",
    failed: "档口列表暂时取不到，请稍后刷新。",
    unnamed: (id) => `${id} 号档口`,
  },
  en: {
    page: {
      title: "Take a number, be called",
      what:
        "This is a callme server. A canteen stall hands out numbers, the diner notes the dish on " +
        "the number, and when it is ready one call reaches the diner's phone, the seller's devices " +
        "and the wall board. A phone or board that lost its link goes on exactly where it stopped.",
      more:
        "Boards, the API, WebSocket clients and the earlier mini-program all connect here.",
      boards: "Boards of the stalls",
      pages: "Pages",
      board: "Wall board",
      renew: "Renew a stall",
      developers: "API and operations",
      docs: "API documents",
      metrics: "Metrics",
      alive: "Process is alive",
      ready: "Ready to serve",
    },
    healthy: "The server is ready",
    unhealthy: "The server is not ready yet",
    unreachable: "The server cannot be reached",
    open: "Open",
    closed: "Closed",
    none: "There is no stall yet. An administrator can add one.",
    failed: "The list of stalls cannot be had right now; please reload later.",
    unnamed: (id) => `Stall ${id}`,
  },
};

const wish = new URL(location.href).searchParams.get("lang") || navigator.language || "zh";
const language = wish.toLowerCase().startsWith("zh") ? "zh" : "en";
const texts = TEXTS[language];

// The page itself is written in Chinese; only English has to replace its sentences.
function translate() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-text]")) {
    node.textContent = texts.page?.[node.dataset.text] ?? node.textContent;
  }
  for (const link of document.querySelectorAll(".languages a")) {
    if (link.lang.startsWith(language)) link.setAttribute("aria-current", "true");
  }
}

async function showHealth() {
  const health = document.getElementById("health");
  let state = "unreachable";
  try {
    state = (await ask("/readyz")).ok ? "healthy" : "unhealthy";
  } catch {
    // Told as unreachable.
  }
  health.dataset.state = state;
  document.getElementById("health-text").textContent = texts[state];
}

async function showStalls() {
  const note = document.getElementById("stalls-note");
  try {
    const answer = await ask("/api/v1/stalls?page_size=100");
    if (!answer.ok) throw new Error(`stalls: ${answer.status}`);
    const list = await answer.json();
    const stalls = list.items ?? list;
    document.getElementById("stalls").replaceChildren(...stalls.map(stallItem));
    note.textContent = stalls.length > 0 ? "" : texts.none;
  } catch {
    note.textContent = texts.failed;
  }
}

function stallItem(stall) {
  const link = document.createElement("a");
  const address = new URL("/board/", location.href);
  address.searchParams.set("stall", stall.id);
  address.searchParams.set("lang", language);
  link.href = address.href;
  const name = document.createElement("b");
  name.textContent = stall.name || texts.unnamed(stall.id);
  link.append(name);
  if (typeof stall.open === "boolean") {
    const state = document.createElement("span");
    state.className = stall.open ? "is-open" : "is-closed";
    state.textContent = stall.open ? texts.open : texts.closed;
    link.append(state);
  }
  const item = document.createElement("li");
  item.append(link);
  return item;
}

function ask(path) {
  return fetch(path, { signal: AbortSignal.timeout(ASK_WITHIN_MS) });
}

translate();
showHealth();
showStalls();
