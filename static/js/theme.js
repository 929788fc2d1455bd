// Runs before the first paint: a theme that was chosen here stands before the page is drawn.
(() => {
  const stored = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const chosen = stored();
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
