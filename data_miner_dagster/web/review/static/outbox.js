// Sends answers to the server one after another, in order, and repeats each until the server acknowledges it.
// Until then answers are also kept in the browser's storage, so that a closed tab or a crash loses none: the next page
// that is opened sends them. The server stores an answer only once, however often it is sent.

const PREFIX = "data-miner-review-unsent-";
const FIRST_DELAY = 500;
const LONGEST_DELAY = 5000;
const shown = document.getElementById("saving");
const unsent = new Map(); // by key, in the order of sending
let isSending = false;
let trouble = "";
let numSent = 0;

function keep(key, entry) {
  try { localStorage.setItem(key, JSON.stringify(entry)); } catch { /* full or forbidden: the answer is still in memory */ }
}

function forget(key) {
  unsent.delete(key);
  try { localStorage.removeItem(key); } catch { /* as above */ }
}

function show(text, kind) {
  shown.textContent = text;
  shown.dataset.kind = kind;
}

function showState() {
  const number = unsent.size === 1 ? "1 answer" : `${unsent.size} answers`;
  if (trouble) show(unsent.size ? `${trouble} ${number} ${unsent.size === 1 ? "is" : "are"} not saved yet.` : trouble, "trouble");
  else if (unsent.size) show(`Saving ${number} …`, "saving");
  else show(numSent ? "Saved" : "", "saved");
}

async function post(entry) {
  return fetch(entry.address, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(entry.content),
    keepalive: true,
    signal: AbortSignal.timeout(15000),
  });
}

async function send() {
  if (isSending) return;
  isSending = true;
  let delay = FIRST_DELAY;
  let refused = "";
  while (unsent.size) {
    const [key, entry] = unsent.entries().next().value;
    let answer = null;
    try { answer = await post(entry); } catch { /* the server is unreachable */ }
    if (answer?.ok) {
      answer.text().catch(() => {}); // read to the end; otherwise the browser reports it as aborted
      forget(key);
      trouble = refused;
      numSent += 1;
      delay = FIRST_DELAY;
    } else if (answer && answer.status >= 400 && answer.status < 500 && ![401, 408, 429].includes(answer.status)) {
      forget(key); // the server would refuse it every time
      const told = await answer.json().catch(() => ({}));
      trouble = refused = `An answer was not stored: ${told.error ?? answer.statusText}.`;
    } else {
      if (!answer) trouble = "The server is unreachable; retrying.";
      else if (answer.status === 401) trouble = "You are logged out; run `data-miner review PROJECT` for a new link.";
      else trouble = `The server cannot store answers (HTTP ${answer.status}); retrying.`;
      showState();
      await new Promise((resolve) => setTimeout(resolve, delay));
      delay = Math.min(LONGEST_DELAY, 2 * delay);
    }
    showState();
  }
  isSending = false;
}

/** Send an object by POST, and retry until the server responds. */
export function deliver(address, content) {
  const key = `${PREFIX}${Date.now().toString().padStart(15, "0")}-${crypto.randomUUID()}`;
  unsent.set(key, { address, content });
  keep(key, { address, content });
  showState();
  send();
}

/** Resolve when everything has been acknowledged. */
export async function delivered() {
  while (unsent.size) await new Promise((resolve) => setTimeout(resolve, 20));
}

function adopt() {
  try {
    for (const key of Object.keys(localStorage).filter((name) => name.startsWith(PREFIX)).sort()) {
      if (!unsent.has(key)) unsent.set(key, JSON.parse(localStorage.getItem(key)));
    }
  } catch { /* without storage there are no earlier answers */ }
  showState();
  send();
}

addEventListener("beforeunload", (event) => {
  if (unsent.size) event.preventDefault(); // the browser asks whether to leave
});
adopt();
