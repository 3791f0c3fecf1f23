// A row of panels would shrink on a phone until nobody can read it: it gets a box that can scroll.
function frame(image) {
  if (image.naturalWidth <= 700 || image.parentElement.className === "et-wide") return;
  const box = document.createElement("div");
  box.className = "et-wide";
  image.before(box);
  box.append(image);
}

// What scrolls inside its own box must do so by keyboard, too; MathJax sees to its formulas.
function reach() {
  const boxes = document.querySelectorAll(
    ".bd-article .cell_output, .bd-article .et-wide, .bd-article pre",
  );
  for (const box of boxes) {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
  }
}

window.addEventListener("load", () => {
  document.querySelectorAll(".bd-article .cell_output figure > img").forEach(frame);
  reach();
});
