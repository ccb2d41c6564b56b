// The page: opens what an address points into, marks where the reader is, and says under which key of analysis.json a number stands.
"use strict";
(function () {
  function reveal() {
    const name = location.hash.slice(1), node = name && !name.includes("=") ? document.getElementById(name) : null;
    for (let at = node; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (node && node.closest("details")) node.scrollIntoView();
  }
  window.addEventListener("hashchange", reveal);
  reveal();

  const folded = [];
  window.addEventListener("beforeprint", () => {
    for (const node of document.querySelectorAll("details.printed:not([open])")) { node.open = true; folded.push(node); }
  });
  window.addEventListener("afterprint", () => { for (const node of folded.splice(0)) node.open = false; });

  // What is wider than the screen says so, until its last column was seen.
  const scrolled = (event) => mark(event.target);
  function mark(node) { node.classList.toggle("more", node.scrollWidth - node.clientWidth - node.scrollLeft > 8); }
  const sized = new ResizeObserver((entries) => { for (const entry of entries) mark(entry.target); });
  for (const node of document.querySelectorAll(".table, .panels")) {
    sized.observe(node);
    node.addEventListener("scroll", scrolled, { passive: true });
  }

  document.addEventListener("mouseover", (event) => {
    const cell = event.target.closest("[data-key]");
    if (cell && !cell.title) cell.title = "analysis.json: " + cell.dataset.key;
  });

  const links = new Map();
  for (const link of document.querySelectorAll("nav.contents a")) links.set(link.hash.slice(1), link);
  const inView = new Set();
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) inView[entry.isIntersecting ? "add" : "delete"](entry.target.id);
    let first = true;
    for (const [id, link] of links) {
      const here = first && inView.has(id);
      if (here) { link.setAttribute("aria-current", "location"); first = false; } else link.removeAttribute("aria-current");
    }
  }, { rootMargin: "-10% 0px -60% 0px" });
  for (const id of links.keys()) watch.observe(document.getElementById(id));
})();
