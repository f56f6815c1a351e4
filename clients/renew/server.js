// The REST routes this page uses. A failure is a Refusal, with a code as in docs/protocol.md;
// `isPassing` says that the same request, with the same key, may be sent again.

const ASK_WITHIN_MS = 10_000;
const PASSING_CODES =
  /^(no_answer|rate\.limited|payments\.unknown|database\..+|http\.(502|503|504))$/;

export class Refusal extends Error {
  constructor(code, { status = 0, requestId = "", retryAfterMs = 0 } = {}) {
    super(code);
    Object.assign(this, { code, status, requestId, retryAfterMs });
    this.isPassing = PASSING_CODES.test(code);
    this.isSessionOver = status === 401;
  }
}

export class Server {
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
export function randomName() {
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
