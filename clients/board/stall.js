// One stall as this board knows it: its place in the stream and its live tickets.
//
// Kept in localStorage after each event, so that a board which lost its power
// comes back with its seq, asks for what it missed and says what it had not said.

const FRESH_MS = 120_000;
const WAITING = new Set(["issued", "noted"]);
const ANNOUNCED = new Set(["ticket.called", "ticket.recalled"]);
const STATUS_AFTER = {
  "ticket.issued": "issued",
  "ticket.noted": "noted",
  "ticket.requeued": "issued",
  "ticket.called": "called",
  "ticket.recalled": "called",
};

export class Stall {
  constructor(id, memory) {
    this.id = id;
    this.memory = memory;
    this.key = `callme.board.stall:${id}`;
    this.place = null; // {epoch, seq} of the last event taken in
    this.name = "";
    this.isOpen = true;
    this.isUnknown = false;
    this.tickets = new Map();
    this.unlisted = 0; // tickets that wait but that the snapshot did not list
    this.unsaid = []; // calls taken in and not yet announced to their end
    this.#remember();
  }

  // Newest call first.
  called() {
    const calls = [...this.tickets.values()].filter((ticket) => ticket.status === "called");
    return calls.reverse().sort((a, b) => time(b.called_at) - time(a.called_at));
  }

  waiting() {
    const known = [...this.tickets.values()].filter((ticket) => WAITING.has(ticket.status));
    return Math.max(0, known.length + this.unlisted);
  }

  isCalled(ticketId) {
    return this.tickets.get(ticketId)?.status === "called";
  }

  // Take a whole view. Calls in it that are fresh and were not known here become unsaid;
  // none on a board without a memory, which cannot tell what has been announced before.
  takeSnapshot(epoch, seq, snapshot) {
    const before = this.place === null ? null : this.tickets;
    const calling = (snapshot.calling ?? []).map(withTicketId);
    const listed = (snapshot.tickets ?? []).map(withTicketId);
    this.tickets = new Map();
    for (const ticket of [...listed, ...[...calling].reverse()]) {
      this.tickets.delete(ticket.ticket_id);
      this.tickets.set(ticket.ticket_id, ticket);
    }
    this.unlisted = 0;
    this.unlisted = (snapshot.waiting ?? this.waiting()) - this.waiting();
    this.#describe(snapshot.stall ?? {});
    this.place = { epoch, seq };
    this.unsaid = this.unsaid.filter((call) => this.isCalled(call.ticketId));
    const missed = before === null ? [] : this.called().reverse().filter(isNews(before));
    for (const ticket of missed) this.#addCall(ticket, ticket.called_at);
    this.#save();
  }

  // Take the event that follows `place`.
  take(event) {
    const data = event.data ?? {};
    this.place = { epoch: event.epoch, seq: event.seq };
    if (event.name === "stall.changed") this.#describe(data.stall ?? data);
    if (event.name.startsWith("ticket.") && data.ticket_id) this.#put(event.name, data);
    if (ANNOUNCED.has(event.name) && this.isCalled(data.ticket_id)) this.#addCall(data, event.at);
    this.#save();
  }

  // Whether a call still makes sense to speak: not collected, not undone, not long ago.
  isWorthSaying(call, now) {
    return this.isCalled(call.ticketId) && now - time(call.at) <= FRESH_MS;
  }

  markSaid(call) {
    this.unsaid = this.unsaid.filter((other) => other.key !== call.key);
    this.#save();
  }

  rename(description) {
    this.#describe(description);
    this.#save();
  }

  #put(name, data) {
    const known = this.tickets.get(data.ticket_id);
    const status = data.status ?? STATUS_AFTER[name] ?? "ended";
    if (!known && name !== "ticket.issued" && this.unlisted > 0) this.unlisted -= 1;
    if (ANNOUNCED.has(name)) this.tickets.delete(data.ticket_id); // the newest goes last
    if (WAITING.has(status) || status === "called") {
      this.tickets.set(data.ticket_id, { ...known, ...data, status });
    } else {
      this.tickets.delete(data.ticket_id);
    }
  }

  #addCall({ ticket_id: ticketId, number, called_at: calledAt }, at) {
    const key = `${this.id}/${this.place.epoch}/${this.place.seq}/${ticketId}`;
    this.unsaid.push({ key, stallId: this.id, ticketId, number, at: at ?? calledAt });
  }

  #describe({ name, open }) {
    if (typeof name === "string") this.name = name;
    if (typeof open === "boolean") this.isOpen = open;
  }

  #save() {
    const { place, name, isOpen, unlisted, unsaid } = this;
    const tickets = [...this.tickets.values()];
    try {
      this.memory?.setItem(this.key, JSON.stringify({ place, name, isOpen, unlisted, unsaid, tickets }));
    } catch {
      // A full or forbidden store costs the resume after a reboot, nothing else.
    }
  }

  #remember() {
    try {
      const kept = JSON.parse(this.memory?.getItem(this.key) ?? "null");
      if (typeof kept?.place?.seq !== "number" || !Array.isArray(kept.tickets)) return;
      const { place, name, isOpen, unlisted, unsaid } = kept;
      Object.assign(this, { place, name, isOpen, unlisted, unsaid: unsaid ?? [] });
      this.tickets = new Map(kept.tickets.map((ticket) => [ticket.ticket_id, ticket]));
    } catch {
      // An unreadable memory is no memory: the snapshot will fill the board.
    }
  }
}

// An event calls a ticket's id ticket_id; a ticket of its own, as in a snapshot, has an id.
function withTicketId(ticket) {
  return { ...ticket, ticket_id: ticket.ticket_id ?? ticket.id };
}

function time(text) {
  return Date.parse(text) || 0;
}

// A ticket called more often, or at another time, than the board knew.
function isNews(before) {
  return (ticket) => {
    const known = before.get(ticket.ticket_id);
    const isSame = known?.calls === ticket.calls && known?.called_at === ticket.called_at;
    return !(isSame && known.status === "called");
  };
}
