"use strict";
{
  const byId = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";

  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  // Tables: a heading sorts the rows of each block; what is no number (a dash) stays last.
  const numberOf = (text) => (/^-?\d/.test(text) ? parseFloat(text) : null);
  const compare = (a, b, sign) => {
    const [x, y] = [numberOf(a), numberOf(b)];
    if (x !== null && y !== null) return sign * (x - y);
    if (x !== null || y !== null) return x !== null ? -1 : 1;
    return sign * a.localeCompare(b, undefined, { numeric: true });
  };
  const sortRows = (table, heading, column) => {
    const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter((row) => !row.classList.contains("block"));
      const text = new Map(rows.map((row) => [row, row.cells[column].textContent.trim()]));
      rows.sort((a, b) => compare(text.get(a), text.get(b), sign));
      body.append(...rows);
    }
  };
  for (const table of document.querySelectorAll("table")) {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      button.addEventListener("click", () => sortRows(table, heading, column));
      heading.append(button);
    });
  }
  byId("filter").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/);
    for (const row of document.querySelectorAll(".filtered tbody tr")) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });

  // Gallery. A pixel's code is the number of levels its score reaches, so `code >= k` is `score >= levels[k - 1]`.
  const loaded = new Map();
  let open = null; // the category on show: its data with the rows, filters and cards made from them

  // Pixels of at least each code, per image; a 0 in place of a row stands for none at all.
  const atLeast = (rows, nCodes) => rows.map((row) => {
    const sum = new Int32Array(nCodes + 1);
    for (let k = nCodes - 1; row && k >= 0; k--) sum[k] = sum[k + 1] + row[k];
    return sum;
  });
  const percent = (part, whole) => (whole ? ((100 * part) / whole).toFixed(2) + " %" : "–");
  const shortened = (score) => (score && Math.abs(score) < 1e-3 ? score.toExponential(2) : score.toPrecision(4));
  const dice = (method, i) => {
    const [hits, alarms, all] = [method.anomalous[i][method.code], method.normal[i][method.code], method.anomalous[i][0]];
    if (!all) return hits + alarms ? 0 : 1;
    return (2 * hits) / (hits + alarms + all);
  };

  const element = (name, attributes, parent) => {
    const made = parent.appendChild(document.createElementNS(SVG, name));
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  // Red holds the code, green the truth. The first step makes red one where the code is reached; the matrix then colours
  // (red, green) = (1, 0) as a false positive, (0, 1) as missed, (1, 1) as found, and leaves (0, 0) transparent.
  const TP = [0.94, 0.89, 0.26], FP = [0.84, 0.37, 0], FN = [0, 0.45, 0.7];
  const confusionFilter = (id, parent) => {
    const filter = element("filter", { id, x: 0, y: 0, width: 1, height: 1, "color-interpolation-filters": "sRGB" }, parent);
    const step = element("feFuncR", { type: "linear" }, element("feComponentTransfer", {}, filter));
    const rows = TP.map((_, c) => [TP[c] - FN[c], TP[c] - FP[c], 0, 0, FP[c] + FN[c] - TP[c]]);
    element("feColorMatrix", { values: [...rows, [0.5, 0.5, 0, 0, 0]].flat().join(" ") }, filter);
    element("feFuncA", { type: "discrete", tableValues: "0 0.7 0.7" }, element("feComponentTransfer", {}, filter));
    return step;
  };
  const heatFilter = (parent) => {
    const filter = element("filter", { id: "heat", x: 0, y: 0, width: 1, height: 1, "color-interpolation-filters": "sRGB" }, parent);
    element("feColorMatrix", { values: "1 0 0 0 0  1 0 0 0 0  1 0 0 0 0  0 0 0 0.85 0" }, filter);
    const transfer = element("feComponentTransfer", {}, filter);
    const ramp = { R: "0 0.19 0.36 0.49 0.64 0.80 1", G: "0.13 0.24 0.36 0.48 0.61 0.75 0.92", B: "0.30 0.43 0.43 0.47 0.45 0.38 0.20" };
    for (const [channel, tableValues] of Object.entries(ramp)) element("feFunc" + channel, { type: "table", tableValues }, transfer);
  };

  const update = (method) => {
    const { code, normal, anomalous, row } = method;
    method.step.setAttribute("slope", 510);
    method.step.setAttribute("intercept", 1 - 2 * code);
    let [hits, alarms, all, negatives, sum] = [0, 0, 0, 0, 0];
    for (let i = 0; i < normal.length; i++) {
      hits += anomalous[i][code];
      alarms += normal[i][code];
      all += anomalous[i][0];
      negatives += normal[i][0];
      sum += dice(method, i);
    }
    const at = code === 0 ? "any" : code > method.levels.length ? "none" : shortened(method.levels[code - 1]);
    const texts = {
      at, precision: percent(hits, hits + alarms), recall: percent(hits, all), dsc: percent(sum, normal.length),
      tp: hits, fp: alarms, fn: all - hits, tn: negatives - alarms,
    };
    for (const [name, text] of Object.entries(texts)) row.querySelector("." + name).textContent = text.toLocaleString("en");
    row.querySelector(".slider").setAttribute("aria-valuetext", `score at least ${at}`);
    for (const card of open.seen) captions(card, method);
  };
  const captions = (card, method) => {
    const caption = card.captions?.get(method);
    if (caption) caption.textContent = `Dice ${percent(dice(method, card.index), 1)} · ${method.label}`;
  };

  const fill = (card) => {
    if (card.captions) return;
    const { folder, methods, images } = open;
    card.captions = new Map();
    const title = card.appendChild(document.createElement("h3"));
    title.textContent = images[card.index].name;
    const views = card.appendChild(document.createElement("div"));
    views.className = "views";
    for (const method of methods.filter((each) => each.shown)) {
      const figure = views.appendChild(document.createElement("figure"));
      const view = figure.appendChild(document.createElement("div"));
      view.className = "view";
      for (const [name, source] of [["photo", `${card.index}.jpg`], ["map", `${card.index}-${method.number}.webp`]]) {
        const image = view.appendChild(new Image());
        image.className = name;
        image.alt = name === "photo" ? images[card.index].name : `map of ${method.label}`;
        image.decoding = "async";
        image.src = `${folder}/${source}`;
        if (name === "map") image.style.filter = byId("overlay").value === "heat" ? "url(#heat)" : `url(#confusion-${method.number})`;
      }
      card.captions.set(method, figure.appendChild(document.createElement("figcaption")));
      captions(card, method);
    }
  };
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!open || !target.isConnected) continue;
      if (!isIntersecting) { open.seen.delete(target); continue; }
      open.seen.add(target);
      fill(target);
      for (const method of open.methods) captions(target, method);
    }
  }, { rootMargin: "300px" });

  const lay = () => { // lay the cards out anew: another order, choice of defects or of methods
    const { images, methods } = open;
    const [kind, order] = [byId("kind").value, byId("order").value];
    const first = methods.find((method) => method.shown) ?? methods[0];
    let chosen = images.map((_, i) => i).filter((i) => !kind || images[i].kind === kind);
    if (order !== "name") {
      const value = new Map(chosen.map((i) => [i, dice(first, i)]));
      chosen.sort((a, b) => (order === "worst" ? 1 : -1) * (value.get(a) - value.get(b)));
    }
    watcher.disconnect();
    open.seen.clear();
    const cards = byId("cards");
    cards.className = byId("overlay").value;
    cards.style.setProperty("--views", methods.filter((method) => method.shown).length || 1);
    cards.replaceChildren(...chosen.map((index) => {
      const card = document.createElement("article");
      card.className = "card";
      card.index = index;
      watcher.observe(card);
      return card;
    }));
    byId("gallery-state").textContent = `${chosen.length} of ${images.length} images`;
  };

  const show = (data) => {
    open = { ...data, seen: new Set() };
    const filters = byId("filters");
    filters.replaceChildren();
    heatFilter(filters);
    byId("methods").replaceChildren();
    open.methods = data.methods.map((each, number) => {
      const nCodes = each.levels.length + 1;
      const row = byId("method-row").content.firstElementChild.cloneNode(true);
      const method = {
        ...each, number, row, shown: number < 2, code: each.code ?? nCodes - 1,
        normal: atLeast(each.normal, nCodes), anomalous: atLeast(each.anomalous, nCodes),
        step: confusionFilter(`confusion-${number}`, filters),
      };
      const [slider, box, reset] = [row.querySelector(".slider"), row.querySelector("input"), row.querySelector(".reset")];
      row.querySelector("b").textContent = each.label;
      slider.max = nCodes;
      slider.value = method.code;
      slider.setAttribute("aria-label", `threshold of ${each.label}`);
      let waiting = false;
      slider.addEventListener("input", () => {
        method.code = Number(slider.value);
        if (!waiting) requestAnimationFrame(() => { waiting = false; update(method); });
        waiting = true;
      });
      reset.disabled = each.code === null;
      reset.addEventListener("click", () => { slider.value = method.code = each.code; update(method); });
      box.checked = method.shown;
      box.addEventListener("change", () => { method.shown = box.checked; lay(); });
      byId("methods").append(row);
      return method;
    });
    const kinds = [...new Set(data.images.map((image) => image.kind))].sort();
    byId("kind").replaceChildren(new Option("all", ""), ...kinds.map((kind) => new Option(kind, kind)));
    byId("viewer").hidden = false;
    lay();
    open.methods.forEach(update);
  };

  const load = (index) => {
    location.replace(`#gallery-${index}`);
    const folder = `gallery/${index}`;
    if (loaded.has(index)) return show(loaded.get(index));
    byId("gallery-state").textContent = "loading";
    const script = document.createElement("script");
    script.src = `${folder}/data.js`;
    script.onerror = () => { byId("gallery-state").textContent = `${script.src} cannot be read; keep the folder gallery beside this page`; };
    document.head.append(script);
  };
  window.asegGallery = (index, data) => {
    loaded.set(index, { ...data, folder: `gallery/${index}` });
    if (byId("category").value === String(index)) show(loaded.get(index));
  };

  const category = byId("category");
  if (category) {
    category.addEventListener("change", () => { if (category.value) load(Number(category.value)); });
    for (const id of ["kind", "order", "overlay"]) byId(id).addEventListener("change", lay);
    byId("edge").addEventListener("input", (event) => document.documentElement.style.setProperty("--edge", `${event.target.value}px`));
    byId("options").addEventListener("submit", (event) => event.preventDefault());
    const wanted = /^#gallery-(\d+)$/.exec(location.hash);
    if (wanted && Number(wanted[1]) < category.options.length - 1) {
      category.value = wanted[1];
      load(Number(wanted[1]));
      addEventListener("load", () => byId("gallery").scrollIntoView()); // by then the gallery has its height
    }
  }
}
