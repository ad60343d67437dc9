"use strict";
// The page's state is its address: #dataset=…&metric=…&slice=…&sort=…&order=…&filter=…
// Everything is drawn from the state; text enters the page as text, never as markup.

const { boards, leftOut } = JSON.parse(document.getElementById("data").textContent);
const NONE = "–";
const state = {}; // what the address says, known names only
const opened = new Set(); // board and label of rows whose details are open

const $ = (id) => document.getElementById(id);

/** Make an element; attributes that are false or null are left away. */
function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "circle", "line"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

// ---- state ------------------------------------------------------------------------------------

/** Take what was asked for where it is known, and the usual elsewhere. */
function setState(asked) {
  const pick = (name, known, usual) => (known.includes(asked.get(name)) ? asked.get(name) : usual);
  state.dataset = pick("dataset", boards.map((one) => one.name), boards[0].name);
  const board = current();
  state.metric = pick("metric", board.metrics.map((one) => one.name), board.metric);
  const groups = metricOf(board, state.metric).isAccuracy ? groupsOf(board) : [];
  state.slice = pick("slice", groups.map((one) => one.key), "");
  const sorting = columns(board).filter((one) => one.of);
  state.sort = pick("sort", sorting.map((one) => one.key), "value");
  state.order = pick("order", ["up", "down"], usualOrder(sorting.find((one) => one.key === state.sort)));
  state.filter = asked.get("filter") ?? "";
}

function go(changes) {
  setState(new URLSearchParams({ ...state, ...changes }));
  history.replaceState(null, "", `#${new URLSearchParams(state)}`);
  draw();
}

const usualOrder = (column) => (column.higherIsBetter ? "down" : "up");
const current = () => boards.find((one) => one.name === state.dataset);
const metricOf = (board, name) => board.metrics.find((one) => one.name === name);
const groupsOf = (board) => board.slices.flatMap((slice) => slice.groups);

// ---- columns ----------------------------------------------------------------------------------

const number = (value, digits) => (value === undefined || value === null ? NONE
  : value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }));

/** Return the columns: what they are called, what sorts them, and how a cell is drawn. */
function columns(board) {
  const chosen = metricOf(board, state.metric);
  const isTested = state.slice === "" && board.rows.some((row) => row.tests[chosen.name]?.p_holm >= 0);
  const others = board.metrics.filter((one) => one.isAccuracy && one !== chosen && state.slice === "");
  return [
    { key: "label", label: "Model", text: true, of: (row) => row.label, draw: modelCell },
    valueColumn("value", chosen, state.slice),
    { key: "spread", label: "Seeds' spread", wide: true, draw: spreadCell },
    ...(isTested ? testColumns(board, chosen) : []),
    ...others.map((one) => ({ ...valueColumn(one.name, one, ""), wide: true })),
    { key: "seeds", label: "Seeds", higherIsBetter: true, wide: true,
      of: (row) => row.numSeeds, draw: (row) => row.seeds },
    ...board.columns.map((one) => ({ ...valueColumn(one.name, one, ""), wide: true, plain: true })),
  ];
}

function valueColumn(key, metric, slice) {
  const summary = (row) => row.values[slice]?.[metric.name];
  return { key, metric, label: metric.label, higherIsBetter: metric.higherIsBetter,
    of: (row) => summary(row)?.mean, summary,
    draw: (row, column) => valueCell(row, column, slice) };
}

function testColumns(board, metric) {
  const test = ({ tests }) => tests[metric.name];
  const signed = (value) => (value < 0 ? "−" : "+") + number(Math.abs(value), metric.digits);
  return [
    { key: "difference", label: "Behind reference", of: (row) => test(row)?.difference,
      draw: (row) => (test(row)?.p >= 0 ? make("span", {}, signed(test(row).difference),
        make("small", { class: "interval" }, `[${signed(test(row).low)}, ${signed(test(row).high)}]`))
        : row.isReference ? make("small", {}, "reference") : NONE) },
    { key: "p", label: "p (Holm)", wide: true, of: (row) => test(row)?.p_holm,
      draw: (row) => (test(row)?.p >= 0 ? (test(row).p_holm < 0.001 ? "< 0.001"
        : number(test(row).p_holm, 3)) : NONE) },
  ];
}

function valueCell(row, column, slice) {
  const one = column.summary(row);
  if (!one) return NONE;
  const { digits, name } = column.metric;
  const mark = slice === "" ? row.tests[name]?.mark : "";
  const place = column.plain ? -1 : column.best.indexOf(number(one.mean, digits));
  const tag = { 0: "strong", 1: "u" }[place] ?? "span";
  const deviation = column.plain ? null
    : make("small", {}, ` ± ${one.deviation === null ? NONE : number(one.deviation, digits)}`);
  return make("span", { class: "value" }, make(tag, {}, number(one.mean, digits)),
    mark ? make("sup", { title: mark === "*" ? "the reference is better" : "the reference is worse" }, mark)
      : null, deviation);
}

function modelCell(row) {
  const key = `${state.dataset}/${row.label}`;
  const isOpen = opened.has(key);
  const button = make("button", { type: "button", class: "more", "aria-expanded": isOpen,
    "data-focus": `row ${row.label}` },
  make("span", { class: "arrow", "aria-hidden": "true" }, "›"), make("span", {}, row.label));
  button.addEventListener("click", () => {
    if (isOpen) opened.delete(key); else opened.add(key);
    draw();
  });
  return make("div", {}, button, make("span", { class: `role ${row.role}` }, row.role));
}

/** Draw a dot a seed and a line at the mean, on one scale for all rows. */
function spreadCell(row, _column, all) {
  const values = row.values[state.slice]?.[state.metric]?.values;
  if (!values) return "";
  const every = all.flatMap((one) => one.values[state.slice]?.[state.metric]?.values ?? []);
  const [low, high] = [Math.min(...every), Math.max(...every)];
  const x = (value) => (high > low ? 6 + 108 * (value - low) / (high - low) : 60);
  const mean = x(row.values[state.slice][state.metric].mean);
  return make("svg", { viewBox: "0 0 120 18", class: `spread ${row.role}`, role: "img",
    "aria-label": `${values.length} seeds` },
  make("line", { x1: 6, x2: 114, y1: 9, y2: 9, class: "axis" }),
  make("line", { x1: mean, x2: mean, y1: 2, y2: 16, class: "mean" }),
  ...values.map((value) => make("circle", { cx: x(value), cy: 9, r: 3.2 })));
}

// ---- drawing ----------------------------------------------------------------------------------

function draw() {
  const focus = document.activeElement?.dataset.focus;
  drawTabs();
  for (const part of [drawControls, drawTable, drawAbout]) part(current());
  if (focus) document.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus();
}

function drawTabs() {
  $("tabs").replaceChildren(...boards.map((one) => {
    const isHere = one.name === state.dataset;
    const tab = make("button", { type: "button", role: "tab", "aria-selected": isHere, "aria-controls": "board",
      tabindex: isHere ? 0 : -1, "data-focus": `tab ${one.name}` }, one.title);
    tab.addEventListener("click", () => go({ dataset: one.name, order: "" }));
    return tab;
  }));
  $("tabs").scrollLeft = $("tabs").querySelector("[aria-selected=true]").offsetLeft - 40;
}

function drawControls(board) {
  const options = (list, chosen) => list.map(([value, label]) =>
    make("option", { value, selected: value === chosen ? "" : null }, label));
  $("metric").replaceChildren(...options(board.metrics.map((one) => [one.name, one.label]), state.metric));
  $("slice").replaceChildren(...options([["", "all"]], state.slice), ...board.slices.map((slice) =>
    make("optgroup", { label: slice.label }, ...options(slice.groups.map((one) =>
      [one.key, `${slice.label}: ${one.label} (${one.cases.toLocaleString("en-US")})`]), state.slice))));
  $("slice").disabled = !metricOf(board, state.metric).isAccuracy;
  if ($("filter").value !== state.filter) $("filter").value = state.filter;
}

function drawTable(board) {
  const all = columns(board);
  const rows = sorted(filtered(board), all.find((one) => one.key === state.sort));
  for (const column of all.filter((one) => one.metric)) column.best = bestOf(board, column);
  const group = groupsOf(board).find((one) => one.key === state.slice);
  const metric = metricOf(board, state.metric).label;
  $("caption").textContent = `${metric} on ${board.title}${group ? `, ${$("slice").selectedOptions[0].label}` : ""}`;
  $("head").replaceChildren(make("tr", {}, ...all.map(headCell)));
  $("rows").replaceChildren(...rows.flatMap((row) => tableRows(board, row, all)));
  $("status").textContent = `${rows.length} of ${board.rows.length} rows`;
}

function headCell(column) {
  const attributes = { scope: "col", class: classOf(column) };
  if (!column.of) return make("th", attributes, column.label);
  const isHere = column.key === state.sort;
  const isUp = state.order === "up";
  const button = make("button", { type: "button", "data-focus": `head ${column.key}` }, column.label,
    make("span", { "aria-hidden": "true" }, isHere ? (isUp ? " ↑" : " ↓") : ""));
  const order = isHere ? (isUp ? "down" : "up") : usualOrder(column);
  button.addEventListener("click", () => go({ sort: column.key, order }));
  const sort = isHere ? (isUp ? "ascending" : "descending") : "none";
  return make("th", { ...attributes, "aria-sort": sort }, button);
}

const classOf = (column) => [column.text ? "text" : "number", column.wide ? "wide" : ""].join(" ").trim();

function tableRows(board, row, all) {
  const cells = all.map((column) => make(column.text ? "th" : "td",
    { class: classOf(column), scope: column.text ? "row" : null }, column.draw(row, column, board.rows)));
  const kind = row.isReference ? "reference" : row.numSeeds ? null : "empty";
  const whole = (name, ...inside) => make("tr", { class: name }, make("td", { colspan: all.length }, ...inside));
  const absences = row.absences.map((one) => make("p", { class: `absence ${one.status}` },
    make("b", {}, one.status), ` seed ${one.seeds}: ${one.reason}`));
  return [
    make("tr", { class: kind }, ...cells),
    ...(absences.length ? [whole("absences", ...absences)] : []),
    ...(opened.has(`${board.name}/${row.label}`) ? [whole("details", details(board, row))] : []),
  ];
}

function filtered(board) {
  const words = state.filter.toLowerCase().split(/\s+/);
  const text = (row) => [row.label, row.role, ...row.absences.map((one) => one.status)].join(" ").toLowerCase();
  return board.rows.filter((row) => words.every((word) => text(row).includes(word)));
}

/** Sort rows; those without a value stay last, whatever the order. */
function sorted(rows, column) {
  const sign = state.order === "up" ? 1 : -1;
  const isNone = (value) => value === undefined || value === null;
  return [...rows].sort((a, b) => {
    const [one, other] = [column.of(a), column.of(b)];
    if (isNone(one) || isNone(other)) return isNone(one) - isNone(other);
    return sign * (typeof one === "string" ? one.localeCompare(other, "en") : one - other);
  });
}

/** Return the best and the second value of a column, as they are shown. */
function bestOf(board, { of, metric }) {
  const sign = metric.higherIsBetter ? -1 : 1;
  const values = board.rows.map(of).filter((value) => value !== undefined).sort((a, b) => sign * (a - b));
  return [...new Set(values.map((value) => number(value, metric.digits)))].slice(0, 2);
}

function details(board, row) {
  const parts = row.gaps.map(([label, text]) => make("p", {}, `Gap by ${label}: ${text}`));
  const reason = row.tests[state.metric]?.reason;
  if (reason) parts.push(make("p", {}, `Not tested: ${reason}.`));
  if (!row.runs.length) return make("div", { class: "inner" }, ...parts, make("p", {}, "No run has ended."));
  const metrics = board.metrics.filter((one) => one.isAccuracy);
  const names = [...new Set(row.runs.flatMap((run) => run.facts.map(([label]) => label)))];
  const head = ["Seed", ...metrics.map((one) => one.label), "Train (s)", ...names];
  const lines = row.runs.map((run) => [run.seed, ...metrics.map((one) => number(run.metrics[one.name], 6)),
    number(run.seconds, 1), ...names.map((name) => Object.fromEntries(run.facts)[name] ?? NONE)]);
  const line = (tag, cells) => make("tr", {}, ...cells.map((cell) => make(tag, {}, String(cell))));
  const commands = row.runs.map((run) => run.command).join("\n");
  return make("div", { class: "inner" }, ...parts,
    make("div", { class: "scroll" }, make("table", {}, make("thead", {}, line("th", head)),
      make("tbody", {}, ...lines.map((cells) => line("td", cells))))),
    make("h3", {}, "To get these numbers again"), copyButton(commands), make("pre", {}, commands));
}

function copyButton(text) {
  const button = make("button", { type: "button" }, "Copy");
  button.addEventListener("click", () => navigator.clipboard.writeText(text).then(
    () => { button.textContent = "Copied"; }, () => { button.textContent = "Select and copy by hand"; }));
  return button;
}

function drawAbout(board) {
  const notes = [...board.notes, ...leftOut.map((path) => `Left out, as the suite no longer names it: ${path}`)];
  $("notes").replaceChildren(...notes.map((note) => make("p", {}, note)));
  $("protocol").querySelector("dl").replaceChildren(...board.protocol.map(([key, value]) =>
    make("div", {}, make("dt", {}, key), make("dd", {}, value))));
  $("figures").replaceChildren(...board.figures.map((one) => make("figure", {},
    make("img", { src: one.source, alt: one.title, loading: "lazy" }), make("figcaption", {}, one.title))));
}

// ---- what a reader does -----------------------------------------------------------------------

$("metric").addEventListener("change", (event) => go({ metric: event.target.value, order: "" }));
$("slice").addEventListener("change", (event) => go({ slice: event.target.value }));
$("filter").addEventListener("input", (event) => go({ filter: event.target.value }));
$("controls").addEventListener("submit", (event) => event.preventDefault());
$("tabs").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1, Home: -boards.length, End: boards.length }[event.key];
  if (!step) return;
  const here = boards.indexOf(current());
  const there = Math.abs(step) === 1 ? (here + step + boards.length) % boards.length
    : step < 0 ? 0 : boards.length - 1;
  event.preventDefault();
  go({ dataset: boards[there].name, order: "" });
  $("tabs").children[there].focus();
});

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").setAttribute("aria-pressed", theme === "dark");
}
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
prefersDark.addEventListener("change", () => setTheme(prefersDark.matches ? "dark" : "light"));
$("theme").addEventListener("click", () =>
  setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
setTheme(prefersDark.matches ? "dark" : "light");

function start() {
  setState(new URLSearchParams(location.hash.slice(1)));
  draw();
}
window.addEventListener("hashchange", start);
start();
