// A link on another site (Dagster's UI under another name of this machine) sends no strict cookie. A request of our own
// page does: if there is a session, the page is asked for again.
if ((await fetch("/api/session")).ok) location.replace(location.href);
