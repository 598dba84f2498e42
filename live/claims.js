// The table of claims as a tool: filter by verdict, part and text, sort, and keep the view in the address.
// Without this script the whole table stands, in the paper's order.
const page = document.querySelector(".claims-tool").closest("section"); // of a book in one page, this chapter alone
const table = page.querySelector("table.claims");
const rows = [...table.querySelectorAll("tr[data-claim]")];
const effects = [...page.querySelectorAll("table.forest tr[data-claim]")];
const home = new Map(rows.map((row) => [row, row.parentElement]));
const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
const verdicts = [...new Set(rows.map((row) => row.dataset.verdict))];
const parts = [...new Set(rows.map((row) => row.dataset.part))];

const ORDERS = {
  "the paper's order": null,
  "by verdict": (a, b) => verdicts.indexOf(a.dataset.verdict) - verdicts.indexOf(b.dataset.verdict),
  "by name": (a, b) => a.dataset.claim.localeCompare(b.dataset.claim),
};

function add(parent, tag, attributes = {}, text = "") {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return parent.appendChild(node);
}

function choice(label, options, changed) {
  const box = add(bar, "label", {}, label);
  const select = add(box, "select");
  for (const option of options) add(select, "option", {}, option);
  select.addEventListener("change", changed);
  return select;
}

const bar = document.createElement("form");
bar.className = "claims-bar";
bar.setAttribute("role", "search");
bar.addEventListener("submit", (event) => event.preventDefault());
const search = add(add(bar, "label", {}, "Search"), "input", { type: "search", placeholder: "such as: epochs VGG" });
const part = choice("Part", ["all parts", ...parts], renew);
const order = choice("Order", Object.keys(ORDERS), renew);
const chips = add(bar, "div", { class: "claims-chips", role: "group", "aria-label": "verdicts" });
const pressed = new Set();
const buttons = verdicts.map((verdict) => {
  const mark = rows.find((row) => row.dataset.verdict === verdict).querySelector(".verdict");
  const count = rows.filter((row) => row.dataset.verdict === verdict).length;
  const button = add(chips, "button", { type: "button", class: mark.className }, `${mark.textContent} ${count}`);
  button.addEventListener("click", () => {
    pressed.has(verdict) ? pressed.delete(verdict) : pressed.add(verdict);
    renew();
  });
  return button;
});
add(chips, "button", { type: "button" }, "all").addEventListener("click", () => (clear(), renew()));
const says = add(bar, "p", { role: "status" });
search.addEventListener("input", renew);

function clear() {
  pressed.clear();
  [search.value, part.selectedIndex, order.selectedIndex] = ["", 0, 0];
}

/** Whether a row has every word, is of the part, and has one of the verdicts that are pressed. */
function matches(row) {
  const asked = search.value.toLowerCase().split(/\s+/);
  return asked.every((word) => words.get(row).includes(word)) &&
    (part.selectedIndex === 0 || row.dataset.part === part.value) &&
    (pressed.size === 0 || pressed.has(row.dataset.verdict));
}

function renew() {
  for (const row of rows) row.hidden = !matches(row);
  const kept = new Set(rows.filter((row) => !row.hidden).map((row) => row.dataset.claim));
  for (const row of effects) row.hidden = !kept.has(row.dataset.claim);
  const compare = ORDERS[order.value];
  if (compare) [...rows].sort(compare).forEach((row) => table.tBodies[0].append(row));
  else for (const row of rows) home.get(row).append(row);
  // A heading stands where something is under it, in the paper's order.
  for (const body of page.querySelectorAll("table.claims tbody, table.forest tbody")) {
    const some = body.querySelector("tr[data-claim]:not([hidden])");
    for (const line of body.querySelectorAll("tr:not([data-claim])"))
      line.hidden = !some || (line.className === "part" && compare !== null);
  }
  verdicts.forEach((verdict, k) => buttons[k].setAttribute("aria-pressed", pressed.has(verdict)));
  says.textContent = kept.size === rows.length ? `All ${rows.length} claims.`
    : `${kept.size} of ${rows.length} claims${kept.size ? "" : "; nothing has all of that, press “all”"}.`;
  const view = new URLSearchParams();
  if (search.value) view.set("q", search.value);
  if (part.selectedIndex) view.set("part", part.value);
  if (order.selectedIndex) view.set("order", order.value);
  if (pressed.size) view.set("verdict", [...pressed].join(","));
  if (location.protocol === "file:") return; // browsers refuse to change such an address
  history.replaceState(null, "", `${location.pathname}${view.size ? `?${view}` : ""}${location.hash}`);
}

/** The claim that the address names is shown, whatever is filtered, with its details open. */
function target() {
  const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!row || !home.has(row)) return;
  if (row.hidden) (clear(), renew());
  row.querySelector("details").open = true;
  row.scrollIntoView({ block: "center" });
}

const view = new URLSearchParams(location.search);
search.value = view.get("q") ?? "";
part.value = parts.includes(view.get("part")) ? view.get("part") : "all parts";
order.value = view.get("order") in ORDERS ? view.get("order") : Object.keys(ORDERS)[0];
for (const verdict of (view.get("verdict") ?? "").split(",")) if (verdicts.includes(verdict)) pressed.add(verdict);
document.querySelector(".claims-tool").append(bar);
renew();
target();
window.addEventListener("hashchange", target);
