// A wide table or formula scrolls inside its own box; the keyboard must be able to do that too.
document.addEventListener("DOMContentLoaded", () => {
  const boxes = document.querySelectorAll(".bd-article .cell_output, .bd-article div.math");
  for (const box of boxes) {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
  }
});
