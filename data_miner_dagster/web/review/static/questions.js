// The questions of one queue, fetched ahead, and the answers to them, which can be undone.
import { deliver, delivered } from "./outbox.js";

const page = document.body.dataset;
export const classes = JSON.parse(page.classes);
const address = `/api/projects/${encodeURIComponent(page.project)}`;
const AHEAD = 4;
const PAGE = 24;
const ANSWERS_A_REQUEST = 25; // browsers limit a request that outlives its page (`keepalive`) to 64 KiB

/** The questions loaded so far, the number of open questions, and the cursor for the next ones. */
export class Questions {
  items = [];
  numOpen = 0;
  #cursor = "";
  #isAtEnd = false;
  #fetching = null;

  /** Load questions up to a position, and start to load a few more. Wait only for the former. */
  async reach(place) {
    if (place < this.items.length) {
      if (place + AHEAD >= this.items.length) this.#more();
      return;
    }
    while (place >= this.items.length && !this.#isAtEnd) await this.#more();
  }

  async #more() {
    if (this.#isAtEnd) return;
    this.#fetching ??= this.#fetch().finally(() => { this.#fetching = null; });
    await this.#fetching;
  }

  async #fetch() {
    if (page.key) {
      this.#isAtEnd = true;
      this.items.push(await get(`queues/${page.queue}/item?key=${encodeURIComponent(page.key)}`));
      return;
    }
    const query = new URLSearchParams({ class: page.class, video: page.video, cursor: this.#cursor, limit: PAGE });
    const found = await get(`queues/${page.queue}?${query}`);
    const known = new Set(this.items.map((item) => item.key));
    const fresh = found.items.filter((item) => !known.has(item.key));
    this.items.push(...fresh);
    this.numOpen = found.num_open;
    this.#cursor = found.next_cursor ?? "";
    this.#isAtEnd = !found.next_cursor;
    for (const item of fresh.slice(0, AHEAD)) preload(item);
  }

  /** Load a question again, after another person's answer or an undo. */
  async refresh(place) {
    const old = this.items[place];
    try {
      this.items[place] = await get(`queues/${page.queue}/item?key=${encodeURIComponent(old.key)}`);
    } catch { /* it is no longer a question, or the server is unreachable: keep what is shown */ }
    return this.items[place];
  }

  /** Discard questions far before the position to limit memory in a long session. Return their number. */
  trim(place, most = 400) {
    const number = Math.max(0, place - most);
    this.items.splice(0, number);
    return number;
  }
}

export function preload(item) {
  for (const frame of [item?.frame, item?.other]) if (frame) new Image().src = frame.picture;
}

/** Return additional data about the boxes of a frame: "masks" or the answers of a "verifier". The result is empty if
 * the project has none or they cannot be loaded, because the boxes are shown in any case. */
export async function more_of(frame, kind) {
  if (!page[kind]) return [];
  const [key, index] = [frame.video_key, Number(frame.frame_id.slice(frame.frame_id.lastIndexOf("/") + 1))];
  try { return (await get(`${kind}/${encodeURIComponent(key)}/${index}`))[kind]; } catch { return []; }
}

async function get(path) {
  for (let delay = 500; ; delay = Math.min(5000, 2 * delay)) {
    let answer = null;
    try { answer = await fetch(`${address}/${path}`, { signal: AbortSignal.timeout(20000) }); } catch { /* unreachable */ }
    if (answer?.ok) return answer.json();
    if (answer && answer.status < 500) {
      if (answer.status === 401) location.reload();
      throw new Error((await answer.json().catch(() => ({}))).error ?? answer.statusText);
    }
    await new Promise((resolve) => setTimeout(resolve, delay));
  }
}

const given = []; // what can be undone: the ids of answers, and a function that restores the page

/** Send answers about a question, and return their ids. `back` reverts their effect on the page. */
export function say(item, parts, back) {
  const answers = parts.map((part) => ({
    answer_id: crypto.randomUUID(),
    queue: page.queue,
    frame_id: item.frame.frame_id,
    pts_seconds: item.frame.pts_seconds,
    ...part,
  }));
  for (let at = 0; at < answers.length; at += ANSWERS_A_REQUEST) {
    deliver(`${address}/answers`, { answers: answers.slice(at, at + ANSWERS_A_REQUEST) });
  }
  given.push({ ids: answers.map((answer) => answer.answer_id), back });
  return answers.map((answer) => answer.answer_id);
}

/** Undo the answers that were sent together last; return whether there were any. */
export async function undo() {
  const last = given.pop();
  if (!last) return false;
  for (const id of [...last.ids].reverse()) deliver(`${address}/undo`, { answer_id: id });
  await last.back();
  return true;
}

export { delivered };
