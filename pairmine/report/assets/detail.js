// One query with its rows: query and positives on the left, the other documents on the right, shared words marked.

const REFERENCES = [["query", "the query"], ["positive", "the positive"], ["", "nothing"]];

class Detail {
  constructor(data) {
    this.data = data;
    this.common = null;
    this.reference = "query";
    this.shown = null;
    this.box = make("article", { class: "detail", tabindex: "-1", "aria-label": "The chosen query and its documents" });
  }

  /** Show a query with those of its rows that are in `rows`, `open` first in sight; `terms` are marked. */
  show(query, rows, open, terms, place) {
    this.shown = { query, rows, open, terms, place };
    this.common ??= commonWords(this.data);
    const positives = query.rows.filter((row) => row.state === "positive");
    const others = rows.filter((row) => row.state !== "positive");
    const compared = this.reference === "query" ? query.text : positives.map((row) => row.text).join("\n");
    const words = this.reference ? tellingWords(compared || "", this.common) : null;
    const otherWords = new Set(others.concat(positives).flatMap((row) => [...wordSet(row.text)]));
    const own = this.reference === "query" ? new Set([...words].filter((word) => otherWords.has(word))) : null;
    const cards = (list, marks) => list.map((row) => this.card(row, marks, terms, row === open));
    const held = cards(positives, own && words);
    const alone = !others.length;
    this.box.replaceChildren(this.head(query, place), make("div", { class: "sides" },
      make("div", { class: "left" }, this.queryCard(query, own, terms), !alone && held),
      make("div", { class: "right" }, alone && held, cards(others, words), this.rest(query, others))));
    const target = open && this.box.querySelector(".row.open");
    this.box.scrollTop = target ? Math.max(target.offsetTop - 60, 0) : 0;
  }

  again() {
    if (this.shown) this.show(this.shown.query, this.shown.rows, this.shown.open, this.shown.terms, this.shown.place);
  }

  head(query, place) {
    const choose = make("select", { on: { change: (event) => { this.reference = event.target.value; this.again(); } } },
      REFERENCES.map(([value, text]) => make("option", { value, selected: value === this.reference }, text)));
    return make("header", {},
      make("button", { type: "button", class: "back", on: { click: () => this.close() } }, "Back"),
      make("span", { class: "place" }, place), make("label", {}, "Mark words shared with ", choose));
  }

  queryCard(query, words, terms) {
    return make("section", { class: "row query" },
      make("header", {}, make("b", {}, "query"), make("code", {}, query.id)), textBox(query.text, words, terms));
  }

  card(row, words, terms, open) {
    const head = make("header", {}, badge(row.state), make("code", {}, row.doc),
      make("span", { class: "origin" }, row.origin), row.rank !== null && make("span", {}, `rank ${row.rank}`));
    const kind = `row ${row.state}${open ? " open" : ""}`;
    const named = { class: kind, tabindex: "0", "aria-label": `${row.state} ${row.doc}` };
    const text = textBox(row.text, words, terms);
    if (row.long) text.append(make("em", {}, ` … cut here, ${counted(row.long, "character")} in all`));
    const card = make("section", named, head, row.reason && make("p", { class: "reason" }, row.reason),
      this.scores(row), text, this.more(row));
    card.addEventListener("click", () => { if (!String(getSelection())) card.classList.toggle("whole"); });
    return card;
  }

  scores(row) {
    const chips = this.data.scores.flatMap(([name], number) => {
      if (row.values[number] === null) return [];
      const over = above(row, number);
      const value = [make("span", {}, name.replace(/^score_/, "")), make("b", {}, shown(row.values[number]))];
      if (over === null) return make("li", {}, value);
      const far = shown(Math.abs(over));
      const [sign, where] = over > 0 ? ["+", "above"] : ["−", "below"];
      const distance = make("small", { class: where }, sign + far);
      return make("li", { title: `${far} ${where} the lowest positive` }, value, distance);
    });
    return chips.length ? make("ul", { class: "chips" }, chips) : null;
  }

  more(row) {
    const facts = this.data.others.flatMap((name, place) => (
      row.more[place] === null ? [] : [make("dt", {}, name), make("dd", {}, row.more[place])]));
    return facts.length ? make("dl", { class: "more" }, facts) : null;
  }

  /** What is known of the query and not shown: rows that filters leave out, and rows that the page does not hold. */
  rest(query, others) {
    const hidden = query.rows.filter((row) => row.state !== "positive").length - others.length;
    const click = () => {
      this.shown.rows = query.rows;
      this.again();
    };
    const said = `Show ${counted(hidden, "more row")} that the filters leave out`;
    const all = hidden > 0 && make("button", { type: "button", on: { click } }, said);
    const kept = query.total && counted(query.total, "kept row");
    const held = kept && make("p", {}, `The page holds a part of the ${kept} of this query.`);
    const none = !others.length && !hidden && make("p", {}, "This query has no other documents.");
    return make("div", { class: "rest" }, all, held, none);
  }

  close() {
    this.box.parentElement.classList.remove("reading");
  }

  /** Bring the next or previous row into focus. */
  move(by) {
    const cards = [...this.box.querySelectorAll(".row[tabindex]")];
    const at = cards.indexOf(document.activeElement);
    const next = cards[Math.min(Math.max(at + by, 0), cards.length - 1)];
    if (next) next.focus();
  }
}

function textBox(text, words, terms) {
  const shownText = text === null ? make("em", {}, "no text in this set") : marked(text, words, terms);
  return make("div", { class: isLaidOut(text) ? "text code" : "text", dir: "auto" }, shownText);
}

function badge(state) {
  return make("span", { class: `badge ${state}` }, make("i", { "aria-hidden": "true" }, SIGNS.get(state)), ` ${state}`);
}
