// How an explorer's module meets its page. `mount(root, data, onChange)` comes from the module.

// JSON with Float32Array in the place of every {"float32": base64}.
function unpack(text) {
  return JSON.parse(text, (_, value) => {
    if (typeof value?.float32 !== "string") return value;
    const bytes = Uint8Array.from(atob(value.float32), (c) => c.charCodeAt(0));
    return new Float32Array(bytes.buffer);
  });
}

// Plain HTML: replace the fallback picture of the first free figure of this kind.
function start(kind, mount) {
  const figure = document.querySelector(`[data-et-kind="${kind}"]:not([data-et-taken])`);
  if (!figure) return; // the output was cleared before its script ran
  figure.dataset.etTaken = "";
  const root = figure.querySelector(".et-root");
  const picture = [...root.childNodes];
  try {
    root.replaceChildren();
    mount(root, unpack(figure.querySelector(".et-data").textContent), () => {});
  } catch (error) {
    const note = document.createElement("p");
    note.textContent = `The interactive part could not start (${error}). Its picture:`;
    root.replaceChildren(note, ...picture);
  }
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
