// Keeps the page current, which works without it. The server renders; this replaces
// what has changed and nothing else, so that typed text is not lost.
"use strict";

const live = document.getElementById("live");
const news = document.getElementById("news");
const base = document.querySelector("main").dataset.base;

function update(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  if (!fresh.getElementById("pending")) { // a notice: the session has ended
    document.body.replaceWith(fresh.body);
    return;
  }
  const focused = document.activeElement.closest("[data-version]");
  const told = [];
  for (const list of ["pending", "ended", "muted"]) {
    told.push(...patch(document.getElementById(list), fresh.getElementById(list)));
  }
  document.getElementById("earlier").hidden = fresh.getElementById("earlier").hidden;
  document.title = fresh.title;
  deadlines();
  if (told.length) news.textContent = told.join(". ");
  if (focused && !focused.isConnected) {
    (document.getElementById(focused.id) ?? document.querySelector("h1")).focus();
  }
}

// patch makes the items of now those of next, and returns announcements for the new
// ones. Items that stay are not moved, since that would take their focus.
function patch(now, next) {
  const same = (a, b) => a && b && a.id === b.id && a.dataset.version === b.dataset.version;
  const told = [];
  for (const item of [...now.children]) {
    if (![...next.children].some((n) => same(n, item))) item.remove();
  }
  [...next.children].forEach((item, i) => {
    const at = now.children[i];
    if (same(at, item)) {
      const timer = at.querySelector("[data-left]");
      if (timer) timer.dataset.left = item.querySelector("[data-left]").dataset.left;
      return;
    }
    now.insertBefore(item, at ?? null);
    if (item.dataset.news) told.push(item.dataset.news);
  });
  return told;
}

async function look() {
  update(await (await fetch(base)).text());
}

// One look at a time, and one more after it if there was a change meanwhile.
let looking = false, again = false;
async function lookOnce() {
  again = true;
  if (looking) return;
  looking = true;
  while (again) {
    again = false;
    try { await look(); } catch { /* the stream shows that there is no connection */ }
  }
  looking = false;
}

const events = new EventSource(base + "events");
function state(away) {
  live.hidden = false;
  live.classList.toggle("away", away);
  live.textContent = away ? "Not connected" : "Live";
}
events.onopen = () => state(false);
events.onerror = () => state(true);
events.onmessage = lookOnce;

document.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const buttons = form.querySelectorAll("button");
  buttons.forEach((b) => { b.disabled = true; });
  try {
    const answer = await fetch(form.action, { method: "POST", body: new FormData(form) });
    update(await answer.text());
  } catch {
    news.textContent = "roomenv does not respond";
    state(true);
  }
  buttons.forEach((b) => { b.disabled = false; });
});

// The server sends the time left, so that its clock counts.
const ends = new WeakMap();
function deadlines() {
  for (const timer of document.querySelectorAll("[data-left]")) {
    ends.set(timer, performance.now() + 1000 * timer.dataset.left);
  }
  tick();
}
function tick() {
  for (const timer of document.querySelectorAll("[data-left]")) {
    const left = Math.max(0, Math.ceil((ends.get(timer) - performance.now()) / 1000));
    timer.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")} left`;
    timer.classList.toggle("soon", left < 30);
  }
}
deadlines();
setInterval(tick, 1000);
