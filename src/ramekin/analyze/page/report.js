"use strict";
// Draws the report that stands in the page as JSON (page/model.py). Only treemaps need the chart library.
(() => {
  const report = JSON.parse(document.getElementById("report").textContent);
  const main = document.getElementById("main");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const SHOWN = 200;
  const BELOW = 60;

  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim() || colour("other");
  const count = number => number.toLocaleString("en-US");

  function size(bytes) {
    let value = bytes;
    for (const unit of ["B", "kB", "MB", "GB", "TB"]) {
      if (Math.abs(value) < 999.5 || unit === "TB") {
        return unit === "B" ? `${bytes} B` : `${value.toFixed(Math.abs(value) < 99.5 ? 1 : 0)} ${unit}`;
      }
      value /= 1000;
    }
  }

  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children);
    return element;
  }

  function swatch(name) {
    const mark = make("i", { "aria-hidden": "true" });
    mark.style.background = `var(--${name}, var(--other))`;
    return mark;
  }

  function heading() {
    document.getElementById("head").append(
      make("h1", {}, report.title),
      make("p", { class: "soft mono" }, report.subtitle),
      make("dl", { class: "figures" }, ...report.figures.map(figure =>
        make("div", { class: "figure" }, make("dt", {}, figure.label), make("dd", {}, figure.value), make("dd", {}, figure.note)))),
    );
  }

  function bars(group) {
    const largest = Math.max(1, ...group.bars.map(bar => bar.parts.reduce((sum, part) => sum + part.size, 0)));
    const rows = group.bars.map(bar => {
      const track = make("span", { class: "track", "aria-hidden": "true" });
      for (const part of bar.parts) {
        const piece = make("span");
        piece.style.width = `${(100 * part.size) / largest}%`;
        piece.style.background = `var(--${part.colour})`;
        track.append(piece);
      }
      const label = make("span", { class: "label", title: bar.label }, bar.label);
      if (bar.detail) label.append(make("span", { class: "soft" }, make("br"), bar.detail));
      return make("li", {}, label, track, make("span", { class: "amount" }, bar.text));
    });
    main.append(make("section", {}, make("h2", {}, group.title), make("p", { class: "soft" }, group.note),
      make("ul", { class: "legend" }, ...group.legend.map(([name, text]) => make("li", {}, swatch(name), text))),
      make("ul", { class: "bars", tabindex: rows.length > 12 ? "0" : null, "aria-label": group.title }, ...rows)));
  }

  // --- treemaps ---------------------------------------------------------------------------------------------

  async function library() {
    const packed = Uint8Array.from(atob(document.getElementById("library").textContent), letter => letter.charCodeAt(0));
    const text = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).blob();
    const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    await new Promise((resolve, reject) => {
      document.head.append(make("script", { src: address, onload: resolve, onerror: () => reject(new Error("the chart library does not load")) }));
    });
    URL.revokeObjectURL(address);
  }

  function nodesOf(map) {
    const nodes = map.nodes.map(([name, parent, bytes, files, systems, waste], place) =>
      ({ name: name || "/", parent, size: bytes, files, systems, waste, place, below: [] }));
    for (const node of nodes) if (node.parent >= 0) nodes[node.parent].below.push(node);
    for (const node of nodes) node.below.sort((one, other) => other.size - one.size);
    return nodes;
  }

  const largest = parts => Object.entries(parts).sort((one, other) => other[1] - one[1])[0]?.[0] ?? "nobody";
  const wasted = node => Object.values(node.waste).reduce((sum, bytes) => sum + bytes, 0);

  function mix(one, other, share) {
    const parts = text => [1, 3, 5].map(start => parseInt(text.slice(start, start + 2), 16));
    const from = parts(one), to = parts(other);
    return `#${from.map((value, n) => Math.round(value + (to[n] - value) * share).toString(16).padStart(2, "0")).join("")}`;
  }

  // what a colouring by waste calls a part that is nothing else
  const wasteful = report.colourings.find(one => one.by === "waste")?.high ?? "could do without";

  function explain(node) {
    const waste = wasted(node);
    const list = parts => Object.entries(parts).sort((a, b) => b[1] - a[1]).slice(0, 4).map(([name, bytes]) => `${name} ${size(bytes)}`).join(", ");
    return `${size(node.size)} in ${count(node.files)} ${node.files === 1 ? "file" : "files"}; ${list(node.systems)}` + (waste ? `; ${wasteful}: ${list(node.waste)}` : "");
  }

  async function treemaps() {
    const maps = report.maps.map(map => ({ name: map.name, nodes: nodesOf(map) }));
    const state = { map: maps[0], by: report.colourings[0]?.by ?? "systems", level: 0 };
    const trail = make("ol", { class: "trail", "aria-label": "Where the map is" });
    const drawing = make("div", { class: "map", id: "map", role: "img", tabindex: "0", "aria-label": "Treemap; the list below it has the same parts as buttons" });
    const below = make("ul", { class: "below", id: "below" });
    const legend = make("ul", { class: "legend", id: "map-legend" });
    const said = make("p", { class: "soft", "aria-live": "polite", id: "said" });
    const choice = (title, name, options, chosen, act) => make("fieldset", {}, make("legend", {}, title), ...options.map((text, n) =>
      make("label", {}, make("input", { type: "radio", name, value: String(n), checked: n === chosen, onchange: () => act(n) }), ` ${text}`)));
    const controls = make("div", { class: "controls" });
    if (maps.length > 1) controls.append(choice(report.map_choice, "map", maps.map(map => map.name), 0, n => { state.map = maps[n]; state.level = 0; draw(); }));
    if (report.colourings.length > 1) controls.append(choice("Coloured by", "by", report.colourings.map(one => one.name), 0, n => { state.by = report.colourings[n].by; draw(); }));
    main.append(make("section", { id: "treemap" }, make("h2", {}, report.map_title), controls, legend, trail, drawing, said, below));

    function paint(node) {
      if (state.by === "waste") return mix(colour("clean"), colour("lost"), node.size ? wasted(node) / node.size : 0);
      return colour(largest(node.systems));
    }

    function go(place) {
      state.level = place;
      draw();
    }

    function up() {
      const parent = state.map.nodes[state.level].parent;
      if (parent >= 0) go(parent);
    }

    function draw() {
      const { nodes } = state.map;
      const here = nodes[state.level];
      const path = [];
      for (let node = here; node; node = nodes[node.parent]) path.unshift(node);
      trail.replaceChildren(...path.map(node => make("li", {}, node === here ? make("strong", {}, node.name) : make("button", { type: "button", onclick: () => go(node.place) }, node.name))));
      said.textContent = `${here.name}: ${explain(here)}`;
      below.replaceChildren(...here.below.slice(0, BELOW).map(node => make("li", {},
        node.below.length ? make("button", { type: "button", title: explain(node), onclick: () => { go(node.place); (below.querySelector("button") || trail.querySelector("button") || drawing).focus(); } }, `${node.name}/`) : make("span", { class: "name", title: explain(node) }, node.name),
        make("span", { class: "amount" }, size(node.size)))));
      if (here.below.length > BELOW) below.append(make("li", { class: "soft" }, `and ${count(here.below.length - BELOW)} more`));
      const spoken = report.colourings.find(one => one.by === "waste");
      const keys = state.by === "waste" ? [["clean", spoken.low], ["lost", spoken.high]]
        : [...new Set(nodes.map(node => largest(node.systems)))].map(name => [name, name]);
      legend.replaceChildren(...keys.map(([name, text]) => make("li", {}, swatch(name), text)));
      if (!window.Plotly) return;
      const text = colour("text");
      const trace = {
        type: "treemap", branchvalues: "total", maxdepth: 4, level: String(state.level), sort: true,
        ids: nodes.map(node => String(node.place)), labels: nodes.map(node => node.name),
        parents: nodes.map(node => (node.parent < 0 ? "" : String(node.parent))), values: nodes.map(node => node.size),
        customdata: nodes.map(explain), text: nodes.map(node => size(node.size)),
        texttemplate: "%{label}<br>%{text}", hovertemplate: "<b>%{label}</b><br>%{customdata}<extra></extra>",
        marker: { colors: nodes.map(paint), line: { width: 1, color: colour("card") }, pad: { t: 20, l: 3, r: 3, b: 3 } },
        textfont: { color: nodes.map(node => readable(paint(node))), size: 12 }, pathbar: { visible: false }, tiling: { packing: "squarify", pad: 1 },
      };
      const layout = { margin: { t: 0, l: 0, r: 0, b: 0 }, paper_bgcolor: colour("card"), font: { color: text, family: "system-ui, sans-serif" }, hoverlabel: { align: "left" } };
      window.Plotly.react(drawing, [trace], layout, { displayModeBar: false, responsive: true });
    }

    drawing.addEventListener("keydown", event => {
      const node = state.map.nodes[state.level];
      if (event.key === "Backspace" || event.key === "Escape" || event.key === "ArrowUp") up();
      else if (event.key === "Enter" || event.key === "ArrowDown") { const next = node.below.find(one => one.below.length); if (next) go(next.place); }
      else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
        const siblings = (state.map.nodes[node.parent]?.below ?? []).filter(one => one.below.length);
        const next = siblings[siblings.indexOf(node) + (event.key === "ArrowRight" ? 1 : -1)];
        if (next) go(next.place);
      } else return;
      event.preventDefault();
    });
    draw();
    await library();
    draw();
    drawing.on("plotly_treemapclick", event => {
      const place = Number(event.points[0].id);
      // a click on the level that is shown goes up
      if (place === state.level) up();
      else if (state.map.nodes[place].below.length) go(place);
      return false;
    });
    dark.addEventListener("change", draw);
    document.body.dataset.drawn = "yes";
  }

  function readable(background) {
    const [red, green, blue] = [1, 3, 5].map(start => parseInt(background.slice(start, start + 2), 16) / 255)
      .map(value => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#111111" : "#ffffff";
  }

  // --- a matrix ---------------------------------------------------------------------------------------------

  function matrix(part) {
    const rows = part.names.map((name, i) => make("tr", {}, make("th", { scope: "row" }, name), ...part.values[i].map((bytes, j) => {
      const cell = make("td", { title: `${name} and ${part.names[j]}: ${size(bytes)}` }, `${Math.round(100 * part.shares[i][j])}`);
      cell.style.background = `color-mix(in srgb, var(--kept) ${Math.round(85 * part.shares[i][j])}%, var(--card))`;
      return cell;
    })));
    main.append(make("section", {}, make("h2", {}, part.title), make("p", { class: "soft" }, part.note),
      make("div", { class: "matrix", tabindex: "0", role: "region", "aria-label": part.title }, make("table", {}, make("thead", {}, make("tr", {}, make("td"),
        ...part.names.map((name, n) => make("th", { scope: "col", title: name }, String(n + 1))))), make("tbody", {}, ...rows)))));
  }

  // --- tables -----------------------------------------------------------------------------------------------

  function tables() {
    const there = report.tables.filter(table => table.rows.length);
    if (!there.length) return;
    const state = { table: there[0], sort: null, down: true, shown: SHOWN };
    const search = make("input", { type: "search", id: "search", placeholder: "Search, as in usr/lib .so", "aria-label": "Search the table", oninput: () => { state.shown = SHOWN; draw(); } });
    const found = make("p", { class: "soft", "aria-live": "polite", id: "found" });
    const place = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table" });
    const tabs = make("div", { class: "tabs", role: "tablist" }, ...there.map((table, n) => make("button", {
      type: "button", role: "tab", "aria-selected": n === 0 ? "true" : "false", tabindex: n === 0 ? "0" : "-1",
      onclick: event => choose(table, event.target),
      onkeydown: event => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        const next = step && tabs.children[(n + step + there.length) % there.length];
        if (next) { next.focus(); next.click(); }
      },
    }, `${table.name} (${count(table.total || table.rows.length)})`)));

    function choose(table, tab) {
      Object.assign(state, { table, sort: null, down: true, shown: SHOWN });
      for (const one of tabs.children) {
        one.setAttribute("aria-selected", String(one === tab));
        one.tabIndex = one === tab ? 0 : -1;
      }
      draw();
    }

    function draw(focus) {
      const { table } = state;
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      let rows = table.rows.filter(row => words.every(word => row.some(cell => String(cell ?? "").toLowerCase().includes(word))));
      if (state.sort !== null) {
        const compare = (a, b) => (typeof a === "number" || typeof b === "number" ? (a ?? -1) - (b ?? -1) : String(a ?? "").localeCompare(String(b ?? "")));
        rows = [...rows].sort((one, other) => compare(one[state.sort], other[state.sort]) * (state.down ? -1 : 1));
      }
      found.textContent = `${count(rows.length)} of ${count(table.rows.length)} rows. ${table.note}`;
      const isNumber = column => column.kind === "size" || column.kind === "count";
      const head = table.columns.map((column, n) => make("th", { scope: "col", class: isNumber(column) ? "number" : null, "aria-sort": state.sort === n ? (state.down ? "descending" : "ascending") : null },
        make("button", { type: "button", onclick: () => { state.down = state.sort === n ? !state.down : isNumber(column); state.sort = n; draw(n); } }, column.title + (state.sort === n ? (state.down ? " ▼" : " ▲") : ""))));
      const spell = (cell, column) => (cell === null ? "" : column.kind === "size" ? size(cell) : column.kind === "count" ? count(cell) : cell);
      const body = rows.slice(0, state.shown).map(row => make("tr", {}, ...row.map((cell, n) =>
        make("td", { class: isNumber(table.columns[n]) ? "number" : table.columns[n].kind === "path" ? "path" : null }, spell(cell, table.columns[n])))));
      place.replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body)));
      if (rows.length > state.shown) place.append(make("button", { type: "button", onclick: () => { state.shown += 5 * SHOWN; draw(); } }, `Show ${count(Math.min(5 * SHOWN, rows.length - state.shown))} more`));
      if (focus !== undefined) place.querySelectorAll("th button")[focus].focus();
    }

    main.append(make("section", { id: "tables" }, make("h2", {}, "Tables"), tabs, search, found, place));
    draw();
  }

  heading();
  for (const group of report.bars) if (group.bars.length) bars(group);
  const drawn = report.maps.length ? treemaps() : Promise.resolve();
  if (report.matrix) matrix(report.matrix);
  tables();
  if (report.notes.length) main.append(make("section", {}, make("h2", {}, "How this was counted"), ...report.notes.map(note => make("p", {}, note))));
  drawn.catch(error => {
    document.getElementById("map")?.replaceChildren(make("p", {}, `The map cannot be drawn: ${error.message}`));
    console.error(error);
  });
})();
