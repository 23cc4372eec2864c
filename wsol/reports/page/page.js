"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);
  const LINES = Array.from({ length: 7 }, (_, k) => `var(--line${k})`);
  const NONE = 65535;
  const { facts, arrays } = await unpack($("data").textContent);
  $("data").remove();
  const runs = facts.runs.map((run, r) => {
    const own = Object.entries(arrays).filter(([name]) => name.startsWith(`${r}.`));
    return { ...run, ...Object.fromEntries(own.map(([name, array]) => [name.slice(`${r}.`.length), array])) };
  });
  const n = facts.ids.length;
  const levels = facts.taus.length;
  const several = runs.length > 1;
  document.documentElement.classList.toggle("several", several);
  const pictured = new Map([...arrays.pictured].map((image, place) => [image, place]));
  const urls = new Map();
  const state = { level: null, run: 0, query: "", errors: new Set(), outcome: "all", sort: "order", down: false, place: 0, opened: 0 };
  let shown = Uint32Array.from({ length: n }, (_, i) => i);

  // ---- what is known of an image -------------------------------------------------------------------------------
  const hitFrom = Math.round(1e4 * facts.delta);
  const atOwn = () => state.level === null || !levels;
  const iouOf = (r, i) => ((atOwn() || !runs[r].ious) ? runs[r].iou[i] : runs[r].ious[i * levels + state.level]);
  const found = (r, i) => iouOf(r, i) >= hitFrom;
  const className = (c) => (c < 0 ? "none" : (facts.classes[c] ?? `class ${c}`));
  const errorOf = (i) => facts.errors[runs[state.run].error[i]] ?? "none";
  const percent = (x) => (Number.isNaN(x) ? "" : `${(100 * x).toFixed(1)} %`);
  const fourths = (array, at, unit) => (unit === 65534 && array[at] === NONE ? null : Array.from(array.subarray(at, at + 4), (v) => v / unit));
  const boxOf = (r, i) => ((atOwn() || !runs[r].boxes) ? fourths(runs[r].box, 4 * i, 65534) : fourths(runs[r].boxes, 4 * (i * levels + state.level), 255));
  const truthsOf = (i) => {
    const boxes = [];
    for (let k = arrays.truthStarts[i]; k < arrays.truthStarts[i + 1]; k++) boxes.push(fourths(arrays.truths, 4 * k, 65534));
    return boxes;
  };
  const tauText = (tau) => (tau === null ? "" : String(Number(tau.toFixed(4))));

  // ---- making elements: text is always text ---------------------------------------------------------------------
  function element(name, attributes = {}, ...children) {
    const space = ["svg", "rect", "path", "line", "text", "g"].includes(name) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
    const made = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function picture(i, width, height) {
    const aspect = arrays.aspects[i];
    const w = Math.min(width, height * aspect);
    const frame = element("div", { class: "frame", style: `width:${w.toFixed(1)}px;height:${(w / aspect).toFixed(1)}px` });
    const source = pictureUrl(i);
    if (source) {
      const img = element("img", { src: source, alt: "", loading: "lazy", decoding: "async" });
      img.addEventListener("error", () => img.remove());
      frame.append(img);
    }
    const map = mapCanvas(i);
    if (map) frame.append(map);
    frame.append(boxes(i));
    return element("div", { class: "stage", style: `height:${height.toFixed(1)}px`, role: "img", "aria-label": described(i) }, frame);
  }

  function pictureUrl(i) {
    const place = pictured.get(i);
    if (place !== undefined) {
      if (!urls.has(i)) {
        const jpeg = arrays.pictures.slice(arrays.pictureStarts[place], arrays.pictureStarts[place + 1]);
        urls.set(i, URL.createObjectURL(new Blob([jpeg], { type: "image/jpeg" })));
      }
      return urls.get(i);
    }
    if (!arrays.beside[i]) return null;
    const folder = String(Math.floor(i / 1000)).padStart(3, "0");
    return `${facts.pictures}thumbs/${folder}/${String(i).padStart(6, "0")}.jpg`;
  }

  function mapCanvas(i) {
    const maps = runs[state.run].maps;
    if (!maps) return null;
    const side = Math.round(Math.sqrt(maps.length / n));
    const size = 56;
    const canvas = element("canvas", { width: size, height: size, style: `opacity:${$("opacity").value / 100}`, "aria-hidden": "true" });
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(size, size);
    const start = i * side * side;
    const at = (k) => Math.min(Math.max(((k + 0.5) * side) / size - 0.5, 0), side - 1);
    for (let y = 0; y < size; y++) {
      const v = at(y), y0 = Math.floor(v), y1 = Math.min(y0 + 1, side - 1), dy = v - y0;
      for (let x = 0; x < size; x++) {
        const u = at(x), x0 = Math.floor(u), x1 = Math.min(x0 + 1, side - 1), dx = u - x0;
        const top = maps[start + y0 * side + x0] * (1 - dx) + maps[start + y0 * side + x1] * dx;
        const low = maps[start + y1 * side + x0] * (1 - dx) + maps[start + y1 * side + x1] * dx;
        const colour = 3 * Math.round(top * (1 - dy) + low * dy);
        pixels.data.set([arrays.colours[colour], arrays.colours[colour + 1], arrays.colours[colour + 2], 255], 4 * (y * size + x));
      }
    }
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  function boxes(i) {
    const drawn = element("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" });
    const add = (box, kind, style = "") => {
      if (!box) return;
      const shape = { x: box[0], y: box[1], width: Math.max(box[2] - box[0], 0), height: Math.max(box[3] - box[1], 0) };
      drawn.append(element("rect", { ...shape, class: "halo" }), element("rect", { ...shape, class: `box ${kind}`, style }));
    };
    for (const box of truthsOf(i)) add(box, "truth");
    runs.forEach((run, r) => {
      if (several) add(boxOf(r, i), "own", `stroke:${LINES[r % LINES.length]}`);
      else {
        if (run.guess[i] !== arrays.labels[i] && atOwn()) add(fourths(run.guessBox, 4 * i, 65534), "guess");
        add(boxOf(r, i), found(r, i) ? "hit" : "miss");
      }
    });
    return drawn;
  }

  function described(i) {
    const run = runs[state.run];
    const results = runs.map((each, r) => `${several ? each.name + ": " : ""}IoU ${(iouOf(r, i) / 1e4).toFixed(2)}, ${found(r, i) ? "found" : "missed"}`);
    return `${facts.ids[i]}: ${className(arrays.labels[i])}; first guess ${className(run.guess[i])}; ${results.join("; ")}`;
  }

  function words(i) {
    const run = runs[state.run];
    const label = className(arrays.labels[i]);
    const wrong = run.guess[i] !== arrays.labels[i];
    const ious = runs.map((_, r) => (iouOf(r, i) / 1e4).toFixed(2)).join(" · ");
    const tag = element("span", { class: `tag ${errorOf(i)}` }, errorOf(i));
    return element("div", { class: "words" },
      element("div", { class: "name", title: label }, label),
      element("div", { class: "rest" }, `IoU ${ious} · `, tag, wrong ? ` → ${className(run.guess[i])}` : ` · ${percent(run.guessScore[i])}`),
      element("div", { class: "rest", title: facts.ids[i] }, facts.ids[i]));
  }

  // ---- which images, in which order --------------------------------------------------------------------------------
  const lower = facts.ids.map((id) => id.toLowerCase());
  const lowerNames = facts.classes.map((name) => name.toLowerCase());

  function select() {
    const query = state.query.trim().toLowerCase();
    const named = lowerNames.map((name) => name.includes(query));
    const run = runs[state.run];
    const [one, other] = state.outcome.split(",").map(Number);
    const kept = [];
    for (let i = 0; i < n; i++) {
      if (query && !lower[i].includes(query) && !named[arrays.labels[i]] && !named[run.guess[i]]) continue;
      if (state.errors.size && !state.errors.has(errorOf(i))) continue;
      if (state.outcome === "found" && !found(state.run, i)) continue;
      if (state.outcome === "missed" && found(state.run, i)) continue;
      if (state.outcome.includes(",") && !(found(one, i) && !found(other, i))) continue;
      kept.push(i);
    }
    const keys = {
      iou: (i) => iouOf(state.run, i),
      score: (i) => (Number.isNaN(run.score[i]) ? -1 : run.score[i]),
      class: (i) => lowerNames[arrays.labels[i]],
      id: (i) => lower[i],
    };
    const key = keys[state.sort];
    if (key) {
      const values = new Map(kept.map((i) => [i, key(i)]));
      const compare = (a, b) => (values.get(a) < values.get(b) ? -1 : values.get(a) > values.get(b) ? 1 : 0);
      kept.sort((a, b) => compare(a, b) || a - b);
    }
    if (state.down) kept.reverse();
    shown = Uint32Array.from(kept);
    const hits = kept.reduce((sum, i) => sum + found(state.run, i), 0);
    const share = kept.length ? ` · ${hits} found by the box of their own class (${percent(hits / kept.length)})` : "";
    $("status").textContent = `${kept.length} of ${n} images${share}${several ? ` · ${runs[state.run].name}` : ""}`;
  }

  // ---- the gallery: only what is in sight is in the document ---------------------------------------------------------
  const gallery = $("gallery");
  const cards = new Map(); // place in `shown` to its element
  let grid = { columns: 1, width: 0, height: 0, stage: 0 };

  function layout() {
    const width = gallery.clientWidth;
    const columns = Math.max(1, Math.floor(width / (width < 500 ? 160 : 210)));
    const card = width / columns;
    const stage = (card - 12) * 0.75;
    grid = { columns, width: card, stage, height: stage + 80 };
    gallery.style.height = `${Math.ceil(shown.length / columns) * grid.height}px`;
  }

  function paint(fresh) {
    if (fresh) {
      const focused = gallery.contains(document.activeElement);
      for (const card of cards.values()) card.remove();
      cards.clear();
      layout();
      state.place = Math.min(state.place, Math.max(shown.length - 1, 0));
      sight();
      if (focused) cards.get(state.place)?.firstChild.focus({ preventScroll: true });
    } else sight();
  }

  function sight() {
    const top = gallery.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(-top / grid.height) - 1) * grid.columns;
    const last = Math.min(shown.length, (Math.ceil((innerHeight - top) / grid.height) + 1) * grid.columns);
    for (const [place, card] of cards) {
      if ((place < first || place >= last) && !card.contains(document.activeElement)) {
        card.remove();
        cards.delete(place);
      }
    }
    const places = [];
    for (let place = first; place < last; place++) if (!cards.has(place)) places.push(place);
    for (const place of places) {
      const made = cardOf(place);
      cards.set(place, made);
      const after = [...gallery.children].find((card) => Number(card.dataset.place) > place);
      gallery.insertBefore(made, after ?? null); // so that the tab order is the order on the page
    }
  }

  function cardOf(place) {
    const i = shown[place];
    const x = (place % grid.columns) * grid.width, y = Math.floor(place / grid.columns) * grid.height;
    const button = element("button", { type: "button", class: "card", tabindex: place === state.place ? 0 : -1, "aria-label": described(i) }, picture(i, grid.width - 12, grid.stage), words(i));
    button.firstChild.removeAttribute("role");
    button.addEventListener("click", () => open(place));
    return element("li", { "data-place": place, "data-image": i, "aria-posinset": place + 1, "aria-setsize": shown.length,
      style: `left:${x}px;top:${y}px;width:${grid.width}px;height:${grid.height}px` }, button);
  }

  function covered() { // by the tools, where they stay in sight
    const tools = document.querySelector(".tools");
    return getComputedStyle(tools).position === "sticky" ? tools.offsetHeight : 0;
  }

  function move(place) {
    if (!shown.length) return;
    const old = cards.get(state.place);
    state.place = Math.min(Math.max(place, 0), shown.length - 1);
    const row = Math.floor(state.place / grid.columns);
    const top = gallery.getBoundingClientRect().top + row * grid.height;
    if (top < covered()) scrollBy(0, top - covered() - 8);
    else if (top + grid.height > innerHeight) scrollBy(0, top + grid.height - innerHeight + 8);
    sight();
    old?.firstChild.setAttribute("tabindex", -1);
    const button = cards.get(state.place)?.firstChild;
    button?.setAttribute("tabindex", 0);
    button?.focus({ preventScroll: true });
  }

  gallery.addEventListener("focusin", (event) => {
    const place = Number(event.target.closest("li")?.dataset.place ?? state.place);
    cards.get(state.place)?.firstChild.setAttribute("tabindex", -1);
    state.place = place;
    event.target.setAttribute("tabindex", 0);
  });
  gallery.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.columns, ArrowDown: grid.columns };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps) move(state.place + steps[event.key]);
    else if (event.key === "Home") move(0);
    else if (event.key === "End") move(shown.length - 1);
    else return;
    event.preventDefault();
  });

  // ---- one image -----------------------------------------------------------------------------------------------------
  const dialog = $("detail");

  function open(place) {
    state.opened = place;
    detail();
    if (!dialog.open) dialog.showModal();
  }

  const dialogWidth = () => Math.min(innerWidth * 0.96, 860) - 40;

  function detail() {
    const i = shown[state.opened];
    const run = runs[state.run];
    $("detail-title").textContent = className(arrays.labels[i]);
    const width = dialogWidth();
    const rows = [
      ["image", facts.ids[i]],
      ["class", `${className(arrays.labels[i])} ${percent(run.score[i])}`],
      ["first guess", `${className(run.guess[i])} ${percent(run.guessScore[i])} · IoU of its box ${(run.guessIou[i] / 1e4).toFixed(3)} · ${errorOf(i)}`],
      ...runs.map((each, r) => [several ? each.name : "IoU", `${(iouOf(r, i) / 1e4).toFixed(3)} at τ ${tauText(tauOf(r))} · ${found(r, i) ? "found" : "missed"}`]),
    ];
    const list = element("dl");
    for (const [name, text] of rows) list.append(element("dt", {}, name), element("dd", {}, text));
    const lines = runs.filter((each) => each.ious).map((each, r) => ({
      name: each.name, colour: LINES[r % LINES.length], values: Array.from(each.ious.subarray(i * levels, (i + 1) * levels), (v) => v / 100),
    }));
    const chart = lines.length ? [element("div", {}, element("p", { class: "hint" }, "IoU (percent) over τ"), plot(facts.taus, lines, 150, true, 100 * facts.delta))] : [];
    $("detail-body").replaceChildren(picture(i, width, Math.min(width * 0.75, innerHeight * 0.5)), list, ...chart);
    $("detail-place").textContent = `${state.opened + 1} of ${shown.length}`;
    $("previous").disabled = state.opened === 0;
    $("next").disabled = state.opened === shown.length - 1;
  }

  function step(by) {
    const place = state.opened + by;
    if (place < 0 || place >= shown.length) return;
    state.opened = place;
    detail();
  }

  $("detail-close").addEventListener("click", () => dialog.close());
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
    else return;
    event.preventDefault();
  });
  dialog.addEventListener("close", () => move(state.opened));

  // ---- thresholds ------------------------------------------------------------------------------------------------------
  const tauOf = (r) => (atOwn() ? runs[r].tau : facts.taus[state.level]);

  function plot(taus, lines, height, mini, mark = null) {
    const width = Math.max(260, mini ? dialogWidth() : $("curve").clientWidth), left = 40, right = 8, top = 8, bottom = 24;
    const x = (tau) => left + (width - left - right) * tau;
    const y = (value) => top + (height - top - bottom) * (1 - value / 100);
    const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": lines.map((line) => line.name).join(", ") + " over thresholds", class: mini ? "mini" : "" });
    for (const value of [0, 25, 50, 75, 100]) {
      svg.append(element("line", { class: "axis", x1: left, x2: width - right, y1: y(value), y2: y(value), stroke: "var(--line)" }));
      svg.append(element("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end", fill: "var(--faint)", "font-size": 12 }, String(value)));
    }
    for (const tau of [0, 0.2, 0.4, 0.6, 0.8, 1]) svg.append(element("text", { x: x(tau), y: height - 6, "text-anchor": "middle", fill: "var(--faint)", "font-size": 12 }, String(tau)));
    if (mark !== null) svg.append(element("line", { x1: left, x2: width - right, y1: y(mark), y2: y(mark), stroke: "var(--faint)", "stroke-dasharray": "6 4" }));
    for (const line of lines) {
      const path = line.values.map((value, k) => `${k ? "L" : "M"}${x(taus[k]).toFixed(1)} ${y(value).toFixed(1)}`).join("");
      svg.append(element("path", { d: path, class: "line", fill: "none", stroke: line.colour, "stroke-width": 2 }));
    }
    for (const tau of new Set(runs.map((_, r) => tauOf(r)))) {
      if (tau !== null) svg.append(element("line", { class: "cursor", x1: x(tau), x2: x(tau), y1: top, y2: height - bottom, stroke: "var(--ink)", "stroke-dasharray": "3 3" }));
    }
    return svg;
  }

  function curves() {
    const taus = runs[0].curves.taus;
    if (!taus) return;
    const wanted = several ? [`GT-known, IoU ${facts.delta}`] : Object.keys(runs[0].curves).filter((name) => name !== "taus");
    const lines = [];
    runs.forEach((run, r) => {
      for (const name of wanted) {
        if (!run.curves[name]) continue;
        const tau = tauOf(r);
        const nearest = taus.reduce((best, each, k) => (Math.abs(each - tau) < Math.abs(taus[best] - tau) ? k : best), 0);
        lines.push({ name: several ? `${run.name}: ${name}` : name, colour: LINES[lines.length % LINES.length], values: run.curves[name], now: run.curves[name][nearest] });
      }
    });
    const key = element("ul", { class: "key" });
    for (const line of lines) key.append(element("li", {}, element("span", { class: "swatch", style: `background:${line.colour}` }), `${line.name}: ${line.now.toFixed(1)} %`));
    $("curve").replaceChildren(plot(taus, lines, 280, false), key);
  }

  function retau() {
    const taus = [...new Set(runs.map((_, r) => tauText(tauOf(r))))].join(", ");
    $("tau-value").textContent = taus;
    $("tau").setAttribute("aria-valuetext", `tau ${taus}`);
    $("tau-own").setAttribute("aria-pressed", String(atOwn()));
    $("tau-text").textContent = atOwn() ? "The boxes below are those of the run's own threshold." : "The boxes below are those of this threshold; error types stay those of the run's own.";
    if (atOwn()) $("tau").value = nearestLevel(runs[state.run].tau ?? 0);
    curves();
    legend();
    select();
    paint(true);
  }
  const nearestLevel = (tau) => facts.taus.reduce((best, each, k) => (Math.abs(each - tau) < Math.abs(facts.taus[best] - tau) ? k : best), 0);

  // ---- tools -------------------------------------------------------------------------------------------------------------
  const guessing = runs[0].guess.some((guess, i) => guess !== arrays.labels[i]);

  function legend() {
    const sample = (colour, style, text) => element("span", {}, element("i", { class: "sample", style: `border-color:${colour};border-style:${style}` }), text);
    const own = several
      ? runs.map((run, r) => sample(LINES[r % LINES.length], "solid", run.name))
      : [sample("var(--hit)", "solid", `box of the image's class, IoU ≥ ${facts.delta}`), sample("var(--miss)", "solid", "the same, missed"), ...(atOwn() && guessing ? [sample("var(--guess)", "dotted", "box of a wrong first guess")] : [])];
    $("legend").replaceChildren(sample("var(--truth)", "dashed", "true boxes"), ...own);
  }

  function outcomes() {
    const options = [["all", "all"], ["found", "found"], ["missed", "missed"]];
    if (several) runs.forEach((one, a) => runs.forEach((other, b) => { if (a !== b) options.push([`${a},${b}`, `${one.name} finds, ${other.name} does not`]); }));
    $("outcome").append(...options.map(([value, text]) => element("option", { value }, text)));
    $("run").append(...runs.map((run, r) => element("option", { value: r }, run.name)));
    $("run-label").hidden = !several;
    $("opacity-label").hidden = !runs.some((run) => run.maps);
  }

  function soon(work) { // once a frame, however often it is asked for
    let waiting = 0;
    return () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(work); };
  }
  const again = soon(() => {
    state.place = 0;
    select();
    const top = gallery.getBoundingClientRect().top - covered();
    if (top < 0) scrollBy(0, top - 8);
    paint(true);
  });
  const retauSoon = soon(retau);
  $("search").addEventListener("input", () => { state.query = $("search").value; again(); });
  $("sort").addEventListener("change", () => { state.sort = $("sort").value; again(); });
  $("outcome").addEventListener("change", () => { state.outcome = $("outcome").value; again(); });
  $("run").addEventListener("change", () => { state.run = Number($("run").value); state.errors.clear(); press(); again(); });
  $("direction").addEventListener("click", () => {
    state.down = !state.down;
    $("direction").textContent = state.down ? "Descending" : "Ascending";
    $("direction").setAttribute("aria-pressed", String(state.down));
    again();
  });
  $("opacity").addEventListener("input", () => {
    for (const canvas of document.querySelectorAll(".frame canvas")) canvas.style.opacity = $("opacity").value / 100;
  });
  $("tau").addEventListener("input", () => { state.level = Number($("tau").value); retauSoon(); });
  $("tau-own").addEventListener("click", () => { state.level = null; retau(); });
  const bars = [...document.querySelectorAll("[data-error]")];
  const press = () => bars.forEach((bar) => bar.setAttribute("aria-pressed", String(Number(bar.dataset.run) === state.run && state.errors.has(bar.dataset.error))));
  for (const bar of bars) {
    bar.addEventListener("click", () => {
      if (Number(bar.dataset.run) !== state.run) state.errors.clear();
      state.run = Number(bar.dataset.run);
      $("run").value = state.run;
      if (!state.errors.delete(bar.dataset.error)) state.errors.add(bar.dataset.error);
      press();
      again();
    });
  }
  for (const cell of document.querySelectorAll("[data-outcome]")) {
    cell.addEventListener("click", () => {
      state.outcome = $("outcome").value = cell.dataset.outcome;
      again();
      $("gallery-title").scrollIntoView();
    });
  }
  $("reset").addEventListener("click", () => {
    Object.assign(state, { query: "", outcome: "all", sort: "order", down: false, place: 0, level: null });
    state.errors.clear();
    press();
    $("search").value = "";
    $("sort").value = "order";
    $("outcome").value = "all";
    $("direction").textContent = "Ascending";
    $("direction").setAttribute("aria-pressed", "false");
    retau();
  });
  function theme(dark) {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    $("theme").setAttribute("aria-pressed", String(dark));
  }
  theme(matchMedia("(prefers-color-scheme: dark)").matches);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => theme(event.matches));
  $("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme !== "dark"));
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !dialog.open && !["INPUT", "SELECT", "TEXTAREA"].includes(document.activeElement.tagName)) {
      event.preventDefault();
      $("search").focus();
    }
  });
  addEventListener("scroll", soon(sight), { passive: true });
  new ResizeObserver(soon(curves)).observe($("curve"));
  new ResizeObserver(() => { if (gallery.clientWidth && Math.abs(gallery.clientWidth - grid.width * grid.columns) > 1) paint(true); }).observe(gallery);

  outcomes();
  $("tau").max = Math.max(levels - 1, 0);
  $("curve-section").hidden = !levels;
  retau();
  document.documentElement.dataset.ready = "true";

  async function unpack(text) {
    const raw = atob(text.trim());
    const zipped = new Uint8Array(raw.length);
    for (let k = 0; k < raw.length; k++) zipped[k] = raw.charCodeAt(k);
    const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
    const buffer = await new Response(stream).arrayBuffer();
    const size = new DataView(buffer).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
    const kinds = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, int32: Int32Array, float32: Float32Array };
    const places = Object.entries(header.arrays).map(([name, [kind, offset, count]]) => [name, new kinds[kind](buffer, 4 + size + offset, count)]);
    return { facts: header, arrays: Object.fromEntries(places) };
  }
})();
