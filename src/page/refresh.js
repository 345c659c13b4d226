// Loads the page again, and keeps the opened parts, the place, the filter in the fragment, and the focus with its caret.
(() => {
  const key = "flipguard:" + location.pathname;
  const parts = () => [...document.querySelectorAll("article[data-name] > details")];
  const kept = JSON.parse(sessionStorage.getItem(key) ?? "null");
  if (kept) {
    for (const part of parts()) {
      const name = part.parentElement.dataset.name;
      if (name in kept.open) part.open = kept.open[name];
    }
    document.getElementById(kept.focus)?.focus({ preventScroll: true });
    if (kept.caret) document.getElementById(kept.focus)?.setSelectionRange(...kept.caret);
    scrollTo(0, kept.top);
  }
  setTimeout(() => {
    const open = Object.fromEntries(parts().map((part) => [part.parentElement.dataset.name, part.open]));
    const active = document.activeElement;
    const caret = active.type === "search" && [active.selectionStart, active.selectionEnd, active.selectionDirection];
    sessionStorage.setItem(key, JSON.stringify({ open, top: scrollY, focus: active.id, caret }));
    location.reload();
  }, Number(document.body.dataset.seconds) * 1000);
})();
