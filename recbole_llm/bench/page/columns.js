"use strict";
// What a table's columns are, what sorts them, and how a cell is drawn.

const NONE = "–";
const MARKS = { "*": "better", "†": "worse" };

/** Make an element; attributes that are null are left away. */
function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "circle", "line"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** Return a number as tables show it: toFixed rounds what the number is, not how it is written. */
function number(value, digits) {
  if (value === undefined || value === null) return NONE;
  const exact = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  const rounded = Number(value.toFixed(digits)) + 0;  // which has no -0
  return rounded.toLocaleString("en-US", exact);
}

/** Return a number with its sign. */
function signed(value, digits) {
  return (value < 0 ? "−" : "+") + number(Math.abs(value), digits);
}

/** Return the columns: what they are called, what sorts them, and how a cell is drawn. */
function columns(board) {
  const chosen = metricOf(board, state.metric);
  const isEvery = state.slice === "";
  const isTested = isEvery && board.rows.some((row) => row.tests[chosen.name]?.p_holm >= 0);
  const others = board.metrics.filter((one) => isEvery && one.isAccuracy && one !== chosen);
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
  return [
    { key: "difference", label: "Behind reference", of: (row) => test(row)?.difference,
      draw: (row) => (test(row)?.p >= 0 ? make("span", {}, signed(test(row).difference, metric.digits),
        make("small", { class: "interval" }, `[${signed(test(row).low, metric.digits)}, ${
          signed(test(row).high, metric.digits)}]`))
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
    mark ? make("sup", { title: `the reference is ${MARKS[mark]}` }, mark) : null, deviation);
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
