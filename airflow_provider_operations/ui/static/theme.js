// Light or dark as the UI around us says: it keeps the choice in localStorage, which a page of the same origin shares.
"use strict";

(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    let theme = null;
    try {
      theme = window.localStorage.getItem("theme");
    } catch {
      // Storage is blocked: as the system says.
    }
    if (theme !== "light" && theme !== "dark") {
      theme = dark.matches ? "dark" : "light";
    }
    document.documentElement.dataset.theme = theme;
  };
  apply();
  dark.addEventListener("change", apply);
  window.addEventListener("storage", apply);
})();
