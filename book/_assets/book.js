const made = (tag, className, html = "") => {
  const node = document.createElement(tag);
  node.className = className;
  node.innerHTML = html;
  return node;
};

// A figure keeps at least three quarters of its size, where its words can be read: on a phone it gets
// a box that can scroll.
function frame(image) {
  if (image.parentElement.className === "et-wide" || !image.naturalWidth) return;
  const box = made("div", "et-wide");
  image.before(box);
  box.append(image);
  image.style.minWidth = `${Math.round(0.75 * Math.min(image.naturalWidth, 690))}px`;
}

// A press on a figure shows it as large as the window.
function zoom(image) {
  const dialog = made("dialog", "et-zoom");
  dialog.setAttribute("aria-label", image.alt);
  const large = image.cloneNode();
  large.style.minWidth = "";
  dialog.append(large, made("button", "et-close", "Close"));
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
function zoomable(image) {
  const button = made("button", "et-enlarge", "⤢");
  button.type = "button";
  button.setAttribute("aria-label", `Enlarge: ${image.alt}`);
  image.closest("figure").append(button);
  for (const node of [button, image]) node.addEventListener("click", () => zoom(image));
}

// What scrolls inside its own box must do so by keyboard, too. The other formulas are no tab stops.
function reach() {
  const boxes = document.querySelectorAll(
    ".bd-article .cell_output, .bd-article .et-wide, .bd-article pre, " +
      ".bd-article .pst-scrollable-table-container, .bd-article mjx-container[display='true']",
  );
  for (const box of boxes) {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
  }
}

// Terms of the glossary and citations show their text on hover and focus; Escape takes it away.
function tips() {
  const tip = made("div", "et-tip");
  tip.id = "et-tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  document.body.append(tip);
  for (const link of document.querySelectorAll(".bd-article a.reference.internal[title]")) {
    tip.textContent = link.title;
    link.dataset.tip = tip.innerHTML;
    link.removeAttribute("title");
  }
  let [from, leaving] = [null, 0];
  const hide = () => {
    from?.removeAttribute("aria-describedby");
    from = null;
    tip.hidden = true;
  };
  const show = ({ target }) => {
    clearTimeout(leaving);
    const link = target.closest?.("[data-tip]");
    if (!link || link === from) return;
    hide();
    from = link;
    link.setAttribute("aria-describedby", tip.id);
    tip.innerHTML = link.dataset.tip;
    tip.hidden = false;
    const place = () => {
      const box = link.getBoundingClientRect();
      const below = box.bottom + tip.offsetHeight + 12 < innerHeight;
      tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8))}px`;
      tip.style.top = `${below ? box.bottom + 4 : box.top - tip.offsetHeight - 4}px`;
    };
    place();
    if (tip.querySelector(".math")) window.MathJax?.typesetPromise?.([tip]).then(place);
  };
  const leave = ({ target, relatedTarget }) => {
    if (!target.closest?.("[data-tip], .et-tip") || relatedTarget?.closest?.(".et-tip")) return;
    clearTimeout(leaving);
    leaving = setTimeout(hide, 250); // time to move onto it
  };
  for (const name of ["pointerover", "focusin"]) document.addEventListener(name, show);
  for (const name of ["pointerout", "focusout"]) document.addEventListener(name, leave);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  document.addEventListener("scroll", hide, { passive: true });
}

// Above the first table of many verdicts: how many there are of each, and a press shows those alone.
function verdicts() {
  const rows = [...document.querySelectorAll(".et-claims tbody tr")];
  if (rows.length < 10) return;
  const of = (row) => row.querySelector(".et-finding")?.lastChild.textContent.trim();
  const kinds = [...new Set(rows.map(of).filter(Boolean))];
  const bar = made("div", "et-filter");
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", "Show claims by their verdict");
  for (const kind of ["all", ...kinds]) {
    const own = rows.filter((row) => kind === "all" || of(row) === kind);
    const button = made("button", "", `${kind} <b>${own.length}</b>`);
    button.type = "button";
    button.setAttribute("aria-pressed", String(kind === "all"));
    button.addEventListener("click", () => {
      for (const row of rows) row.hidden = !own.includes(row);
      for (const other of bar.children) other.setAttribute("aria-pressed", String(other === button));
    });
    bar.append(button);
  }
  (rows[0].closest(".cell") ?? rows[0].closest("section")).before(bar);
}

// The list of pages marks those whose end one has seen, in this browser.
function progress() {
  const end = document.querySelector(".prev-next-area"), links = document.querySelectorAll(".bd-links a");
  let read = [];
  const mark = () => {
    for (const link of links) link.classList.toggle("et-read", read.includes(link.pathname));
  };
  try {
    read = JSON.parse(localStorage.getItem("et-read")) ?? [];
    mark();
  } catch {
    return; // the browser keeps nothing
  }
  const seen = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    seen.disconnect();
    read = [...new Set([...read, location.pathname])];
    localStorage.setItem("et-read", JSON.stringify(read));
    mark();
  });
  if (end) seen.observe(end);
}

window.addEventListener("load", () => {
  document.querySelectorAll(".bd-article .cell_output figure > img").forEach((image) => {
    frame(image);
    zoomable(image);
  });
  reach();
  window.MathJax?.startup?.promise?.then(reach);
  // What lies in a fold has no width before it is opened.
  document.querySelectorAll(".bd-article details").forEach((fold) => {
    fold.addEventListener("toggle", reach);
  });
  addEventListener("resize", reach);
  // Sphinx opens solutions by a class; by now the button has done so.
  document.addEventListener("click", (event) => event.target.closest(".admonition") && reach());
  tips();
  verdicts();
  progress();
  // A hit of the search is a word, not the top of a long page. Sphinx marks none by itself where
  // the theme has loaded the search, which is everywhere.
  const article = document.querySelector(".bd-article");
  if (typeof _highlightText === "function" && article && !document.getElementById("search-results")) {
    const sought = localStorage.getItem("sphinx_highlight_terms")
      || new URLSearchParams(location.search).get("highlight") || "";
    localStorage.removeItem("sphinx_highlight_terms");
    for (const word of sought.toLowerCase().split(/\s+/).filter(Boolean)) {
      _highlightText(article, word, "highlighted");
    }
  }
  const hit = location.hash ? null : document.querySelector(".bd-article .highlighted");
  hit?.closest("details")?.setAttribute("open", "");
  hit?.scrollIntoView({ block: "center" });
});

// Paper is white, and nobody can open a fold on it.
const page = document.documentElement;
let before;
window.addEventListener("beforeprint", () => {
  const folds = [...document.querySelectorAll(".bd-article details:not([open])")];
  before = { theme: page.dataset.theme, folds };
  page.dataset.theme = "light";
  for (const fold of folds) fold.open = true;
});
window.addEventListener("afterprint", () => {
  page.dataset.theme = before.theme;
  for (const fold of before.folds) fold.open = false;
});
