// The rows as objects, made once out of the data that stands in the page.

const STATES = ["positive", "negative", "undecided", "rejected"];
const SIGNS = new Map([["positive", "+"], ["negative", "−"], ["undecided", "?"], ["rejected", "×"]]);

function stateOf(label, reason) {
  if (reason !== null) return "rejected";
  return label === 1 ? "positive" : label === 0 ? "negative" : "undecided";
}

/** The lowest score of the positives among `rows` in column `number`; null without one. */
function lowestPositive(rows, number) {
  const scores = rows.filter((row) => row.state === "positive" && row.values[number] !== null);
  return scores.length ? Math.min(...scores.map((row) => row.values[number])) : null;
}

function readData() {
  const raw = JSON.parse(byId("data").textContent);
  const at = (list, place) => (place === null ? null : list[place]);
  const cut = new Map(raw.cut);
  const queries = raw.queries.map(([id, text, total]) => ({ id, text: at(raw.texts, text), total, rows: [] }));
  const rows = raw.rows.map(([query, doc, text, label, origin, reason, rank], place) => ({
    place, doc, rank, query: queries[query], text: at(raw.texts, text), long: cut.get(text) || null,
    origin: at(raw.origins, origin), reason: at(raw.reasons, reason), state: stateOf(label, reason),
    values: raw.values[place], more: raw.more[place], hay: null,
  }));
  for (const row of rows) row.query.rows.push(row);
  for (const query of queries) query.lowest = raw.scores.map((_, number) => lowestPositive(query.rows, number));
  return { ...raw, queries, rows };
}

const plain = (text) => String(text ?? "").normalize("NFKC").toLowerCase();

/** What a search looks at: all that is known of the row and of its query. */
function haystack(row) {
  if (row.hay === null) {
    const { id, text } = row.query;
    row.hay = plain([id, text, row.doc, row.text, row.origin, row.reason, ...row.more].join("\n"));
  }
  return row.hay;
}

/** How far the row lies above the lowest positive of its query; null where that is not known. */
function above(row, number) {
  const lowest = row.query.lowest[number];
  const value = row.values[number];
  return row.state === "positive" || lowest === null || value === null ? null : value - lowest;
}
