// Loads the page again, and keeps the opened parts, the place, and the filter in the fragment.
(() => {
  const key = "flipguard:" + location.pathname;
  const parts = () => [...document.querySelectorAll("article[data-name] > details")];
  const kept = JSON.parse(sessionStorage.getItem(key) ?? "null");
  if (kept) {
    for (const part of parts()) {
      const name = part.parentElement.dataset.name;
      if (name in kept.open) part.open = kept.open[name];
    }
    scrollTo(0, kept.top);
  }
  setTimeout(() => {
    const open = Object.fromEntries(parts().map((part) => [part.parentElement.dataset.name, part.open]));
    sessionStorage.setItem(key, JSON.stringify({ open, top: scrollY }));
    location.reload();
  }, Number(document.body.dataset.seconds) * 1000);
})();
