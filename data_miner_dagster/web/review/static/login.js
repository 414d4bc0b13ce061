// Posts the secret that follows # in a login link, and continues to the page that the link is for.
const [secret, then] = decodeURIComponent(location.hash.slice(1)).split(" ");
history.replaceState(null, "", location.pathname);
const answer = secret ? await fetch("/api/login", {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ secret }),
}) : null;
// a visitor who opens a used link again is usually logged in already
await answer?.text();
if (answer?.ok || (await fetch("/api/session")).ok) {
  location.replace(then?.startsWith("/") && !then.startsWith("//") ? then : "/");
} else {
  document.getElementById("told").textContent = "This link is incomplete, has already been used, or has expired.";
  document.getElementById("remedy").hidden = false;
}
