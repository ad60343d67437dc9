// What a board's suite claims of one row, and what was found.

/** Draw the claim: a line a row that it speaks of, a cell a part of the test cases. */
function drawClaim(board) {
  const { claim } = board;
  $("claim").hidden = !claim;
  if (!claim) return;
  const { digits } = metricOf(board, board.metric);
  const own = claim.parts.flatMap((part, at) => (part.isClaimed ? [at] : []));
  $("claim-about").textContent = claim.about[0];
  claimTable($("claim-table"), ["Against", ...own.map((at) => claim.parts[at].head)],
    claim.rows.map((row) => [row.label, ...own.map((at) => row.cells[at])]), digits);
  claimTable($("claim-groups").querySelector("table"),
    ["Test cases", ...claim.rows.map((row) => row.label)],
    claim.parts.map((part, at) => [part.label, ...claim.rows.map((row) => row.cells[at])]), digits);
  $("claim-notes").replaceChildren(...claim.about.slice(1).map((note) => make("p", {}, note)));
}

/** Fill a table: its first column is text, the others are findings on one scale. */
function claimTable(table, head, rows, digits) {
  const ends = rows.flat().flatMap(({ low, high }) => [low, high]).filter((end) => end <= 1);
  const reach = Math.max(...ends.map(Math.abs)) || 1;  // all may be 0
  const line = ([label, ...cells]) => make("tr", {}, make("th", { scope: "row" }, label),
    ...cells.map((one, at) =>
      make("td", { "data-head": head[at + 1] }, claimCell(one, reach, digits))));
  table.replaceChildren(
    make("thead", {}, make("tr", {}, ...head.map((one) => make("th", { scope: "col" }, one)))),
    make("tbody", {}, ...rows.map(line)));
}

/** Draw a verdict, the difference on a scale that all cells share, and its numbers. */
function claimCell({ verdict, isWorse, reason, difference, low, high, p, numUsers }, reach, digits) {
  const kind = verdict.replaceAll(" ", "-") + (isWorse ? " worse" : "");
  const words = make("b", { class: "verdict" }, verdict + (isWorse ? " †" : ""));
  const users = `${number(numUsers, 0)} users`;
  if (reason) {
    const told = difference === null ? "" : `${signed(difference, digits)}, `;
    return make("div", { class: `finding ${kind}` }, words, make("small", {}, told + reason));
  }
  const x = (value) => 60 + 54 * value / reach;
  const picture = make("svg", { viewBox: "0 0 120 14", class: "interval-plot", "aria-hidden": "true" },
    make("line", { x1: 60, x2: 60, y1: 1, y2: 13, class: "axis" }),
    make("line", { x1: x(low), x2: x(high), y1: 7, y2: 7, class: "reach" }),
    make("circle", { cx: x(difference), cy: 7, r: 3.2 }));
  return make("div", { class: `finding ${kind}` }, words, picture,
    make("span", {}, signed(difference, digits), " ",
      make("small", {}, `[${signed(low, digits)}, ${signed(high, digits)}]`)),
    make("small", {}, `p ${p}, ${users}`));
}
