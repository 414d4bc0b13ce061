// The browser sends no strict cookie for a link on another site, such as Dagster's UI under another name of this
// machine. It sends the cookie with a request from our own page. If there is a session, reload the page.
if ((await fetch("/api/session")).ok) location.replace(location.href);
