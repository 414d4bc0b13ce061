// The common parts of all pages: the visitor's name, the list of keys, and unsent answers.
import "./outbox.js";

const help = document.getElementById("help");
const naming = document.getElementById("naming");

export function toggleHelp() {
  if (help.open) help.close(); else help.showModal();
}

/** Return whether a key press is meant for a field or a dialog. */
export function isElsewhere(event) {
  return event.target.closest("input, textarea, select") || document.querySelector("dialog[open]");
}

async function post(address, content) {
  return fetch(address, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(content),
  });
}

document.getElementById("who")?.addEventListener("click", () => naming.showModal());
naming?.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await post("/api/name", { who: naming.querySelector("input").value }).catch(() => null);
  const told = answer ? await answer.json() : { error: "the server is unreachable; try again" };
  naming.querySelector(".error").textContent = answer?.ok ? "" : told.error;
  if (!answer?.ok) return;
  document.getElementById("who").textContent = told.who;
  naming.close();
});
naming?.querySelector("[value=cancel]").addEventListener("click", () => naming.close());
naming?.querySelector("[value=logout]").addEventListener("click", async () => {
  await post("/api/logout", {});
  location.reload();
});
addEventListener("keydown", (event) => {
  if (event.key === "?" && !event.target.closest("input")) toggleHelp();
});
