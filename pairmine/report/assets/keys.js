// The keyboard, and the page that explains it.

const KEYS = [
  ["j  k", "next and previous; arrows too, once the list or a text has the focus"],
  ["Enter", "read the chosen query; on a text, show all of it"],
  ["Esc", "back to the list; in the search, forget it"],
  ["/", "search"],
  ["?", "these keys"],
];

function showHelp() {
  const dialog = byId("help") || document.body.appendChild(makeHelp());
  dialog.showModal();
}

function makeHelp() {
  const close = make("button", { type: "button", autofocus: true, on: { click: () => byId("help").close() } }, "Close");
  return make("dialog", { id: "help", "aria-label": "Keys" }, make("h2", {}, "Keys"),
    make("dl", {}, KEYS.flatMap(([key, text]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, text)])), close);
}

const isTyping = (target) => target.matches("input, select, textarea");

function onKey(browser, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (isTyping(event.target)) {
    if (event.key === "Escape" && event.target === browser.text) leaveSearch(browser);
    if (event.key === "Enter" && event.target === browser.text) browser.list.box.focus();
    return;
  }
  const reading = browser.detail.box.contains(event.target);
  const inside = reading || browser.list.box.contains(event.target);
  const acts = new Map([
    ["j", () => step(browser, 1, reading)],
    ["k", () => step(browser, -1, reading)],
    ["/", () => { browser.text.scrollIntoView({ block: "center" }); browser.text.focus(); }],
    ["?", showHelp],
  ]);
  if (inside) {
    acts.set("ArrowDown", () => step(browser, 1, reading)).set("ArrowUp", () => step(browser, -1, reading));
    acts.set("Escape", () => { browser.detail.close(); browser.list.box.focus(); });
    if (event.target.matches(".row")) acts.set("Enter", () => event.target.classList.toggle("whole"));
    else if (!reading) acts.set("Enter", () => browser.read());
  }
  const act = acts.get(event.key);
  if (act) {
    event.preventDefault();
    act();
  }
}

function step(browser, by, reading) {
  if (reading) {
    browser.detail.move(by);
    return;
  }
  browser.list.box.focus({ preventScroll: true });
  const { top, bottom } = browser.panes.getBoundingClientRect();
  if (bottom < 100 || top > innerHeight - 100) browser.panes.scrollIntoView({ block: "end" });
  browser.list.move(by);
}

function leaveSearch(browser) {
  browser.text.value = "";
  browser.find();
  browser.list.box.focus();
}

const root = byId("browser");
if (root) {
  const browser = new Browser(root, readData());
  addEventListener("keydown", (event) => onKey(browser, event));
}
