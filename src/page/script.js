"use strict";
// Filters by what the fragment of the address says: #q=shop&only=findings&severity=error
(() => {
  const rank = { "": 0, info: 1, warning: 2, error: 3 };
  const by = (id) => document.getElementById(id);
  const [form, q, only, severity, shown] = ["filter", "q", "only", "severity", "shown"].map(by);
  const read = () => {
    const state = new URLSearchParams(location.hash.slice(1));
    // A plain anchor, such as #no-pdb, is a place in the page and no filter.
    if (location.hash && !location.hash.includes("=")) return;
    q.value = state.get("q") ?? "";
    only.checked = state.get("only") === "findings";
    severity.value = state.get("severity") ?? "";
  };
  const write = () => {
    const state = new URLSearchParams();
    if (q.value) state.set("q", q.value);
    if (only.checked) state.set("only", "findings");
    if (severity.value) state.set("severity", severity.value);
    history.replaceState(null, "", state.size ? "#" + state : location.pathname + location.search);
  };
  const apply = () => {
    const words = q.value.toLowerCase().split(/\s+/).filter(Boolean);
    const least = rank[severity.value] ?? 0;
    const namespaces = new Set();
    let count = 0;
    for (const article of document.querySelectorAll("article")) {
      const name = article.dataset.name.toLowerCase();
      const worst = rank[article.dataset.worst ?? ""];
      const fits = words.every((word) => name.includes(word)) && worst >= least && (!only.checked || worst > 0);
      article.hidden = !fits;
      if (fits) {
        count += 1;
        namespaces.add(article.dataset.name.split(" ")[0]);
      }
      for (const item of article.querySelectorAll(".findings > li")) item.hidden = rank[item.className] < least;
    }
    const filters = words.length > 0 || least > 0 || only.checked;
    for (const row of document.querySelectorAll("#namespaces tr:has(td)")) {
      row.hidden = filters && !namespaces.has(row.cells[0].textContent);
    }
    shown.textContent = filters ? `${count} shown` : "";
  };
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => { write(); apply(); });
  addEventListener("hashchange", () => { read(); apply(); });
  read();
  apply();
})();
