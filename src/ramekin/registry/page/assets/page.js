// The page: one state, and functions that show parts of it. Nothing is kept but in the address (#/NAME:TAG).

const $ = (id) => document.getElementById(id);

/** An element: h("a", {href: "#"}, "text", child, …). Properties are set, other names are attributes. */
function h(kind, given = {}, ...children) {
  const element = document.createElement(kind);
  for (const [name, value] of Object.entries(given)) {
    if (name in element && !name.startsWith("aria")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const units = [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"], [1, "B"]];
function measure(bytes) {
  const [base, unit] = units.find(([base]) => bytes >= base * 0.9995) || [1, "B"];
  const number = bytes / base;
  return [base === 1 || number >= 99.95 ? number.toFixed(0) : number.toFixed(1), unit];
}
const size = (bytes) => measure(bytes).join(" ");
const count = (number, one, many = one + "s") => `${number} ${number === 1 ? one : many}`;

const letters = { p: "+", d: ".", h: "-", e: "=", c: ":", t: "~" };
const unspell = (text) =>
  text.replace(/^x_x/, "").replace(/_u([a-z])|_([pdhect])/g, (_, capital, letter) => capital ? capital.toUpperCase() : letters[letter]);

async function ask(path, query = {}, options = {}) {
  const answer = await fetch(`/api/${path}?${new URLSearchParams(query)}`, options);
  const type = answer.headers.get("content-type") || "";
  const body = type.includes("json") ? await answer.json() : await answer.text();
  if (!answer.ok || body.error) throw new Error(body.error || `the registry answered ${answer.status}`);
  return body;
}

const state = {
  status: { host: location.host, makes: true, specs: [], may: {} },
  words: [],          // components of the name, as they are spelled
  shell: false, platform: "", tag: "latest",
  view: null, tool: "docker", repositories: [],
  ticked: new Map(),  // repository -> set of its layers' marks
};

const path = () => [state.platform, state.shell ? "shell" : "", ...[...state.words].sort()].filter(Boolean).join("/");
const reference = () => `${state.status.host}/${path()}:${state.tag}`;

// --- what is said

function say(text = "", bad = false) {
  $("say").textContent = text;
  $("say").classList.toggle("bad", bad);
}

function copyable(text) {
  const named = (label, told = label) => { button.textContent = label; button.setAttribute("aria-label", told); };
  const button = h("button", { className: "copy", type: "button" });
  const rest = () => named("Copy", `Copy ${text.split("\n")[0]}`);
  rest();
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.body.appendChild(h("textarea", { value: text, readOnly: true }));
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    named("Copied");
    setTimeout(rest, 1500);
  });
  return button;
}

// --- choosing packages

let found = [], active = -1, searching = null, timer = 0;

function showSuggestions() {
  const list = $("suggestions");
  list.replaceChildren(...found.map((one, place) => {
    const item = h("li", { role: "option", id: `option-${place}`, "aria-selected": String(place === active) },
      h("b", {}, one.name), h("i", {}, one.size ? `${size(one.size)}, ${size(one.unpacked)} unpacked` : ""),
      h("span", {}, one.description || "No description"));
    item.addEventListener("mousedown", (event) => { event.preventDefault(); choose(one); });
    return item;
  }));
  list.hidden = !found.length;
  $("words").setAttribute("aria-expanded", String(!list.hidden));
  if (active >= 0 && !list.hidden) {
    $("words").setAttribute("aria-activedescendant", `option-${active}`);
    $(`option-${active}`).scrollIntoView({ block: "nearest" });
  } else $("words").removeAttribute("aria-activedescendant");
}

function closeSuggestions() {
  found = [];
  active = -1;
  showSuggestions();
}

async function search() {
  const words = $("words").value.trim();
  searching?.abort();
  searching = new AbortController();
  if (!words) return closeSuggestions();
  try {
    const answer = await ask("search", { q: words }, { signal: searching.signal });
    found = answer.found.filter((one) => !state.words.includes(one.spelled));
    active = found.length && found[0].name === words ? 0 : -1;
    showSuggestions();
    say(found.length ? count(found.length, "suggestion") : `No package has “${words}” in its name or description.`, !found.length);
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, true);
  }
}

function choose(one) {
  if (!state.words.includes(one.spelled)) state.words.push(one.spelled);
  $("words").value = "";
  closeSuggestions();
  changed();
}

function remove(word) {
  state.words = state.words.filter((other) => other !== word);
  changed();
  $("words").focus();
}

function showChosen() {
  $("chosen").replaceChildren(...state.words.map((word) => {
    const button = h("button", { type: "button", "aria-label": `Remove ${unspell(word)}` }, unspell(word));
    button.addEventListener("click", () => remove(word));
    return h("li", {}, button);
  }));
  $("words").placeholder = state.words.length ? "" : "redis-server, curl, …";
}

$("words").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, 90); });
$("words").addEventListener("blur", () => setTimeout(closeSuggestions, 100));
$("words").addEventListener("keydown", async (event) => {
  const value = event.target.value.trim();
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    if (!found.length) return;
    event.preventDefault();
    const step = event.key === "ArrowDown" ? 1 : -1;
    active = active < 0 && step < 0 ? found.length - 1 : (active + step + found.length) % found.length;
    showSuggestions();
  } else if (event.key === "Enter" || event.key === ",") {
    event.preventDefault();
    if (!value) return;
    if (active < 0) {
      clearTimeout(timer);
      await search();
    }
    const one = found[active] || found.find((other) => other.name === value) || found[0];
    if (one) choose(one);
  } else if (event.key === "Escape") closeSuggestions();
  else if (event.key === "Backspace" && !event.target.value && state.words.length) remove(state.words.at(-1));
});
$("field").addEventListener("click", (event) => { if (event.target === $("field")) $("words").focus(); });
$("shell").addEventListener("change", (event) => { state.shell = event.target.checked; changed(); });
$("tag").addEventListener("change", (event) => { state.tag = event.target.value.trim() || "latest"; changed(); });
for (const radio of document.getElementsByName("platform"))
  radio.addEventListener("change", () => { state.platform = radio.value; changed(); });

// --- the address

function changed() {
  history.replaceState(null, "", path() ? `#/${path()}:${state.tag}` : location.pathname);
  show();
}

function readAddress() {
  const match = /^#\/([^:]*)(?::(.+))?$/.exec(decodeURIComponent(location.hash));
  if (!match) return location.hash.length < 2;
  let parts = match[1].split("/").filter(Boolean);
  state.platform = ["amd64", "arm64"].includes(parts[0]) ? parts.shift() : "";
  state.shell = parts[0] === "shell";
  state.words = state.shell ? parts.slice(1) : parts;
  state.tag = match[2] || "latest";
  return true;
}

window.addEventListener("hashchange", () => {
  if (!readAddress()) return;
  if (location.hash.length < 2) Object.assign(state, { words: [], shell: false, platform: "", tag: "latest" });
  show();
  window.scrollTo({ top: 0 });
});

// --- the image

let asked = 0;

async function show() {
  showChosen();
  $("shell").checked = state.shell;
  $("tag").value = state.tag;
  for (const radio of document.getElementsByName("platform")) radio.checked = radio.value === state.platform;
  const turn = ++asked;
  closeProgress();
  if (!path() || path() === state.platform) {
    $("image").hidden = true;
    state.view = null;
    return say();
  }
  say("Looking at the image…");
  try {
    const view = await ask("view", { name: path(), tag: state.tag, architecture: state.platform || "amd64" });
    if (turn !== asked) return;
    state.view = view;
    say();
    showImage();
    showTags();
  } catch (error) {
    if (turn !== asked) return;
    $("image").hidden = true;
    say(error.message, true);
  }
}

async function showTags() {
  const { tags } = await ask("tags", { name: path() }).catch(() => ({ tags: [] }));
  $("tags").replaceChildren(...tags.map((tag) => h("option", { value: tag })));
}

const mark = (layer) => layer.digest || layer.packages.join(" ");
const marks = (layers) => new Set(layers.flatMap((layer) => [layer.digest, layer.packages.join(" ")]).filter(Boolean));

function onNodes() {
  const known = new Set();
  for (const one of state.ticked.values()) for (const name of one) known.add(name);
  return (layer) => known.has(mark(layer)) || (layer.packages.length > 0 && known.has(layer.packages.join(" ")));
}

function showImage() {
  const view = state.view;
  $("image").hidden = false;
  $("name").replaceChildren(h("small", {}, `${state.status.host}/`), path(), h("small", {}, `:${state.tag}`));
  const from = view.source ? ` from ${view.source}` : "";
  $("origin").textContent = {
    pushed: "Somebody pushed this image; it stands before one made of packages of the same name.",
    spec: `An image of a spec file${from}, for ${view.architecture}.`,
    packages: view.made ? `Made${from}, seen here for ${view.architecture}.`
      : `To be made${from}, seen here for ${view.architecture}.${view.closed ? "" : " What nothing needs is then left out."}`,
  }[view.origin];
  const total = view.layers.reduce((sum, layer) => sum + layer.size, 0);
  const missing = view.layers.filter((layer) => !layer.held).reduce((sum, layer) => sum + layer.size, 0);
  const unpacked = view.layers.reduce((sum, layer) => sum + (layer.unpacked || 0), 0);
  const exact = view.layers.every((layer) => layer.exact);
  const packages = view.layers.reduce((sum, layer) => sum + layer.packages.length, 0);
  const about = view.made ? "" : exact || view.closed ? "≈" : "≤";
  const figure = (value, unit, text, sign) => h("div", {},
    h("b", {}, sign ? h("i", {}, sign) : null, value, unit ? h("small", {}, unit) : null), h("span", {}, text));
  $("figures").replaceChildren(
    figure(...measure(total), "to pull", about),
    unpacked ? figure(...measure(unpacked), "unpacked", about) : "",
    figure(view.layers.length, "", "layers"),
    packages ? figure(packages, "", "packages") : "",
    view.made ? "" : figure(...measure(total - missing), "here already"),
  );
  showBar();
  showLayers();
  $("make").hidden = view.made;
  $("build").hidden = view.made || !state.status.makes;
  $("build").disabled = !state.status.may.build;
  $("build").title = state.status.may.build ? "" : "You may not have images made here.";
  $("graph").hidden = view.origin === "pushed";
  $("graph").open = false;
  $("graph").lastElementChild.replaceChildren();
  showTools();
  showOthers();
}

function showBar() {
  const node = onNodes();
  const named = (layer) => layer.packages.join(", ") || layer.name;
  $("bar").replaceChildren(...state.view.layers.map((layer) => {
    const part = h("i", { className: node(layer) ? "node" : layer.held ? "held" : "", title: `${named(layer)}: ${size(layer.size)}` });
    part.style.flexGrow = String(Math.max(layer.size, 1));
    return part;
  }));
  const sums = { node: 0, held: 0, new: 0 };
  for (const layer of state.view.layers) sums[node(layer) ? "node" : layer.held ? "held" : "new"] += layer.size;
  const entries = [["held", state.view.made ? "to pull" : "here already"], ["new", "still to be made"], ["node", "on the node"]];
  const shown = entries.filter(([name]) => sums[name] || (name === "node" && state.ticked.size));
  $("legend").replaceChildren(...shown.map(([name, text]) => h("li", {}, h("i", { className: `key ${name}` }), `${size(sums[name])} ${text}`)));
  $("bar").setAttribute("aria-label", `Layers by size: ${shown.map(([name, text]) => `${size(sums[name])} ${text}`).join(", ")}`);
}

function table(heads, rows) {
  return h("table", {}, h("thead", {}, h("tr", {}, ...heads.map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((cell) => h("td", {}, cell))))));
}

function packageNames(layer) {
  if (!layer.packages.length) return h("span", {}, h("small", {}, layer.text || layer.name));
  const cell = h("span");
  layer.packages.forEach((text, place) => {
    const [name, version] = text.split(/=(.*)/s);
    cell.append(place ? ", " : "", name, " ", h("small", {}, version || ""));
  });
  return cell;
}

function showLayers() {
  const layers = [...state.view.layers].sort((one, other) => other.size - one.size);
  $("layers").firstElementChild.replaceChildren("Layers", h("small", {}, `${layers.length}, largest first`));
  $("layers").lastElementChild.replaceChildren(table(["Packages", "State", "Size"], layers.map((layer) => [
    packageNames(layer), layer.held ? "here" : "to be made", `${layer.exact ? "" : "≈ "}${size(layer.size)}`])));
}

$("graph").addEventListener("toggle", async () => {
  const place = $("graph").lastElementChild;
  if (!$("graph").open || place.childElementCount) return;
  place.replaceChildren(h("p", { className: "empty" }, "Following the evidence…"));
  try {
    const text = await ask("graph", { name: path(), tag: state.tag, architecture: state.view.architecture });
    const drawn = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
    place.replaceChildren(document.importNode(drawn, true));
  } catch (error) {
    place.replaceChildren(h("p", { className: "empty" }, error.message));
  }
});

// --- commands

const tools = {
  docker: () => `docker run --rm ${state.shell ? "-it " : ""}${reference()}`,
  podman: () => `podman run --rm ${state.shell ? "-it " : ""}${state.status.plain ? "--tls-verify=false " : ""}${reference()}`,
  Kubernetes: () => {
    const name = (state.words[0] || "shell").replace(/[^a-z0-9-]+/g, "-");
    return `kubectl apply -f - <<'END'\napiVersion: v1\nkind: Pod\nmetadata: {name: ${name}}\nspec:\n  containers:\n`
      + `    - name: ${name}\n      image: ${reference()}\n${state.shell ? "      stdin: true\n      tty: true\n" : ""}END`;
  },
};

function showTools() {
  $("tools").replaceChildren(...Object.keys(tools).map((name) => {
    const chosen = name === state.tool;
    const tab = h("button", { type: "button", role: "tab", id: `tab-${name}`, tabIndex: chosen ? 0 : -1,
      "aria-selected": String(chosen), "aria-controls": "command" }, name);
    tab.addEventListener("click", () => { state.tool = name; showTools(); $(`tab-${name}`).focus(); });
    return tab;
  }));
  $("command").setAttribute("aria-labelledby", `tab-${state.tool}`);
  const text = tools[state.tool]();
  const local = /^(localhost|127\.|\[::1\])/.test(state.status.host);
  const lock = state.view?.lock ? `lock-${state.view.lock}` : "";
  const code = (text) => h("div", { className: "code" }, h("pre", { tabIndex: 0 }, text), copyable(text));
  $("command").replaceChildren(code(text),
    state.status.plain && !local && state.tool !== "podman"
      ? h("p", { className: "hint" }, "This registry speaks plain HTTP: name it among the insecure registries of the engine.") : "",
    lock && state.tag !== lock
      ? h("p", { className: "hint" }, `${state.tag} may move on. This tag keeps exactly these packages:`) : "",
    lock && state.tag !== lock ? code(`${state.status.host}/${path()}:${lock}`) : "");
}

$("tools").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const names = Object.keys(tools);
  state.tool = names[(names.indexOf(state.tool) + step + names.length) % names.length];
  showTools();
  $(`tab-${state.tool}`).focus();
});

// --- nodes

function showOthers() {
  const others = state.repositories.filter((one) => one.origin !== "spec" && one.name !== path()).slice(0, 40);
  $("nodes").hidden = !others.length;
  $("others").replaceChildren(...others.map(({ name }) => {
    const box = h("input", { type: "checkbox", checked: state.ticked.has(name) });
    box.addEventListener("change", () => tick(name, box));
    return h("li", {}, h("label", {}, box, name));
  }));
  showTransfer();
}

async function tick(name, box) {
  if (!box.checked) state.ticked.delete(name);
  else {
    try {
      const { tags } = await ask("tags", { name });
      const report = await ask("report", { name, tag: tags.includes("latest") ? "latest" : tags[0] || "latest" });
      const one = report.platforms.find((platform) => platform.architecture === state.view.architecture) || report.platforms[0];
      state.ticked.set(name, marks(one ? one.layers : []));
    } catch (error) {
      box.checked = false;
      say(error.message, true);
    }
  }
  showBar();
  showTransfer();
}

function showTransfer() {
  const node = onNodes();
  const layers = state.view.layers.filter((layer) => !node(layer));
  const total = state.view.layers.reduce((sum, layer) => sum + layer.size, 0);
  const pulled = layers.reduce((sum, layer) => sum + layer.size, 0);
  $("transfer").textContent = state.ticked.size
    ? `It pulls ${state.view.made ? "" : "about "}${size(pulled)} in ${count(layers.length, "layer")} instead of ${size(total)}.`
    : `A node without any of them pulls all ${size(total)}.`;
}

// --- making

let stream = null;

function closeProgress() {
  stream?.close();
  stream = null;
  $("progress").hidden = true;
}

const labels = { packages: "Unpack and examine", layers: "Write layers", "read package lists": "Read package lists" };

function showProgress(progress) {
  $("progress").hidden = false;
  $("build").hidden = true;
  const parts = progress.steps.flatMap((step) => {
    const label = labels[step.label] || step.label[0].toUpperCase() + step.label.slice(1);
    const amount = (number) => (step.unit === "B" ? size(number) : `${number} ${step.unit}`);
    const told = step.ended ? "done" : step.total ? `${amount(step.done)} of ${amount(step.total)}` : amount(step.done);
    const bar = h("progress", { max: step.total || 1, className: step.ended ? "done" : "", "aria-label": label });
    if (step.total || step.ended) bar.value = step.ended ? step.total || 1 : step.done;
    return [h("p", {}, label, h("span", {}, told)), bar];
  });
  if (!parts.length) parts.push(h("p", {}, progress.started ? "Asking what is new…" : "Waiting for its turn…"));
  $("progress").replaceChildren(...parts, ...progress.lines.slice(-3).map((line) => h("p", { className: "note" }, line)));
}

$("build").addEventListener("click", async () => {
  const [name, tag] = [path(), state.tag];
  $("build").disabled = true;
  say();
  try {
    await ask("build", {}, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ name, tag }) });
  } catch (error) {
    $("build").disabled = false;
    return say(error.message, true);
  }
  showProgress({ started: false, steps: [], lines: [] });
  stream = new EventSource(`/api/progress?${new URLSearchParams({ name, tag })}`);
  stream.onmessage = (event) => showProgress(JSON.parse(event.data));
  stream.addEventListener("end", async (event) => {
    closeProgress();
    const end = JSON.parse(event.data);
    $("build").disabled = false;
    if (end.error) {
      $("build").hidden = false;
      return say(end.error, true);
    }
    // the first pull gives the image its repository
    await fetch(`/v2/${name}/manifests/${tag}`, { method: "HEAD" });
    await loadRepositories();
    await show();
    say("It is made: the next pull gets it at once.");
  });
  stream.onerror = () => { if (stream?.readyState === EventSource.CLOSED) { closeProgress(); show(); } };
});

// --- repositories

async function loadRepositories() {
  const answer = await ask("repositories").catch(() => ({ repositories: [], more: 0 }));
  const there = new Set(answer.repositories.map((one) => one.name));
  const specs = state.status.specs.filter((name) => !there.has(name)).map((name) => ({ name, origin: "spec" }));
  state.repositories = [...answer.repositories, ...specs];
  const open = new Set([...$("list").querySelectorAll("details[open]")].map((one) => one.dataset.name));
  $("list").replaceChildren(...state.repositories.map((one) => repository(one, open.has(one.name))));
  if (answer.more) $("list").append(h("li", { className: "empty" }, `and ${answer.more} more`));
  if (!state.repositories.length) $("list").append(h("li", { className: "empty" }, "None yet. Pull a name of packages, or push an image."));
}

function repository({ name, origin }, open) {
  const told = { pushed: "pushed", made: "made on demand", spec: "of a spec file" }[origin] || "";
  const body = h("div", { className: "tags" }), report = h("div");
  const details = h("details", {}, h("summary", {}, name, h("small", {}, told)), body, report);
  details.dataset.name = name;
  details.addEventListener("toggle", async () => {
    if (!details.open || body.childElementCount) return;
    try {
      const { tags } = await ask("tags", { name });
      body.replaceChildren(...tags.map((tag) => tagButton(name, tag, body, report)));
      if (!tags.length) body.append(h("span", { className: "empty" }, "no tags"));
    } catch (error) {
      body.replaceChildren(h("span", { className: "empty" }, error.message));
    }
  });
  details.open = open;
  return h("li", {}, details);
}

function tagButton(name, tag, body, place) {
  const button = h("button", { type: "button", "aria-expanded": "false", title: tag }, tag.length > 24 ? `${tag.slice(0, 21)}…` : tag);
  button.addEventListener("click", async () => {
    const open = button.getAttribute("aria-expanded") === "true";
    for (const other of body.children) other.setAttribute("aria-expanded", "false");
    if (open) return place.replaceChildren();
    button.setAttribute("aria-expanded", "true");
    try {
      place.replaceChildren(showReport(await ask("report", { name, tag })));
    } catch (error) {
      place.replaceChildren(h("p", { className: "report empty" }, error.message));
    }
  });
  return button;
}

function showReport(report) {
  const part = h("div", { className: "report" }, h("a", { href: `#/${report.name}:${report.tag}` }, "Look at it above"));
  const list = (pairs) => h("dl", {}, ...pairs.filter(([, value]) => value && value.length).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  part.append(h("h4", {}, "Image"), list([["Digest", report.digest], ["Kind", report.media_type]]));
  for (const one of report.platforms) {
    const started = one.started;
    part.append(h("h4", {}, one.platform || one.digest), list([
      ["Digest", one.digest], ["To pull", size(one.size)], ["Created", one.created],
      ["Starts", [...started.entrypoint, ...started.cmd].join(" ")], ["User", started.user], ["Folder", started.workdir],
      ["Environment", started.env.join("\n")], ["Ports", started.ports.join(", ")], ["Volumes", started.volumes.join(", ")],
      ["Asked for", one.annotations["io.ramekin.requested"] || ""], ["Refer to it", one.referrers.join(", ")], ["Problem", one.problem],
    ]));
    if (one.layers.length)
      part.append(h("details", {}, h("summary", {}, count(one.layers.length, "layer")), h("div", { className: "scroll" },
        table(["Layer", "Size"], one.layers.map((layer) => [packageNames(layer), size(layer.size)])))));
  }
  return part;
}

// --- begin

async function begin() {
  readAddress();
  try {
    state.status = await ask("status");
  } catch (error) {
    say(error.message, true);
  }
  $("foot").textContent = `Ramekin ${state.status.version || ""}`;
  if (!state.status.makes) for (const part of [$("field"), document.querySelector(".options")]) part.hidden = true;
  await loadRepositories();
  await show();
}

begin();
