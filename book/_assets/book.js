// A row of panels would shrink on a phone until nobody can read it: it gets a box that can scroll.
function frame(image) {
  if (image.naturalWidth <= 700 || image.parentElement.className === "et-wide") return;
  const box = document.createElement("div");
  box.className = "et-wide";
  image.before(box);
  box.append(image);
}

// What scrolls inside its own box must do so by keyboard, too. The other formulas are no tab stops.
function reach() {
  const boxes = document.querySelectorAll(
    ".bd-article .cell_output, .bd-article .et-wide, .bd-article pre, " +
      ".bd-article mjx-container[display='true']",
  );
  for (const box of boxes) {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
  }
}

window.addEventListener("load", () => {
  document.querySelectorAll(".bd-article .cell_output figure > img").forEach(frame);
  reach();
  window.MathJax?.startup?.promise?.then(reach);
  // What lies in a fold has no width before it is opened.
  document.querySelectorAll(".bd-article details").forEach((fold) => {
    fold.addEventListener("toggle", reach);
  });
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
