// Brings the parts of the page up to date in place. The page is whole without it.
"use strict";
(() => {
  const EVERY_MS = 5000;
  const CHOOSING_MS = 30000;
  const pause = document.getElementById("pause");
  const lost = document.getElementById("lost");
  const spoken = document.getElementById("spoken");
  const shown = new Map();
  let lostSince = "";
  let openedMs = -Infinity;

  const parts = (root) => [...root.querySelectorAll("[data-part]")];
  const text = (root) => root.querySelector("#state-text").textContent;

  for (const part of parts(document)) shown.set(part.id, part.outerHTML);

  // Pictures that are loaded stay, so that nothing flickers and nothing is fetched twice.
  function keepPictures(old, fresh) {
    for (const picture of fresh.querySelectorAll("img")) {
      const same = [...old.querySelectorAll("img")].find((one) => one.getAttribute("src") === picture.getAttribute("src"));
      if (same) picture.replaceWith(same);
    }
  }

  // What somebody has chosen or opened stays so.
  function keepChoices(old, fresh) {
    const before = (one) => old.querySelector("#" + CSS.escape(one.id));
    for (const field of fresh.querySelectorAll("select[id]")) field.value = before(field)?.value ?? "";
    for (const folded of fresh.querySelectorAll("details[id]")) folded.open = before(folded)?.open ?? false;
  }

  // Replaced, a list that somebody chooses from would close. Nothing says whether it is open: it may be since the last
  // key or click in it, until something is chosen.
  function isChoosing(focused) {
    return focused instanceof HTMLSelectElement && performance.now() - openedMs < CHOOSING_MS;
  }

  function touched({ target, type }) {
    if (target instanceof HTMLSelectElement) openedMs = type === "change" ? -Infinity : performance.now();
  }

  function take(fresh) {
    const focused = document.activeElement;
    const place = focused && (focused.id ? "#" + CSS.escape(focused.id)
      : focused.getAttribute("href") ? `[href="${CSS.escape(focused.getAttribute("href"))}"]` : "");
    const before = text(document);
    for (const part of parts(fresh)) {
      const old = document.getElementById(part.id);
      const html = part.outerHTML;
      if (!old || shown.get(part.id) === html) continue;
      if (old.contains(focused) && isChoosing(focused)) continue;
      shown.set(part.id, html);
      const holds = old.contains(focused);
      const imported = document.importNode(part, true);
      keepPictures(old, imported);
      keepChoices(old, imported);
      old.replaceWith(imported);
      // Where what had the focus is gone, its part gets it, so that a keyboard doesn't start from the top.
      if (holds) {
        const again = (place && imported.querySelector(place)) || imported;
        if (again === imported) imported.tabIndex = -1;
        again.focus({ preventScroll: true });
      }
    }
    if (text(document) !== before) spoken.textContent = text(document);
  }

  async function turn() {
    if (document.hidden || pause.getAttribute("aria-pressed") === "true") return;
    try {
      const answer = await fetch("parts", { cache: "no-store", signal: AbortSignal.timeout(2 * EVERY_MS) });
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!fresh.querySelector("#state-text")) throw new Error("not the page");
      take(fresh);
      const asOf = document.getElementById("as-of");
      asOf.textContent = new Date().toLocaleTimeString();
      asOf.dateTime = new Date().toISOString();
      lost.hidden = true;
      lostSince = "";
    } catch {
      if (!lostSince) {
        lostSince = new Date().toLocaleTimeString();
        lost.textContent = `The node doesn't answer since ${lostSince}. What stands here is as it was then.`;
        lost.hidden = false;
      }
    }
  }

  async function again() {
    await turn();
    setTimeout(again, EVERY_MS);
  }

  for (const event of ["pointerdown", "keydown", "change"]) document.addEventListener(event, touched);
  pause.hidden = false;
  pause.addEventListener("click", () => {
    const paused = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", String(paused));
    if (!paused) turn();
  });
  document.addEventListener("visibilitychange", turn);
  // What was said once isn't said again when the page is loaded anew.
  if (location.search) history.replaceState(null, "", location.pathname);
  setTimeout(again, EVERY_MS);
})();
