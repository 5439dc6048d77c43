// What the page does beside its rows: light and dark, copy buttons, stages that open, print.

function switchTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
}

async function copy(button) {
  let said = "Copied";
  try {
    await navigator.clipboard.writeText(button.dataset.text);
  } catch {
    said = "Not allowed";
  }
  button.textContent = said;
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

/** Open the stage that the address names. */
function openNamed() {
  const named = location.hash.length > 1 && byId(location.hash.slice(1));
  if (named && named.tagName === "DETAILS") named.open = true;
}

/** On paper findings stand open; tables and options stay on the screen. */
function openFindings() {
  for (const each of document.querySelectorAll(".finding:not([open])")) {
    each.open = true;
    each.dataset.printed = "yes";
  }
}

function closeAgain() {
  for (const each of document.querySelectorAll("details[data-printed]")) {
    each.open = false;
    delete each.dataset.printed;
  }
}

byId("theme").hidden = false;
byId("theme").addEventListener("click", switchTheme);
for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(button));
}
for (const link of document.querySelectorAll("a[data-step]")) {
  link.addEventListener("click", () => { byId(`step-${link.dataset.step}`).open = true; });
}
addEventListener("hashchange", openNamed);
addEventListener("beforeprint", openFindings);
addEventListener("afterprint", closeAgain);
openNamed();
