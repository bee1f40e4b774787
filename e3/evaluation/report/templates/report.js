"use strict";
(() => {
  const root = document.documentElement;
  const specs = JSON.parse(document.getElementById("specs").textContent);
  const text = { labelColor: "var(--ink)", titleColor: "var(--quiet)", titleFontWeight: 400 };
  const config = {
    aria: false,
    background: null,
    font: "system-ui, sans-serif",
    view: { stroke: null },
    axis: { ...text, labelFontSize: 12, titleFontSize: 12, gridColor: "var(--line)", domainColor: "var(--line)", tickColor: "var(--line)", labelLimit: 130, labelOverlap: true, tickCount: 8 },
    legend: { ...text, labelFontSize: 12, symbolStrokeWidth: 2, rowPadding: 4, columnPadding: 12, labelLimit: 130 },
    text: { fontSize: 12 },
  };

  const draw = async (figure) => {
    const place = figure.querySelector(".chart");
    try {
      await window.vegaEmbed(place, specs[figure.dataset.chart], {
        ast: true, renderer: "svg", actions: false, config,
        bind: figure.querySelector(".bindings"),
      });
      // the place itself has the chart's description
      place.querySelector("svg").setAttribute("aria-hidden", "true");
      figure.dataset.drawn = "yes";
    } catch (error) {
      place.textContent = "This chart could not be drawn; the tables have its figures.";
      console.error(figure.dataset.chart, error);
    }
  };

  const idle = window.requestIdleCallback ?? ((run) => setTimeout(run, 1));
  const figures = [...document.querySelectorAll("figure[data-chart]")];
  const next = () => {
    const figure = figures.shift();
    if (figure) draw(figure).finally(() => idle(next, { timeout: 200 }));
    else root.dataset.charts = "drawn";
  };
  idle(next, { timeout: 200 });

  const button = document.getElementById("theme");
  const themes = { auto: "light", light: "dark", dark: "auto" };
  button.hidden = false;
  button.addEventListener("click", () => {
    const theme = themes[root.dataset.theme ?? "auto"];
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    button.textContent = `theme: ${theme}`;
  });

  for (const field of document.querySelectorAll("input[data-filter]")) {
    const rows = [...document.getElementById(field.dataset.filter).tBodies[0].rows];
    field.hidden = false;
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) {
        const content = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => content.includes(word));
      }
    });
  }

  const opened = [];
  addEventListener("beforeprint", () => {
    for (const one of document.querySelectorAll("details:not([open])")) {
      one.open = true;
      opened.push(one);
    }
  });
  addEventListener("afterprint", () => {
    for (const one of opened.splice(0)) one.open = false;
  });

  // a link to something that a closed line has inside
  const reveal = () => {
    const target = document.getElementById(location.hash.slice(1));
    target?.closest("details")?.setAttribute("open", "");
  };
  addEventListener("hashchange", reveal);
  reveal();

  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const id of links.keys()) {
    const section = document.getElementById(id);
    if (section) seen.observe(section);
  }
})();
