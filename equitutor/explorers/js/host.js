// How an explorer's module meets its page. `mount(root, data, onChange)` comes from the module.

// JSON with Float32Array in the place of every {"float32": base64}.
function unpack(text) {
  return JSON.parse(text, (_, value) => {
    if (typeof value?.float32 !== "string") return value;
    const bytes = Uint8Array.from(atob(value.float32), (c) => c.charCodeAt(0));
    return new Float32Array(bytes.buffer);
  });
}

// Plain HTML: the first free figure of this kind starts when it comes near the screen. Before, on
// paper, and where a script fails, its picture stands in its place.
function start(kind, mount) {
  const figure = document.querySelector(`[data-et-kind="${kind}"]:not([data-et-taken])`);
  if (!figure) return; // the output was cleared before its script ran
  figure.dataset.etTaken = "";
  if (wantedBy(figure)) addEventListener("load", () => figure.scrollIntoView());
  const near = new IntersectionObserver((seen) => {
    if (!seen.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    begin(figure, mount);
  }, { rootMargin: "300px 0px" });
  near.observe(figure);
}

function begin(figure, mount) {
  const root = figure.querySelector(".et-root");
  const picture = [...root.childNodes];
  try {
    root.replaceChildren();
    const view = mount(root, unpack(figure.querySelector(".et-data").textContent), () => {});
    keepHeight(root);
    if ("content_root" in document.documentElement.dataset) offerLink(figure, view); // a page of the book
  } catch (error) {
    const note = document.createElement("p");
    note.textContent = `The interactive part could not start (${error}). Its picture:`;
    root.replaceChildren(note, ...picture);
  }
}

// A sentence that wraps must not move the page: at one width, a figure keeps the height it once had.
function keepHeight(root) {
  let [width, height] = [0, 0];
  root.style.minHeight = "";
  new ResizeObserver(() => {
    if (root.clientWidth !== width) {
      [width, height] = [root.clientWidth, 0];
      root.style.minHeight = "";
    }
    if (root.offsetHeight > height) root.style.minHeight = `${(height = root.offsetHeight)}px`;
  }).observe(root);
}

// A link names an explorer by its title, and holds its state.
const nameOf = (figure) => figure.getAttribute("aria-label").toLowerCase().replace(/\W+/g, "-").slice(0, 40);
function wantedBy(figure) {
  const query = new URLSearchParams(location.search);
  return query.get("explorer") === nameOf(figure) ? query.get("state") : null;
}

function offerLink(figure, view) {
  const wanted = wantedBy(figure);
  if (wanted) restoreState(view, wanted);
  const foot = document.createElement("p");
  foot.className = "et-foot";
  foot.innerHTML = '<button type="button" class="et-share">Copy a link to this state</button>';
  figure.append(foot);
  const button = foot.firstChild;
  button.addEventListener("click", async () => {
    const link = new URL(location.href.split(/[?#]/)[0]);
    link.search = new URLSearchParams({ explorer: nameOf(figure), state: JSON.stringify(view.get()) });
    history.replaceState(null, "", link); // where the clipboard is closed, the address bar has it
    const copied = await navigator.clipboard?.writeText(link.href).then(() => true, () => false);
    button.textContent = copied ? "The link is copied" : "The link is in the address bar";
  });
}

// Of a state from a link, what has the form of the explorer's own; a value it can't show is dropped.
function restoreState(view, text) {
  const first = view.get();
  const alike = (own, given) => Array.isArray(own)
    ? Array.isArray(given) && own.length === given.length && own.every((v, k) => alike(v, given[k]))
    : typeof own === typeof given && (typeof own !== "number" || Number.isFinite(given));
  try {
    const given = JSON.parse(text);
    view.set(Object.fromEntries(Object.entries(first).map(([key, own]) =>
      [key, alike(own, given[key]) ? given[key] : own])));
  } catch {
    view.set(first);
  }
}

// What takes long is asked of a worker: `make(data)` returns a function from a question to its
// answer, and holds all of its own code. Where no worker may start, the page itself answers. One
// question at a time; the last `keep` answers are known.
function employ(make, data, keep = 150) {
  const answers = new Map();
  let [worker, own, sent, question, done] = [null, null, false, null, null];
  const here = () => setTimeout(() => done((own ??= make(data))(question)));
  const leave = () => (worker = worker?.terminate());
  try {
    const code = `let own; onmessage = ({ data: [data, question] }) => postMessage((own ??= (${make})(data))(question));`;
    worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
    worker.onmessage = (event) => done(event.data);
    worker.onerror = (event) => {
      event.preventDefault();
      leave();
      here();
    };
  } catch {
    worker = null;
  }
  return {
    known: (about) => answers.get(JSON.stringify(about)),
    async ask(about) {
      const answer = await new Promise((resolve) => {
        [question, done] = [about, resolve];
        if (!worker) return here();
        worker.postMessage([sent ? null : data, about]); // the data travel once
        sent = true;
      });
      answers.set(JSON.stringify(about), answer);
      if (answers.size > keep) answers.delete(answers.keys().next().value);
      return answer;
    },
    stop: leave,
  };
}

// A live kernel: the same module as an anywidget whose trait `state` goes both ways.
function widget(mount) {
  return {
    render({ model, el }) {
      el.classList.add("et-explorer");
      const send = (state) => {
        model.set("state", state);
        model.save_changes();
      };
      const view = mount(el, unpack(model.get("payload")), send);
      const receive = () => view.set(model.get("state"));
      if (Object.keys(model.get("state")).length) receive();
      model.on("change:state", receive);
      return () => {
        model.off("change:state", receive);
        view.stop?.();
      };
    },
  };
}
