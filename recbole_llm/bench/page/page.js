// The page's state is its address: #dataset=…&metric=…&slice=…&sort=…&order=…&filter=…
// Everything is drawn from the state; text enters the page as text, never as markup.

const { boards, leftOut } = JSON.parse(document.getElementById("data").textContent);
const state = {}; // what the address says, known names only
const opened = new Set(); // board and label of rows whose details are open

const $ = (id) => document.getElementById(id);

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
  const column = sorting.find((one) => one.key === asked.get("sort"));
  state.sort = column ? column.key : "value";
  const usual = usualOrder(column ?? sorting.find((one) => one.key === "value"));
  state.order = column ? pick("order", ["up", "down"], usual) : usual;
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

// ---- drawing ----------------------------------------------------------------------------------

function draw() {
  const focus = document.activeElement?.dataset.focus;
  drawTabs();
  for (const part of [drawControls, drawTable, drawClaim, drawAbout]) part(current());
  if (focus) document.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus();
}

function drawTabs() {
  $("tabs").replaceChildren(...boards.map((one) => {
    const isHere = one.name === state.dataset;
    const tab = make("button", { type: "button", role: "tab", "aria-selected": isHere,
      "aria-controls": "board", tabindex: isHere ? 0 : -1, "data-focus": `tab ${one.name}` },
    one.title);
    tab.addEventListener("click", () => go({ dataset: one.name, order: "" }));
    return tab;
  }));
  $("tabs").scrollLeft = $("tabs").querySelector("[aria-selected=true]").offsetLeft - 40;
}

function drawControls(board) {
  const options = (list, chosen) => list.map(([value, label]) =>
    make("option", { value, selected: value === chosen ? "" : null }, label));
  const metrics = board.metrics.map((one) => [one.name, one.label]);
  const groups = (slice) => slice.groups.map((one) =>
    [one.key, `${slice.label}: ${one.label} (${number(one.cases, 0)})`]);
  $("metric").replaceChildren(...options(metrics, state.metric));
  $("slice").replaceChildren(...options([["", "all"]], state.slice), ...board.slices.map((slice) =>
    make("optgroup", { label: slice.label }, ...options(groups(slice), state.slice))));
  $("slice").disabled = !metricOf(board, state.metric).isAccuracy;
  if ($("filter").value !== state.filter) $("filter").value = state.filter;
}

function drawTable(board) {
  const all = columns(board);
  const rows = sorted(filtered(board), all.find((one) => one.key === state.sort));
  for (const column of all.filter((one) => one.metric)) column.best = bestOf(board, column);
  const group = state.slice === "" ? "" : `, ${$("slice").selectedOptions[0].label}`;
  $("caption").textContent = `${metricOf(board, state.metric).label} on ${board.title}${group}`;
  $("head").replaceChildren(make("tr", {}, ...all.map(headCell)));
  $("rows").replaceChildren(...rows.flatMap((row) => tableRows(board, row, all)));
  $("status").textContent = `${rows.length} of ${board.rows.length} rows`;
}

function headCell(column) {
  const attributes = { scope: "col", class: classOf(column) };
  if (!column.of) return make("th", attributes, column.label);
  const isHere = column.key === state.sort;
  const isUp = state.order === "up";
  const arrow = make("span", { "aria-hidden": "true" }, isHere ? (isUp ? " ↑" : " ↓") : "");
  const button = make("button", { type: "button", "data-focus": `head ${column.key}` },
    column.label, arrow);
  const order = isHere ? (isUp ? "down" : "up") : usualOrder(column);
  button.addEventListener("click", () => go({ sort: column.key, order }));
  const sort = isHere ? (isUp ? "ascending" : "descending") : "none";
  return make("th", { ...attributes, "aria-sort": sort }, button);
}

const classOf = ({ text, wide }) => `${text ? "text" : "number"}${wide ? " wide" : ""}`;

function tableRows(board, row, all) {
  const cells = all.map((column) => make(column.text ? "th" : "td",
    { class: classOf(column), scope: column.text ? "row" : null },
    column.draw(row, column, board.rows)));
  const kind = row.isReference ? "reference" : row.numSeeds ? null : "empty";
  const whole = (name, ...inside) => make("tr", { class: name },
    make("td", { colspan: all.length }, ...inside));
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
  const states = (row) => row.absences.map((one) => one.status);
  const text = (row) => [row.label, row.role, ...states(row)].join(" ").toLowerCase();
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
  const values = board.rows.map(of).filter((value) => value !== undefined);
  values.sort((a, b) => sign * (a - b));
  return [...new Set(values.map((value) => number(value, metric.digits)))].slice(0, 2);
}

function details(board, row) {
  const parts = row.gaps.map(([label, text]) => make("p", {}, `Gap by ${label}: ${text}`));
  const reason = row.tests[state.metric]?.reason;
  if (reason) parts.push(make("p", {}, `Not tested: ${reason}.`));
  if (!row.runs.length) {
    return make("div", { class: "inner" }, ...parts, make("p", {}, "No run has ended."));
  }
  const metrics = board.metrics.filter((one) => one.isAccuracy);
  const names = [...new Set(row.runs.flatMap((run) => run.facts.map(([label]) => label)))];
  const head = ["Seed", ...metrics.map((one) => one.label), "Train (s)", ...names];
  const lines = row.runs.map((run) => [
    run.seed,
    ...metrics.map((one) => number(run.metrics[one.name], 6)),
    number(run.seconds, 1),
    ...names.map((name) => Object.fromEntries(run.facts)[name] ?? NONE),
  ]);
  const line = (tag, cells) => make("tr", {}, ...cells.map((cell) => make(tag, {}, String(cell))));
  const commands = row.runs.map((run) => run.command).join("\n");
  return make("div", { class: "inner" }, ...parts,
    make("div", { class: "scroll" }, make("table", {}, make("thead", {}, line("th", head)),
      make("tbody", {}, ...lines.map((cells) => line("td", cells))))),
    make("h3", {}, "To get these numbers again"), copyButton(commands), make("pre", {}, commands));
}

function copyButton(text) {
  const button = make("button", { type: "button" }, "Copy");
  const say = (words) => () => { button.textContent = words; };
  const copy = async () => navigator.clipboard.writeText(text);  // there may be no clipboard
  button.addEventListener("click", () => copy()
    .then(say("Copied"), say("Select and copy by hand")));
  return button;
}

function drawAbout(board) {
  const others = leftOut.map((path) => `Left out, as the suite no longer names it: ${path}`);
  $("notes").replaceChildren(...[...board.notes, ...others].map((note) => make("p", {}, note)));
  $("protocol").querySelector("dl").replaceChildren(...board.protocol.map(([key, value]) =>
    make("div", {}, make("dt", {}, key), make("dd", {}, value))));
  $("figures").replaceChildren(...board.figures.map((one) => make("figure", {},
    make("img", { src: one.source, alt: one.title, loading: "lazy" }),
    make("figcaption", {}, one.title))));
}

// ---- what a reader does -----------------------------------------------------------------------

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();  // the address is the page's state
  $("results").focus();
});
$("metric").addEventListener("change", (event) => go({ metric: event.target.value, order: "" }));
$("slice").addEventListener("change", (event) => go({ slice: event.target.value }));
$("filter").addEventListener("input", (event) => go({ filter: event.target.value }));
$("controls").addEventListener("submit", (event) => event.preventDefault());
$("tabs").addEventListener("keydown", (event) => {
  const [here, count] = [boards.indexOf(current()), boards.length];
  const there = { ArrowRight: (here + 1) % count, ArrowLeft: (here + count - 1) % count,
    Home: 0, End: count - 1 }[event.key];
  if (there === undefined) return;
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
