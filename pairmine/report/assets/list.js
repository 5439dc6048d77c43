// A list of equal rows of which only those in sight are in the page.

const ITEM_HEIGHT = 60;

class List {
  /** `draw(item)` gives what stands in an item's row, `chosen(place)` is told of a choice. */
  constructor(draw, chosen) {
    this.items = [];
    this.at = -1;
    this.draw = draw;
    this.chosen = chosen;
    this.rows = make("div", { class: "items", role: "presentation" });
    this.box = make("div", { class: "list", role: "listbox", tabindex: "0", "aria-label": "Rows found" }, this.rows);
    this.box.addEventListener("scroll", () => requestAnimationFrame(() => this.show()), { passive: true });
    this.box.addEventListener("click", (event) => {
      const option = event.target.closest("[data-at]");
      if (option) this.choose(Number(option.dataset.at), true);
    });
    if ("ResizeObserver" in window) new ResizeObserver(() => this.show()).observe(this.box);
  }

  fill(items) {
    this.items = items;
    this.at = -1;
    this.box.scrollTop = 0;
    this.box.removeAttribute("aria-activedescendant");
    this.rows.style.height = `${items.length * ITEM_HEIGHT}px`;
    this.show();
  }

  show() {
    const first = Math.max(Math.floor(this.box.scrollTop / ITEM_HEIGHT) - 5, 0);
    const bottom = this.box.scrollTop + (this.box.clientHeight || 600);
    const last = Math.min(Math.ceil(bottom / ITEM_HEIGHT) + 5, this.items.length);
    const options = [];
    for (let at = first; at < last; at += 1) options.push(this.option(at));
    this.rows.replaceChildren(...options);
  }

  option(at) {
    const option = make("div", {
      class: "item", role: "option", id: `item-${at}`, "data-at": at, "aria-selected": String(at === this.at),
      "aria-setsize": this.items.length, "aria-posinset": at + 1,
    }, this.draw(this.items[at]));
    option.style.top = `${at * ITEM_HEIGHT}px`;
    return option;
  }

  /** Choose the item at a place and bring it in sight; `opened` where the reader asked for it alone. */
  choose(at, opened = false) {
    if (!this.items.length) return;
    this.at = Math.min(Math.max(at, 0), this.items.length - 1);
    const top = this.at * ITEM_HEIGHT;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    const below = top + ITEM_HEIGHT - this.box.clientHeight;
    if (below > this.box.scrollTop) this.box.scrollTop = below;
    this.show();
    this.box.setAttribute("aria-activedescendant", `item-${this.at}`);
    this.chosen(this.at, opened);
  }

  move(by) {
    this.choose(this.at < 0 ? 0 : this.at + by);
  }
}
