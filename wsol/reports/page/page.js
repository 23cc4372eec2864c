"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);
  const LINE_COLORS = Array.from({ length: 7 }, (_, k) => `var(--line${k})`);
  const NONE = 65535;
  const { header, arrays } = await unpack($("data").textContent);
  $("data").remove();
  const runs = header.runs.map((run, r) => {
    const runArrays = Object.entries(arrays).filter(([name]) => name.startsWith(`${r}.`));
    return { ...run, ...Object.fromEntries(runArrays.map(([name, array]) => [name.slice(`${r}.`.length), array])) };
  });
  const n = header.ids.length;
  const tauCount = header.taus.length;
  const isComparison = runs.length > 1;
  document.documentElement.classList.toggle("comparison", isComparison);
  const embedded = new Map([...arrays.embedded].map((image, place) => [image, place]));
  const urls = new Map();
  const state = { tauIndex: null, run: 0, query: "", errors: new Set(), outcome: "all", sort: "order", descending: false, place: 0, opened: 0 };
  let shown = Uint32Array.from({ length: n }, (_, i) => i);

  // ---- the data of an image -----------------------------------------------------------------------------------------
  const atOwnTau = () => state.tauIndex === null || !tauCount;
  const iouOf = (r, i) => ((atOwnTau() || !runs[r].ious) ? runs[r].iou[i] : runs[r].ious[i * tauCount + state.tauIndex]);
  const isFound = (r, i) => iouOf(r, i) >= runs[r].minHit;
  const isEmpty = (i) => arrays.truthStarts[i] === arrays.truthStarts[i + 1]; // shows no object, so no box can be found
  const className = (c) => (c < 0 ? "none" : (header.classes[c] ?? `class ${c}`));
  const errorOf = (i) => (isEmpty(i) ? "empty" : header.errors[runs[state.run].error[i]] ?? "none");
  const iouText = (iou, digits = 2) => (Math.floor(iou / 10 ** (4 - digits)) / 10 ** digits).toFixed(digits); // never rounded up to delta
  const percent = (x) => (Number.isNaN(x) ? "" : `${(100 * x).toFixed(1)} %`);
  const readBox = (array, at, unit) => (unit === 65534 && array[at] === NONE ? null : Array.from(array.subarray(at, at + 4), (v) => v / unit));
  const boxOf = (r, i) => ((atOwnTau() || !runs[r].boxes) ? readBox(runs[r].box, 4 * i, 65534) : readBox(runs[r].boxes, 4 * (i * tauCount + state.tauIndex), 255));
  const truthsOf = (i) => {
    const boxes = [];
    for (let k = arrays.truthStarts[i]; k < arrays.truthStarts[i + 1]; k++) boxes.push(readBox(arrays.truths, 4 * k, 65534));
    return boxes;
  };
  const tauText = (tau) => (tau === null ? "" : String(Number(tau.toFixed(4))));

  // ---- elements: strings are inserted as text, never as markup ------------------------------------------------------
  function element(name, attributes = {}, ...children) {
    const space = ["svg", "rect", "path", "line", "text", "g"].includes(name) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
    const node = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  function drawImage(i, width, height) {
    const aspect = arrays.aspects[i];
    const w = Math.min(width, height * aspect);
    const frame = element("div", { class: "frame", style: `width:${w.toFixed(1)}px;height:${(w / aspect).toFixed(1)}px` });
    const source = thumbnailUrl(i);
    if (source) {
      const img = element("img", { src: source, alt: "", loading: "lazy", decoding: "async" });
      img.addEventListener("error", () => img.remove());
      frame.append(img);
    }
    const map = drawMap(i);
    if (map) frame.append(map);
    frame.append(drawBoxes(i));
    return element("div", { class: "stage", style: `height:${height.toFixed(1)}px`, role: "img", "aria-label": describe(i) }, frame);
  }

  function thumbnailUrl(i) {
    const place = embedded.get(i);
    if (place !== undefined) {
      if (!urls.has(i)) {
        const jpeg = arrays.thumbnails.slice(arrays.thumbnailStarts[place], arrays.thumbnailStarts[place + 1]);
        urls.set(i, URL.createObjectURL(new Blob([jpeg], { type: "image/jpeg" })));
      }
      return urls.get(i);
    }
    if (!arrays.onDisk[i]) return null;
    const folder = String(Math.floor(i / 1000)).padStart(3, "0");
    return `${header.thumbnailRoot}thumbnails/${folder}/${String(i).padStart(6, "0")}.jpg`;
  }

  function drawMap(i) {
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
        const color = 3 * Math.round(top * (1 - dy) + low * dy);
        pixels.data.set([arrays.colors[color], arrays.colors[color + 1], arrays.colors[color + 2], 255], 4 * (y * size + x));
      }
    }
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  function drawBoxes(i) {
    const svg = element("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" });
    const add = (box, kind, style = "") => {
      if (!box) return;
      const shape = { x: box[0], y: box[1], width: Math.max(box[2] - box[0], 0), height: Math.max(box[3] - box[1], 0) };
      svg.append(element("rect", { ...shape, class: "halo" }), element("rect", { ...shape, class: `box ${kind}`, style }));
    };
    for (const box of truthsOf(i)) add(box, "truth");
    runs.forEach((run, r) => {
      if (isComparison) add(boxOf(r, i), "own", `stroke:${LINE_COLORS[r % LINE_COLORS.length]}`);
      else {
        if (run.top1[i] !== arrays.labels[i] && atOwnTau()) add(readBox(run.top1Box, 4 * i, 65534), "predicted");
        add(boxOf(r, i), isFound(r, i) ? "hit" : "miss");
      }
    });
    return svg;
  }

  function describe(i) {
    const run = runs[state.run];
    const results = isEmpty(i) ? ["no object"] : runs.map((each, r) => `${isComparison ? each.name + ": " : ""}IoU ${iouText(iouOf(r, i))}, ${isFound(r, i) ? "found" : "missed"}`);
    const predicted = run.classifies ? `predicted ${className(run.top1[i])}; ` : "";
    return `${header.ids[i]}: ${className(arrays.labels[i])}; ${predicted}${results.join("; ")}`;
  }

  function makeCaption(i) {
    const run = runs[state.run];
    const label = className(arrays.labels[i]);
    const wrong = run.top1[i] !== arrays.labels[i];
    const ious = isEmpty(i) ? "" : `IoU ${runs.map((_, r) => iouText(iouOf(r, i))).join(" · ")} · `;
    const score = run.classifies ? percent(run.top1Score[i]) : "";
    const tag = element("span", { class: `tag ${errorOf(i)}` }, isEmpty(i) ? "no object" : errorOf(i));
    return element("div", { class: "caption" },
      element("div", { class: "name", title: label }, label),
      element("div", { class: "rest" }, ious, tag, wrong ? ` → ${className(run.top1[i])}` : score && ` · ${score}`),
      element("div", { class: "rest", title: header.ids[i] }, header.ids[i]));
  }

  // ---- filters and order --------------------------------------------------------------------------------------------
  const lowerIds = header.ids.map((id) => id.toLowerCase());
  const lowerClasses = header.classes.map((name) => name.toLowerCase());

  function updateSelection() {
    const query = state.query.trim().toLowerCase();
    const classMatches = lowerClasses.map((name) => name.includes(query));
    const run = runs[state.run];
    const [one, other] = state.outcome.split(",").map(Number);
    const selected = [];
    for (let i = 0; i < n; i++) {
      if (query && !lowerIds[i].includes(query) && !classMatches[arrays.labels[i]] && !classMatches[run.top1[i]]) continue;
      if (state.errors.size && !state.errors.has(errorOf(i))) continue;
      if (state.outcome === "found" && !isFound(state.run, i)) continue;
      if (state.outcome === "missed" && (isFound(state.run, i) || isEmpty(i))) continue;
      if (state.outcome.includes(",") && !(isFound(one, i) && !isFound(other, i))) continue;
      selected.push(i);
    }
    const keys = {
      iou: (i) => iouOf(state.run, i),
      score: (i) => (Number.isNaN(run.score[i]) ? -1 : run.score[i]),
      class: (i) => lowerClasses[arrays.labels[i]],
      id: (i) => lowerIds[i],
    };
    const key = keys[state.sort];
    if (key) {
      const values = new Map(selected.map((i) => [i, key(i)]));
      const compare = (a, b) => (values.get(a) < values.get(b) ? -1 : values.get(a) > values.get(b) ? 1 : 0);
      selected.sort((a, b) => compare(a, b) || a - b);
    }
    if (state.descending) selected.reverse();
    shown = Uint32Array.from(selected);
    const hits = selected.reduce((sum, i) => sum + isFound(state.run, i), 0);
    const shows = selected.reduce((sum, i) => sum + !isEmpty(i), 0);
    const empty = shows < selected.length ? ` · ${selected.length - shows} without an object` : "";
    const share = shows ? ` · ${hits} found${runs[state.run].classifies ? " by the box of the true class" : ""} (${percent(hits / shows)})` : "";
    $("status").textContent = `${selected.length} of ${n} images${share}${empty}${isComparison ? ` · ${runs[state.run].name}` : ""}`;
  }

  // ---- the gallery: only visible cards are in the document ----------------------------------------------------------
  const gallery = $("gallery");
  const cards = new Map(); // position in `shown` to element
  let grid = { columns: 1, width: 0, height: 0, stage: 0 };

  function layOut() {
    const width = gallery.clientWidth;
    const columns = Math.max(1, Math.floor(width / (width < 500 ? 160 : 210)));
    const card = width / columns;
    const stage = (card - 12) * 0.75;
    grid = { columns, width: card, stage, height: stage + 80 };
    gallery.style.height = `${Math.ceil(shown.length / columns) * grid.height}px`;
  }

  function render(rebuild) {
    if (rebuild) {
      const focused = gallery.contains(document.activeElement);
      for (const card of cards.values()) card.remove();
      cards.clear();
      layOut();
      state.place = Math.min(state.place, Math.max(shown.length - 1, 0));
      renderVisible();
      if (focused) cards.get(state.place)?.firstChild.focus({ preventScroll: true });
    } else renderVisible();
  }

  function renderVisible() {
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
      const card = makeCard(place);
      cards.set(place, card);
      const after = [...gallery.children].find((other) => Number(other.dataset.place) > place);
      gallery.insertBefore(card, after ?? null); // keeps the tab order equal to the visual order
    }
  }

  function makeCard(place) {
    const i = shown[place];
    const x = (place % grid.columns) * grid.width, y = Math.floor(place / grid.columns) * grid.height;
    const button = element("button", { type: "button", class: "card", tabindex: place === state.place ? 0 : -1, "aria-label": describe(i) }, drawImage(i, grid.width - 12, grid.stage), makeCaption(i));
    button.firstChild.removeAttribute("role");
    button.addEventListener("click", () => openDetail(place));
    return element("li", { "data-place": place, "data-image": i, "aria-posinset": place + 1, "aria-setsize": shown.length,
      style: `left:${x}px;top:${y}px;width:${grid.width}px;height:${grid.height}px` }, button);
  }

  function stickyHeight() { // height of the controls, if they stay at the top
    const tools = document.querySelector(".tools");
    return getComputedStyle(tools).position === "sticky" ? tools.offsetHeight : 0;
  }

  function focusCard(place) {
    if (!shown.length) return;
    const old = cards.get(state.place);
    state.place = Math.min(Math.max(place, 0), shown.length - 1);
    const row = Math.floor(state.place / grid.columns);
    const top = gallery.getBoundingClientRect().top + row * grid.height;
    if (top < stickyHeight()) scrollBy(0, top - stickyHeight() - 8);
    else if (top + grid.height > innerHeight) scrollBy(0, top + grid.height - innerHeight + 8);
    renderVisible();
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
    if (event.key in steps) focusCard(state.place + steps[event.key]);
    else if (event.key === "Home") focusCard(0);
    else if (event.key === "End") focusCard(shown.length - 1);
    else return;
    event.preventDefault();
  });

  // ---- the dialog with one image ------------------------------------------------------------------------------------
  const dialog = $("detail");

  function openDetail(place) {
    state.opened = place;
    renderDetail();
    if (!dialog.open) dialog.showModal();
  }

  const dialogWidth = () => Math.min(innerWidth * 0.96, 860) - 40;

  function renderDetail() {
    const i = shown[state.opened];
    const run = runs[state.run];
    $("detail-title").textContent = className(arrays.labels[i]);
    const width = dialogWidth();
    const rows = [
      ["image", header.ids[i]],
      ["true class", `${className(arrays.labels[i])} ${percent(run.score[i])}`],
      run.classifies
        ? ["prediction", `${className(run.top1[i])} ${percent(run.top1Score[i])}${isEmpty(i) ? "" : ` · IoU of its box ${iouText(run.top1Iou[i], 3)} · ${errorOf(i) === "correct" ? "" : "error type: "}${errorOf(i)}`}`]
        : ["error type", errorOf(i)],
      ...(isEmpty(i) ? [["object", "none: metrics of boxes do not count the image"]] : []),
      ...runs.filter(() => !isEmpty(i)).map((each, r) => [isComparison ? each.name : run.classifies ? "box of the true class" : "box", `IoU ${iouText(iouOf(r, i), 3)} at τ ${tauText(tauOf(r))} · ${isFound(r, i) ? "found" : "missed"}`]),
    ];
    const list = element("dl");
    for (const [name, text] of rows) list.append(element("dt", {}, name), element("dd", {}, text));
    const lines = runs.filter((each) => each.ious && !isEmpty(i)).map((each, r) => ({
      name: each.name, color: LINE_COLORS[r % LINE_COLORS.length], values: Array.from(each.ious.subarray(i * tauCount, (i + 1) * tauCount), (v) => v / 100),
    }));
    const chart = lines.length ? [element("div", {}, element("p", { class: "hint" }, "IoU of the box of the true class over τ, in percent"), drawPlot(header.taus, lines, 150, true, runs.map((run) => 100 * run.delta)))] : [];
    $("detail-body").replaceChildren(drawImage(i, width, Math.min(width * 0.75, innerHeight * 0.5)), list, ...chart);
    $("detail-place").textContent = `${state.opened + 1} of ${shown.length}`;
    $("previous").disabled = state.opened === 0;
    $("next").disabled = state.opened === shown.length - 1;
  }

  function showNeighbor(by) {
    const place = state.opened + by;
    if (place < 0 || place >= shown.length) return;
    state.opened = place;
    renderDetail();
  }

  $("detail-close").addEventListener("click", () => dialog.close());
  $("previous").addEventListener("click", () => showNeighbor(-1));
  $("next").addEventListener("click", () => showNeighbor(1));
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") showNeighbor(-1);
    else if (event.key === "ArrowRight") showNeighbor(1);
    else return;
    event.preventDefault();
  });
  dialog.addEventListener("close", () => focusCard(state.opened));

  // ---- thresholds ---------------------------------------------------------------------------------------------------
  const tauOf = (r) => (atOwnTau() ? runs[r].tau : header.taus[state.tauIndex]);

  function drawPlot(taus, lines, height, inDialog, marks = []) {
    const width = Math.max(260, inDialog ? dialogWidth() : $("curve").clientWidth), left = 40, right = 8, top = 8, bottom = 24;
    const x = (tau) => left + (width - left - right) * tau;
    const y = (value) => top + (height - top - bottom) * (1 - value / 100);
    const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": lines.map((line) => line.name).join(", ") + " over τ", class: inDialog ? "mini" : "" });
    for (const value of [0, 25, 50, 75, 100]) {
      svg.append(element("line", { class: "axis", x1: left, x2: width - right, y1: y(value), y2: y(value), stroke: "var(--line)" }));
      svg.append(element("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end", fill: "var(--faint)", "font-size": 12 }, String(value)));
    }
    for (const tau of [0, 0.2, 0.4, 0.6, 0.8, 1]) svg.append(element("text", { x: x(tau), y: height - 6, "text-anchor": "middle", fill: "var(--faint)", "font-size": 12 }, String(tau)));
    for (const mark of new Set(marks)) svg.append(element("line", { x1: left, x2: width - right, y1: y(mark), y2: y(mark), stroke: "var(--faint)", "stroke-dasharray": "6 4" }));
    for (const line of [...lines].reverse()) { // the first one lies on top
      const path = line.values.map((value, k) => `${k ? "L" : "M"}${x(taus[k]).toFixed(1)} ${y(value).toFixed(1)}`).join("");
      svg.append(element("path", { d: path, class: "line", fill: "none", stroke: line.color, "stroke-width": 2 }));
    }
    for (const tau of new Set(runs.map((_, r) => tauOf(r)))) {
      if (tau !== null) svg.append(element("line", { class: "cursor", x1: x(tau), x2: x(tau), y1: top, y2: height - bottom, stroke: "var(--ink)", "stroke-dasharray": "3 3" }));
    }
    return svg;
  }

  function renderCurves() {
    const taus = runs[0].curves.taus;
    if (!taus) return;
    const lines = [];
    runs.forEach((run, r) => {
      const names = Object.keys(run.curves).filter((name) => name !== "taus");
      for (const name of isComparison ? [`GT-known, IoU ${run.delta}`] : names) {
        if (!run.curves[name]) continue;
        const tau = tauOf(r);
        const nearest = taus.reduce((best, each, k) => (Math.abs(each - tau) < Math.abs(taus[best] - tau) ? k : best), 0);
        lines.push({ name: isComparison ? `${run.name}: ${name}` : name, color: LINE_COLORS[lines.length % LINE_COLORS.length], values: run.curves[name], current: run.curves[name][nearest] });
      }
    });
    const series = element("ul", { class: "series" });
    for (const line of lines) series.append(element("li", {}, element("span", { class: "swatch", style: `background:${line.color}` }), `${line.name}: ${line.current.toFixed(1)} %`));
    $("curve").replaceChildren(drawPlot(taus, lines, 280, false), series);
  }

  function updateTau() {
    const taus = [...new Set(runs.map((_, r) => tauText(tauOf(r))))].join(", ");
    $("tau-value").textContent = taus;
    $("tau").setAttribute("aria-valuetext", `tau ${taus}`);
    $("tau-own").setAttribute("aria-pressed", String(atOwnTau()));
    const own = isComparison ? "each run's own threshold" : "the run's own threshold";
    $("tau-text").textContent = `The boxes below are drawn at ${atOwnTau() ? own : `this threshold; error types are those at ${own}`}.`;
    if (atOwnTau()) $("tau").value = nearestTauIndex(runs[state.run].tau ?? 0);
    renderCurves();
    renderLegend();
    updateSelection();
    render(true);
  }
  const nearestTauIndex = (tau) => header.taus.reduce((best, each, k) => (Math.abs(each - tau) < Math.abs(header.taus[best] - tau) ? k : best), 0);

  // ---- controls -----------------------------------------------------------------------------------------------------
  const hasWrongClass = runs[0].top1.some((label, i) => label !== arrays.labels[i]);

  function renderLegend() {
    const sample = (color, style, text) => element("span", {}, element("i", { class: "sample", style: `border-color:${color};border-style:${style}` }), text);
    const ownBox = runs[0].classifies ? "box of the true class" : "box";
    const boxes = isComparison
      ? runs.map((run, r) => sample(LINE_COLORS[r % LINE_COLORS.length], "solid", run.name))
      : [sample("var(--hit)", "solid", `${ownBox}, IoU ${runs[0].hitSigns[0]} ${runs[0].delta}`), sample("var(--miss)", "solid", `${ownBox}, IoU ${runs[0].hitSigns[1]} ${runs[0].delta}`), ...(atOwnTau() && hasWrongClass ? [sample("var(--predicted)", "dotted", "box of a wrong prediction")] : [])];
    $("legend").replaceChildren(sample("var(--truth)", "dashed", "ground truth"), ...boxes);
  }

  function fillOptions() {
    const options = [["all", "all"], ["found", "found"], ["missed", "missed"]];
    if (isComparison) runs.forEach((one, a) => runs.forEach((other, b) => { if (a !== b) options.push([`${a},${b}`, `found by ${one.name}, missed by ${other.name}`]); }));
    $("outcome").append(...options.map(([value, text]) => element("option", { value }, text)));
    $("run").append(...runs.map((run, r) => element("option", { value: r }, run.name)));
    $("run-label").hidden = !isComparison;
    if (runs.every((run) => run.score.every(Number.isNaN))) $("sort").querySelector("[value=score]").remove();
    $("opacity-label").hidden = !runs.some((run) => run.maps);
  }

  function oncePerFrame(work) { // merges all calls within a frame
    let waiting = 0;
    return () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(work); };
  }
  const refresh = oncePerFrame(() => {
    state.place = 0;
    updateSelection();
    const top = gallery.getBoundingClientRect().top - stickyHeight();
    if (top < 0) scrollBy(0, top - 8);
    render(true);
  });
  const scheduleTau = oncePerFrame(updateTau);
  $("search").addEventListener("input", () => { state.query = $("search").value; refresh(); });
  $("sort").addEventListener("change", () => { state.sort = $("sort").value; refresh(); });
  $("outcome").addEventListener("change", () => { state.outcome = $("outcome").value; refresh(); });
  $("run").addEventListener("change", () => { state.run = Number($("run").value); state.errors.clear(); updatePressed(); refresh(); });
  $("direction").addEventListener("click", () => {
    state.descending = !state.descending;
    $("direction").textContent = state.descending ? "Descending" : "Ascending";
    $("direction").setAttribute("aria-pressed", String(state.descending));
    refresh();
  });
  $("opacity").addEventListener("input", () => {
    for (const canvas of document.querySelectorAll(".frame canvas")) canvas.style.opacity = $("opacity").value / 100;
  });
  $("tau").addEventListener("input", () => { state.tauIndex = Number($("tau").value); scheduleTau(); });
  $("tau-own").addEventListener("click", () => { state.tauIndex = null; updateTau(); });
  const bars = [...document.querySelectorAll("[data-error]")];
  const updatePressed = () => bars.forEach((bar) => bar.setAttribute("aria-pressed", String(Number(bar.dataset.run) === state.run && state.errors.has(bar.dataset.error))));
  for (const bar of bars) {
    bar.addEventListener("click", () => {
      if (Number(bar.dataset.run) !== state.run) state.errors.clear();
      state.run = Number(bar.dataset.run);
      $("run").value = state.run;
      if (!state.errors.delete(bar.dataset.error)) state.errors.add(bar.dataset.error);
      updatePressed();
      refresh();
    });
  }
  for (const cell of document.querySelectorAll("[data-outcome]")) {
    cell.addEventListener("click", () => {
      state.outcome = $("outcome").value = cell.dataset.outcome;
      refresh();
      $("gallery-title").scrollIntoView();
    });
  }
  $("reset").addEventListener("click", () => {
    Object.assign(state, { query: "", outcome: "all", sort: "order", descending: false, place: 0, tauIndex: null });
    state.errors.clear();
    updatePressed();
    $("search").value = "";
    $("sort").value = "order";
    $("outcome").value = "all";
    $("direction").textContent = "Ascending";
    $("direction").setAttribute("aria-pressed", "false");
    updateTau();
  });
  function setTheme(dark) {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    $("theme").setAttribute("aria-pressed", String(dark));
  }
  setTheme(matchMedia("(prefers-color-scheme: dark)").matches);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => setTheme(event.matches));
  $("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme !== "dark"));
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !dialog.open && !["INPUT", "SELECT", "TEXTAREA"].includes(document.activeElement.tagName)) {
      event.preventDefault();
      $("search").focus();
    }
  });
  addEventListener("scroll", oncePerFrame(renderVisible), { passive: true });
  new ResizeObserver(oncePerFrame(renderCurves)).observe($("curve"));
  new ResizeObserver(() => { if (gallery.clientWidth && Math.abs(gallery.clientWidth - grid.width * grid.columns) > 1) render(true); }).observe(gallery);

  fillOptions();
  $("tau").max = Math.max(tauCount - 1, 0);
  $("curve-section").hidden = !tauCount;
  updateTau();
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
    return { header, arrays: Object.fromEntries(places) };
  }
})();
