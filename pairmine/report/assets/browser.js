// The browser of rows: what is searched, filtered and sorted, the list of what is found, and what is chosen of it.

class Browser {
  constructor(root, data) {
    this.data = data;
    this.list = new List((item) => this.line(item), (at, opened) => this.open(at, opened));
    this.detail = new Detail(data);
    this.status = make("p", { class: "status", role: "status" });
    this.controls = this.makeControls(root.dataset.said);
    this.panes = make("div", { class: "panes" }, this.list.box, this.detail.box);
    root.append(this.controls, this.status, this.panes);
    this.find();
  }

  makeControls(said) {
    const { data } = this;
    const changed = { on: { change: () => this.find() } };
    const select = (label, options) => make("label", {}, make("span", {}, label), make("select", changed, options));
    const names = (list) => list.map((name, place) => make("option", { value: place }, name));
    const states = STATES.filter((state) => data.rows.some((row) => row.state === state));
    const all = () => make("option", { value: "" }, "all");
    this.text = make("input", {
      type: "search", placeholder: "Search texts, ids, reasons   /", "aria-label": "Search", spellcheck: "false",
      on: { input: () => this.find() },
    });
    const labels = states.map((state) => make("option", { value: state }, state));
    this.label = select("Label", [all(), ...labels]);
    this.origin = select("Origin", [all(), ...names(data.origins)]);
    this.reason = select("Reason", [all(), ...names(data.reasons)]);
    this.sort = select("Sort", this.sorts());
    const units = [["query", "queries"], ["row", "rows"]];
    this.unit = select("List", units.map(([value, text]) => make("option", { value }, text)));
    const help = { type: "button", class: "help", "aria-label": "Keys", title: said, on: { click: () => showHelp() } };
    const submit = (event) => event.preventDefault();
    return make("form", { class: "controls", role: "search", on: { submit } }, this.text,
      states.length > 1 && this.label, data.origins.length > 1 && this.origin, data.reasons.length > 0 && this.reason,
      this.sort, this.unit, make("button", help, "?"));
  }

  sorts() {
    const options = [make("option", { value: "file" }, "as drawn")];
    this.data.scores.forEach(([name], number) => {
      const bare = name.replace(/^score_/, "");
      options.push(make("option", { value: `down ${number}` }, `${bare}, high first`));
      options.push(make("option", { value: `up ${number}` }, `${bare}, low first`));
      if (this.data.queries.some((query) => query.lowest[number] !== null)) {
        options.push(make("option", { value: `above ${number}` }, `${bare}, nearest the positive`));
      }
    });
    if (this.data.rows.some((row) => row.rank !== null)) {
      options.push(make("option", { value: "rank" }, "rank, first ones first"));
    }
    options.push(make("option", { value: "length" }, "length, long first"));
    return options;
  }

  value(control) {
    return control.querySelector("select").value;
  }

  terms() {
    return plain(this.text.value).split(/\s+/).filter(Boolean);
  }

  fits(row, terms) {
    const [label, origin, reason] = [this.label, this.origin, this.reason].map((control) => this.value(control));
    return (!label || row.state === label)
      && (!origin || row.origin === this.data.origins[origin])
      && (!reason || row.reason === this.data.reasons[reason])
      && terms.every((term) => haystack(row).includes(term));
  }

  /** What a row is sorted by, the highest first; null for what comes last. */
  key(row) {
    const [how, number] = this.value(this.sort).split(" ");
    if (how === "down") return row.values[number];
    if (how === "up") return row.values[number] === null ? null : -row.values[number];
    if (how === "above") return above(row, number);
    if (how === "rank") return row.rank === null ? null : -row.rank;
    return how === "length" ? (row.text || "").length : -row.place;
  }

  find() {
    const terms = this.terms();
    const found = this.data.rows.filter((row) => this.fits(row, terms));
    const items = this.value(this.unit) === "row" ? this.byRow(found) : this.byQuery(found);
    if (this.value(this.sort) !== "file") items.sort((one, other) => (other.key > one.key) - (other.key < one.key));
    this.list.fill(items);
    const queries = counted(new Set(found.map((row) => row.query)).size, "query", "queries");
    const rows = `${queries}, ${counted(found.length, "row")}`;
    this.status.textContent = found.length ? rows : "Nothing found. Take a word or a filter away.";
    if (items.length) this.list.choose(0);
    else this.detail.box.replaceChildren();
  }

  byRow(found) {
    return found.map((row) => ({ query: row.query, rows: [row], row, key: this.key(row) ?? -Infinity }));
  }

  byQuery(found) {
    const items = new Map();
    for (const row of found) {
      const item = items.get(row.query) || { query: row.query, rows: [], row: null, key: -Infinity };
      item.rows.push(row);
      item.key = Math.max(item.key, this.key(row) ?? -Infinity);
      items.set(row.query, item);
    }
    return [...items.values()];
  }

  line({ query, rows, row }) {
    const text = row ? row.text : query.text;
    const begins = ((text || "").trim() || query.id).slice(0, 160).replace(/\s+/g, " ");
    const facts = row ? [badge(row.state), make("span", {}, row.origin)] : this.counts(rows);
    const told = make("span", { class: "told" }, facts, this.best(rows));
    return [make("span", { class: "begins", dir: "auto" }, begins), told];
  }

  /** How many rows of each kind there are. */
  counts(rows) {
    return STATES.flatMap((state) => {
      const many = rows.filter((row) => row.state === state).length;
      return many ? [make("span", { class: `count ${state}`, title: state }, `${SIGNS.get(state)} ${many}`)] : [];
    });
  }

  /** The score that a list item is sorted by; null where it is sorted by something else. */
  best(rows) {
    const [how, number] = this.value(this.sort).split(" ");
    if (number === undefined) return null;
    const values = rows.map((row) => (how === "above" ? above(row, number) : row.values[number]));
    const known = values.filter((value) => value !== null);
    return known.length ? make("b", {}, shown(how === "up" ? Math.min(...known) : Math.max(...known))) : null;
  }

  open(at, opened) {
    const { query, rows, row } = this.list.items[at];
    const kind = row ? "row" : "query";
    const place = `${kind} ${whole.format(at + 1)} of ${whole.format(this.list.items.length)}`;
    this.detail.show(query, row ? query.rows : rows, row, this.terms(), place);
    if (opened) this.read();
  }

  /** Turn to the chosen query; in a narrow window it takes the place of the list. */
  read() {
    if (this.list.at < 0) return;
    this.panes.classList.add("reading");
    this.detail.box.focus({ preventScroll: true });
  }
}
