"use strict";
{
  const byId = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";

  // Gallery. A pixel's code is the number of levels its score reaches, so `code >= k` is `score >= levels[k - 1]`.
  const MOST = 0.2; // a threshold that calls more than this share of all pixels anomalous shows nothing but itself
  const N_BARS = 48; // of a histogram
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
  const total = (rows, code) => rows.reduce((sum, row) => sum + row[code], 0);
  // The step of the slider with the best F1 of all pixels, and whether the DSC's calls nearly everything anomalous.
  const bestStep = ({ levels, normal, anomalous }) => {
    const all = total(anomalous, 0);
    const f1 = Array.from({ length: levels.length + 1 }, (_, code) => {
      const hits = total(anomalous, code);
      return (2 * hits) / (hits + total(normal, code) + all);
    });
    return all ? f1.indexOf(Math.max(...f1)) : null;
  };
  const calls = ({ normal, anomalous }, code) => total(normal, code) + total(anomalous, code);
  const callsMost = (method, code) => calls(method, code) > MOST * calls(method, 0);

  const element = (name, attributes, parent) => {
    const made = parent.appendChild(document.createElementNS(SVG, name));
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  // Red holds the code, green the truth. The first step makes red one where the code is reached; the matrix then colours
  // (red, green) = (1, 0) as a false positive, (0, 1) as missed, (1, 1) as found, and leaves (0, 0) transparent. What is
  // missed gets white stripes on top, so that no colour is needed to tell it.
  const TP = [0.94, 0.89, 0.26], FP = [0.84, 0.37, 0], FN = [0, 0.45, 0.7];
  const confusionFilter = (id, parent) => {
    const filter = element("filter", { id, x: 0, y: 0, width: 1, height: 1, "color-interpolation-filters": "sRGB" }, parent);
    const step = element("feFuncR", { type: "linear" }, element("feComponentTransfer", { result: "reached" }, filter));
    const rows = TP.map((_, c) => [TP[c] - FN[c], TP[c] - FP[c], 0, 0, FP[c] + FN[c] - TP[c]]);
    element("feColorMatrix", { values: [...rows, [0.5, 0.5, 0, 0, 0]].flat().join(" ") }, filter);
    element("feFuncA", { type: "discrete", tableValues: "0 0.7 0.7" }, element("feComponentTransfer", { result: "painted" }, filter));
    element("feColorMatrix", { in: "reached", values: "0 0 0 0 1  0 0 0 0 1  0 0 0 0 1  -1 1 0 0 0", result: "missed" }, filter);
    const [flood, tile] = [{ x: 0, y: 0, width: 6, height: 2 }, { x: 0, y: 0, width: 6, height: 5 }];
    element("feFlood", { ...flood, "flood-color": "#fff", result: "stripe" }, filter);
    element("feComposite", { ...tile, in: "stripe", in2: "stripe", operator: "over" }, filter);
    element("feTile", { result: "stripes" }, filter);
    element("feComposite", { in: "stripes", in2: "missed", operator: "in", result: "striped" }, filter);
    const merged = element("feMerge", {}, filter);
    for (const layer of ["painted", "striped"]) element("feMergeNode", { in: layer }, merged);
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
    const slider = row.querySelector(".slider");
    slider.value = code;
    slider.setAttribute("aria-valuetext", `score at least ${at}`);
    const called = percent(hits + alarms, all + negatives);
    row.querySelector(".said").textContent = code === method.bestCode && callsMost(method, method.dscCode ?? code)
      ? `This is the step with the best F1: the threshold of the DSC calls ${percent(calls(method, method.dscCode), calls(method, 0))} of all pixels anomalous.`
      : callsMost(method, code) ? `This threshold calls ${called} of all pixels anomalous.` : "";
    if (method === looked?.method) draw();
    for (const card of open.seen) captions(card, method);
  };
  const captions = (card, method) => {
    const caption = card.captions?.get(method);
    if (caption) caption.textContent = `Dice ${percent(dice(method, card.index), 1)} · ${method.label}`;
    const counts = card.counts?.get(method);
    if (counts) counts.textContent = said(method, card.index);
  };
  const said = ({ anomalous, normal, code }, i) => {
    const [hits, all, alarms] = [anomalous[i][code], anomalous[i][0], normal[i][code]];
    return (all ? `found ${Math.floor((100 * hits) / all)} %, ` : "") + `${alarms.toLocaleString("en")} px false`;
  };
  const picture = (view, name, source, alt) => {
    const image = view.appendChild(new Image());
    image.className = name;
    image.alt = alt;
    image.decoding = "async";
    image.src = `${open.folder}/${source}`;
    return image;
  };

  // One image large: photo, map, overlay and the histogram of its scores.
  let looked = null;
  const draw = () => {
    const { index, method } = looked;
    const { code, normal, anomalous, levels } = method;
    byId("large-slider").value = code;
    byId("large-slider").setAttribute("aria-valuetext", code ? `score at least ${method.levels[code - 1] ?? "any"}` : "any");
    const all = anomalous[index][0];
    byId("large-said").textContent = `${method.label}: Dice ${percent(dice(method, index), 1)}, ${said(method, index)}` +
      (all ? `, ${(all - anomalous[index][code]).toLocaleString("en")} of ${all.toLocaleString("en")} px missed` : ", no pixel is anomalous");
    const chart = byId("histogram");
    const [nCodes, middle, height] = [levels.length + 1, 95, 78];
    const step = Math.ceil(nCodes / N_BARS);
    const bars = [["normal", normal[index], -1], ["anomalous", anomalous[index], 1]];
    const counts = bars.map(([, row]) => Array.from({ length: Math.ceil(nCodes / step) }, (_, k) => row[k * step] - row[Math.min(nCodes, (k + 1) * step)]));
    const most = Math.log1p(Math.max(1, ...counts.flat()));
    chart.replaceChildren();
    bars.forEach(([kind, , side], which) => counts[which].forEach((n, k) => {
      const tall = (height * Math.log1p(n)) / most;
      const x = (640 * k * step) / nCodes;
      const bar = element("rect", { x, y: side < 0 ? middle - tall : middle, width: (640 * step) / nCodes - 1, height: tall, class: kind }, chart);
      element("title", {}, bar).textContent = `${n.toLocaleString("en")} ${kind} pixels`;
    }));
    element("line", { x1: 0, x2: 640, y1: middle, y2: middle }, chart);
    const at = (640 * code) / nCodes;
    element("line", { x1: at, x2: at, y1: 4, y2: 176, "stroke-dasharray": "4 3" }, chart);
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      const anchor = share === 0 ? "start" : share === 1 ? "end" : "middle";
      const label = element("text", { x: 640 * share, y: 188, "text-anchor": anchor }, chart);
      label.textContent = levels.length ? shortened(levels[Math.round(share * (levels.length - 1))]) : "";
    }
    element("text", { x: 4, y: 12 }, chart).textContent = "normal";
    element("text", { x: 4, y: 172 }, chart).textContent = "anomalous";
  };
  const look = (index, method) => {
    const { images, order, methods } = open;
    looked = { index, method };
    byId("large-name").textContent = `${images[index].name} (${order.indexOf(index) + 1} of ${order.length})`;
    byId("large-method").replaceChildren(...methods.map((each) => new Option(each.label, each.number, false, each === method)));
    byId("large-slider").max = method.levels.length + 1;
    for (const [pane, filter] of [["image", ""], ["map", "url(#heat)"], ["overlay", `url(#confusion-${method.number})`]]) {
      const view = byId(`large-${pane}`);
      view.replaceChildren();
      if (pane !== "map") picture(view, "photo", `${index}.jpg`, images[index].name);
      if (pane !== "image") picture(view, "map", `${index}-${method.number}.webp`, `${pane} of ${method.label}`).style.filter = filter;
    }
    byId("previous").disabled = order.indexOf(index) < 1;
    byId("next").disabled = order.indexOf(index) > order.length - 2;
    draw();
    if (!byId("large").open) byId("large").showModal();
  };
  const beside = (steps) => {
    const index = open.order[open.order.indexOf(looked.index) + steps];
    if (index !== undefined) look(index, looked.method);
  };

  const fill = (card) => {
    if (card.captions) return;
    const { methods, images } = open;
    [card.captions, card.counts] = [new Map(), new Map()];
    const title = card.appendChild(document.createElement("h3")).appendChild(document.createElement("button"));
    title.type = "button";
    title.className = "open";
    title.textContent = images[card.index].name;
    title.setAttribute("aria-label", `${images[card.index].name}: show it large`);
    title.addEventListener("click", () => look(card.index, methods.find((method) => method.shown) ?? methods[0]));
    const views = card.appendChild(document.createElement("div"));
    views.className = "views";
    for (const method of methods.filter((each) => each.shown)) {
      const figure = views.appendChild(document.createElement("figure"));
      const view = figure.appendChild(document.createElement("div"));
      view.className = "view";
      view.addEventListener("click", () => look(card.index, method));
      picture(view, "photo", `${card.index}.jpg`, images[card.index].name);
      const map = picture(view, "map", `${card.index}-${method.number}.webp`, `map of ${method.label}`);
      map.style.filter = byId("overlay").value === "heat" ? "url(#heat)" : `url(#confusion-${method.number})`;
      card.captions.set(method, figure.appendChild(document.createElement("figcaption")));
      card.counts.set(method, figure.appendChild(document.createElement("figcaption")));
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

  const isChosen = (method, i) => {
    const errors = byId("errors").value;
    const { code, anomalous, normal } = method;
    if (errors === "missed" && anomalous[i][code] === anomalous[i][0]) return false;
    if (errors === "false" && !normal[i][code]) return false;
    return 100 * dice(method, i) <= Number(byId("at-most").value || 100);
  };
  const depends = () => byId("order").value !== "name" || byId("errors").value || Number(byId("at-most").value || 100) < 100;
  const lay = () => { // lay the cards out again: another order, choice of images or of methods
    const { images, methods } = open;
    const [kind, order] = [byId("kind").value, byId("order").value];
    const first = methods.find((method) => method.shown) ?? methods[0];
    let chosen = images.map((_, i) => i).filter((i) => (!kind || images[i].kind === kind) && isChosen(first, i));
    if (order !== "name") {
      const { code, normal, anomalous } = first;
      const wrong = (i) => normal[i][code] + anomalous[i][0] - anomalous[i][code]; // among equal Dice
      chosen.sort((a, b) => (order === "worst" ? 1 : -1) * (dice(first, a) - dice(first, b) || wrong(b) - wrong(a)));
    }
    open.order = chosen;
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

  const show = (data, wanted) => {
    open = { ...data, seen: new Set() };
    const filters = byId("filters");
    filters.replaceChildren();
    heatFilter(filters);
    byId("methods").replaceChildren();
    open.methods = data.methods.map((each, number) => {
      const nCodes = each.levels.length + 1;
      const row = byId("method-row").content.firstElementChild.cloneNode(true);
      const method = {
        ...each, number, row, shown: wanted.method === undefined ? number < 2 : number === wanted.method,
        normal: atLeast(each.normal, nCodes), anomalous: atLeast(each.anomalous, nCodes),
        step: confusionFilter(`confusion-${number}`, filters),
      };
      [method.dscCode, method.bestCode] = [each.code, bestStep(method)];
      const clearer = each.code === null || (method.bestCode !== null && callsMost(method, each.code));
      const start = { dsc: each.code, f1: method.bestCode }[wanted.at] ?? (clearer ? method.bestCode : each.code);
      method.code = start ?? nCodes - 1;
      const [slider, box] = [row.querySelector(".slider"), row.querySelector("input")];
      row.querySelector("b").textContent = each.label;
      slider.max = nCodes;
      slider.setAttribute("aria-label", `threshold of ${each.label}`);
      let waiting = false;
      slider.addEventListener("input", () => {
        method.code = Number(slider.value);
        if (!waiting) requestAnimationFrame(() => { waiting = false; update(method); });
        waiting = true;
      });
      slider.addEventListener("change", () => { if (depends()) lay(); });
      for (const [name, code] of [["reset", each.code], ["best", method.bestCode]]) {
        const button = row.querySelector("." + name);
        button.disabled = code === null;
        button.setAttribute("aria-label", `${each.label}: ${button.title}`);
        button.addEventListener("click", () => { method.code = code; update(method); if (depends()) lay(); });
      }
      box.checked = method.shown;
      box.addEventListener("change", () => { method.shown = box.checked; lay(); });
      byId("methods").append(row);
      return method;
    });
    const kinds = [...new Set(data.images.map((image) => image.kind))].sort();
    byId("kind").replaceChildren(new Option("all", ""), ...kinds.map((kind) => new Option(kind, kind)));
    byId("viewer").hidden = false;
    if (wanted.method !== undefined) {
      byId("order").value = "worst";
      for (const id of ["kind", "errors"]) byId(id).value = "";
      byId("at-most").value = 100;
    }
    looked = null;
    lay();
    open.methods.forEach(update);
    if (wanted.scroll) {
      byId("gallery").scrollIntoView();
      byId("gallery-heading").focus({ preventScroll: true });
    }
  };

  let waitingFor = null; // the category that is being loaded, and how it is to be shown
  const load = (index, wanted = {}) => {
    byId("category").value = index;
    if (loaded.has(index)) return show(loaded.get(index), wanted);
    byId("gallery-state").textContent = "loading";
    waitingFor = { index, wanted };
    const script = document.createElement("script");
    script.src = `gallery/${index}/data.js`;
    script.onerror = () => { byId("gallery-state").textContent = `${script.src} cannot be read; keep the folder gallery beside this page`; };
    document.head.append(script);
  };
  window.asegGallery = (index, data) => {
    loaded.set(index, { ...data, folder: `gallery/${index}` });
    if (waitingFor?.index === index) show(loaded.get(index), waitingFor.wanted);
  };

  const category = byId("category");
  if (category) {
    // #gallery-CATEGORY, #gallery-CATEGORY-METHOD and #gallery-CATEGORY-METHOD-THRESHOLD open the gallery there.
    const follow = () => {
      const found = /^#gallery-(\d+)(?:-(\d+)(?:-(dsc|f1))?)?$/.exec(location.hash);
      if (!found || Number(found[1]) >= category.options.length) return false;
      load(Number(found[1]), { method: found[2] && Number(found[2]), at: found[3], scroll: true });
      return true;
    };
    addEventListener("hashchange", follow);
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[href^='#gallery-']");
      if (link && link.hash === location.hash) follow(); // the address does not change, so nothing else would tell
    });
    category.addEventListener("change", () => load(Number(category.value)));
    for (const id of ["kind", "errors", "at-most", "order", "overlay"]) byId(id).addEventListener("change", lay);
    byId("edge").addEventListener("input", (event) => document.documentElement.style.setProperty("--edge", `${event.target.value}px`));
    byId("options").addEventListener("submit", (event) => event.preventDefault());
    const large = byId("large");
    byId("close").addEventListener("click", () => large.close());
    large.addEventListener("close", () => { looked = null; });
    large.addEventListener("click", (event) => { if (event.target === large) large.close(); }); // on the backdrop
    large.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (steps && event.target.id !== "large-slider" && event.target.tagName !== "SELECT") beside(steps);
    });
    byId("previous").addEventListener("click", () => beside(-1));
    byId("next").addEventListener("click", () => beside(1));
    byId("large-method").addEventListener("change", (event) => look(looked.index, open.methods[event.target.value]));
    byId("large-slider").addEventListener("input", (event) => {
      looked.method.code = Number(event.target.value);
      update(looked.method);
    });
    const near = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      near.disconnect();
      if (!open && !waitingFor) load(Number(category.dataset.worst));
    }, { rootMargin: "600px" });
    if (follow()) addEventListener("load", () => byId("gallery").scrollIntoView()); // by then the gallery has its height
    else near.observe(byId("gallery"));
  }
}
