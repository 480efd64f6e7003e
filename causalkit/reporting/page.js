"use strict";
(() => {
  const root = document.documentElement, find = (id) => document.getElementById(id);

  // The theme: the reader's system's, until the button is pressed.
  const button = find("theme");
  const showTheme = () => {
    const dark = root.dataset.theme === "dark";
    button.setAttribute("aria-pressed", String(dark));
    draw();
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    showTheme();
  });

  // What was found, a number a pair, target by target.
  const data = JSON.parse(find("ck-data").textContent);
  const unpack = (text, Type) => {
    if (text === undefined) return null;
    const letters = atob(text), bytes = new Uint8Array(letters.length);
    for (let k = 0; k < letters.length; k++) bytes[k] = letters.charCodeAt(k);
    return new Type(bytes.buffer);
  };
  const n = data.names.length;
  const score = unpack(data.score, Float32Array), level = unpack(data.level, Float64Array);
  const rank = unpack(data.rank, Uint16Array), sign = unpack(data.sign, Int8Array);
  const p = unpack(data.p, Float32Array), lag = unpack(data.lag, Uint8Array);
  const verbs = { "1": "excites", "-1": "inhibits", "0": "drives" };

  const figure = document.querySelector(".ck-fdr"), slider = figure.querySelector("input");
  const states = JSON.parse(figure.dataset.states);
  const canvas = find("ck-matrix"), said = find("ck-pair"), about = find("ck-about");
  const neuron = find("ck-neuron"), order = find("ck-order");
  let rate = states[slider.value][0], places = data.orders[order.value], chosen = null, pointed = null, cursor = null;

  document.querySelector(".controls").hidden = false;
  document.querySelector(".matrix").hidden = false;
  find("graph").classList.add("ck-wide");

  const number = (value) => (value === 0 ? "0" : Math.abs(value) < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(3))));
  const inside = (pair) => level[pair] <= rate;
  const tell = (target, source) => {
    const pair = target * n + source;
    if (target === source) return `${data.names[target]}: its own past is always used and has no cell.`;
    let text = `${data.names[source]} ${inside(pair) ? verbs[sign[pair]] : "to"} ${data.names[target]}: score ${number(score[pair])}`;
    if (p) text += `, p-value ${p[pair] < 1e-37 ? "below 1e-37" : number(p[pair])}, adjusted ${number(level[pair])}`;
    if (lag) text += `, strongest at ${number(lag[pair] * data.dt)} ms`;
    return text + (inside(pair) ? "." : ". Not in the graph.");
  };

  // The matrix
  const room = () => {
    const box = canvas.getBoundingClientRect(), longest = Math.max(...data.names.map((name) => name.length));
    const labels = n <= 40 ? Math.min(84, 14 + 7 * Math.min(longest, 10)) : 0;
    return { width: box.width, labels, cell: (box.width - labels) / n };
  };
  const color = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const cut = (name) => (name.length > 10 ? name.slice(0, 9) + "…" : name);
  const draw = () => {
    const { width, labels, cell } = room(), scale = window.devicePixelRatio || 1;
    if (!width) return;
    canvas.width = canvas.height = Math.round(width * scale);
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const colors = { "1": color("--red"), "-1": color("--blue"), "0": color("--ink") };
    const gray = color("--soft"), focus = chosen ?? pointed;
    pen.fillStyle = color("--surface");
    pen.fillRect(labels, labels, width - labels, width - labels);
    const gap = cell > 8 ? 1 : 0;
    for (let row = 0; row < n; row++) {
      for (let column = 0; column < n; column++) {
        const target = places[row], source = places[column], pair = target * n + source;
        const x = labels + column * cell, y = labels + row * cell;
        if (target === source) {
          pen.globalAlpha = 0.35;
          pen.fillStyle = color === null ? "" : gray;
          pen.fillRect(x + cell * 0.4, y + cell * 0.4, cell * 0.2, cell * 0.2);
          continue;
        }
        const strength = rank[pair] / 65535, there = inside(pair);
        const near = focus === null || target === focus || source === focus;
        pen.globalAlpha = (there ? 0.35 + 0.65 * strength * strength : 0.05 + 0.2 * strength * strength) * (near ? 1 : 0.15);
        pen.fillStyle = there ? colors[sign[pair]] : gray;
        pen.fillRect(x, y, cell - gap + (gap ? 0 : 0.5), cell - gap + (gap ? 0 : 0.5));
      }
    }
    pen.globalAlpha = 1;
    if (labels) {
      pen.fillStyle = color("--ink");
      pen.font = `${Math.max(9, Math.min(13, cell * 0.7))}px sans-serif`;
      pen.textBaseline = "middle";
      places.forEach((place, k) => {
        pen.textAlign = "right";
        pen.fillText(cut(data.names[place]), labels - 6, labels + (k + 0.5) * cell, labels - 8);
        pen.save();
        pen.translate(labels + (k + 0.5) * cell, labels - 6);
        pen.rotate(-Math.PI / 2);
        pen.textAlign = "left";
        pen.fillText(cut(data.names[place]), 0, 0, labels - 8);
        pen.restore();
      });
    }
    if (cursor) {
      pen.strokeStyle = color("--accent");
      pen.lineWidth = 2.5;
      pen.strokeRect(labels + cursor[1] * cell, labels + cursor[0] * cell, Math.max(cell, 3), Math.max(cell, 3));
    }
  };
  const move = (row, column) => {
    cursor = [Math.max(0, Math.min(n - 1, row)), Math.max(0, Math.min(n - 1, column))];
    said.textContent = tell(places[cursor[0]], places[cursor[1]]);
    draw();
  };
  const point = (event) => {
    const box = canvas.getBoundingClientRect(), { labels, cell } = room();
    const row = Math.floor((event.clientY - box.top - labels) / cell);
    const column = Math.floor((event.clientX - box.left - labels) / cell);
    if (row >= 0 && column >= 0 && row < n && column < n) move(row, column);
  };
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("keydown", (event) => {
    const [row, column] = cursor ?? [0, -1];
    const far = Math.max(1, Math.round(n / 10));
    const steps = {
      ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
      Home: [row, 0], End: [row, n - 1], PageUp: [row - far, column], PageDown: [row + far, column],
    };
    if (!(event.key in steps)) return;
    event.preventDefault();
    move(...steps[event.key]);
  });

  // One neuron: chosen from the list, or pointed at on the ring.
  const list = (pairs) => {
    const shown = pairs.slice(0, 12).map(([name, verb]) => (verb ? `${name} (${verb})` : name)).join(", ");
    return shown ? shown + (pairs.length > 12 ? ` and ${pairs.length - 12} more` : "") : "nobody";
  };
  const showNeuron = () => {
    const focus = chosen ?? pointed;
    for (const edge of figure.querySelectorAll("g[data-pair]")) {
      const ends = edge.dataset.pair.split(" ").map(Number);
      edge.classList.toggle("ck-dim", focus !== null && !ends.includes(focus));
    }
    for (const node of figure.querySelectorAll("circle[data-neuron]")) {
      node.classList.toggle("ck-chosen", Number(node.dataset.neuron) === focus);
    }
    if (focus === null) about.textContent = "";
    else {
      const drives = [], driven = [];
      for (let other = 0; other < n; other++) {
        if (other === focus) continue;
        const out = other * n + focus, into = focus * n + other;
        if (inside(out)) drives.push([rank[out], data.names[other], sign[out]]);
        if (inside(into)) driven.push([rank[into], data.names[other], sign[into]]);
      }
      const named = (pairs) => list(pairs.sort((a, b) => b[0] - a[0]).map(([, name, s]) => [name, s ? verbs[s] : ""]));
      about.textContent = `${data.names[focus]} drives ${named(drives)}. It is driven by ${named(driven)}.`;
    }
    draw();
  };
  neuron.addEventListener("change", () => {
    chosen = neuron.value === "" ? null : Number(neuron.value);
    showNeuron();
  });
  figure.addEventListener("pointerover", (event) => {
    const node = event.target.closest("circle[data-neuron]"), edge = event.target.closest("g[data-pair]");
    if (node) pointed = Number(node.dataset.neuron);
    else if (pointed !== null) pointed = null;
    else {
      if (edge) said.textContent = tell(...edge.dataset.pair.split(" ").map(Number));
      return;
    }
    showNeuron();
  });
  figure.addEventListener("pointerleave", () => {
    if (pointed === null) return;
    pointed = null;
    showNeuron();
  });
  figure.addEventListener("click", (event) => {
    const node = event.target.closest("circle[data-neuron]");
    if (!node) return;
    chosen = chosen === Number(node.dataset.neuron) ? null : Number(node.dataset.neuron);
    neuron.value = chosen === null ? "" : String(chosen);
    showNeuron();
  });

  order.addEventListener("change", () => {
    places = data.orders[order.value];
    cursor = null;
    draw();
  });
  const showRate = () => {
    for (const row of document.querySelectorAll("#edges-table tr[data-level]")) {
      row.classList.toggle("outside", Number(row.dataset.level) > rate);
    }
    if (cursor) said.textContent = tell(places[cursor[0]], places[cursor[1]]);
    showNeuron();
  };
  figure.addEventListener("ck-rate", (event) => {
    rate = event.detail;
    showRate();
  });
  new ResizeObserver(draw).observe(canvas);
  window.addEventListener("beforeprint", draw);
  showTheme();
  showRate();
})();
