"use strict";
// Draws the page's charts, those in view first, and changes between light and dark. Colours are
// names of the style sheet, so that a change of theme, or printing, needs no new drawing.
(() => {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const chosen = (() => { try { return localStorage.getItem("meanfield-theme"); } catch { return null; } })();
  const show = (theme) => { root.dataset.theme = theme; };
  show(chosen || (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", () => show(dark.matches ? "dark" : "light"));
  document.getElementById("theme").addEventListener("click", () => {
    show(root.dataset.theme === "dark" ? "light" : "dark");
    try { localStorage.setItem("meanfield-theme", root.dataset.theme); } catch { /* a private window */ }
  });

  const words = { labelColor: "var(--ink)", titleColor: "var(--ink)", labelFontSize: 11, titleFontSize: 12, titleFontWeight: "normal" };
  const config = (width) => ({
    background: null,
    font: getComputedStyle(document.body).fontFamily,
    view: { stroke: "var(--line)" },
    axis: { ...words, gridColor: "var(--grid)", domainColor: "var(--muted)", tickColor: "var(--muted)", tickSize: 4, labelOverlap: "greedy" },
    legend: { ...words, labelLimit: 260, columns: width < 480 ? 3 : 6 },
    line: { strokeWidth: 1.75 },
  });

  const views = window.meanfieldViews = {};
  const draw = async (element) => {
    if (element.dataset.state) return;
    element.dataset.state = "drawing";
    const key = element.dataset.chart;
    const specification = JSON.parse(document.querySelector(`script[data-for="${CSS.escape(key)}"]`).textContent);
    try {
      const result = await window.vegaEmbed(element, specification, {
        mode: "vega-lite", renderer: "svg", actions: false, ast: true, config: config(element.clientWidth),
        bind: element.closest("figure").querySelector(".inputs"), tooltip: { theme: "custom" },
      });
      views[key] = result.view;
      element.classList.add("drawn");
      element.dataset.state = "drawn";
    } catch (error) {
      element.dataset.state = "failed";
      element.textContent = `This figure cannot be drawn here: ${error.message}`;
      console.error(key, error);
    }
  };

  const charts = [...document.querySelectorAll(".chart")];
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { watcher.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "300px" });
  charts.forEach((chart) => watcher.observe(chart));

  const idle = window.requestIdleCallback || ((call) => setTimeout(call, 50));
  const rest = async () => {
    const next = charts.find((chart) => !chart.dataset.state);
    if (!next) return;
    await draw(next);
    idle(rest);
  };
  idle(rest);
  window.addEventListener("beforeprint", () => { charts.forEach(draw); });
})();
