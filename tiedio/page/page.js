"use strict";
// What the file says is put into the page by textContent only.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const data = read("data");
const by = (id) => document.getElementById(id);
const make = (tag, text, name) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (name) node.className = name;
  return node;
};
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const plain = (text) => text.replace(HIDDEN, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
const size = (n) => {
  if (n < 1000) return n + " B";
  for (const unit of ["kB", "MB", "GB", "TB"]) {
    n /= 1000;
    if (n < 999.5 || unit === "TB") return Number(n.toPrecision(3)) + " " + unit;
  }
};
const shape = (sides) => (sides.length ? sides.join(" x ") : "scalar");
const tensors = data.tensors.map(([path, dtype, role, sides, bytes, tie], n) => ({
  path, bytes, tie, n, role, dtype, text: plain(path), dtypeName: data.dtypes[dtype], roleName: data.roles[role],
  sides, key: "",
}));
// A tensor is found by the paths of all the slots that hold it.
for (const one of tensors) {
  const slots = one.tie ? data.ties[one.tie - 1].slots.map((slot) => slot[0]) : [];
  one.key = [one.path, one.dtypeName, one.roleName, ...slots].join("\n").toLowerCase();
}

// Header
const cards = [["File", size(data.sizes.file)], ["Tensors", tensors.length.toLocaleString("en")], ["Ties", data.ties.length.toLocaleString("en")],
  ["Saved by sharing", size(data.sizes.saved)], ["Shared objects", data.shared.length.toLocaleString("en")]];
const pairs = (list, pairsOf) => {
  for (const [label, value] of pairsOf) {
    const box = list.id === "cards" ? list.appendChild(make("div")) : list;
    box.append(make("dt", label), make("dd", plain(value)));
  }
};
pairs(by("cards"), cards);
pairs(by("facts"), data.facts);

// The tree of paths: what a name starts with is around it.
const root = { name: "all", path: "", children: new Map(), bytes: 0, parent: null };
for (const one of tensors) {
  let node = root;
  node.bytes += one.bytes;
  const names = one.path.split("/");
  names.forEach((name, i) => {
    const last = i === names.length - 1;
    const key = last ? "\0" + name : name; // a tensor may have the name of a folder
    if (!node.children.has(key)) {
      const path = node.path ? node.path + "/" + name : name;
      node.children.set(key, { name, path, children: new Map(), bytes: 0, parent: node, tensor: last ? one : null });
    }
    node = node.children.get(key);
    node.bytes += one.bytes;
  });
}

// Bruls, Huizing, van Wijk: Squarified Treemaps (2000).
const squarify = (items, x, y, w, h, put) => {
  const total = items.reduce((sum, item) => sum + item.bytes, 0);
  const scale = total ? (w * h) / total : 0;
  let at = 0;
  while (at < items.length) {
    const side = Math.min(w, h);
    let sum = 0, worst = Infinity, end = at;
    while (end < items.length) {
      const next = sum + items[end].bytes * scale;
      const [large, small] = [items[at].bytes * scale, items[end].bytes * scale];
      const ratio = small > 0 && side > 0 ? Math.max((side * side * large) / (next * next), (next * next) / (side * side * small)) : Infinity;
      if (end > at && ratio > worst) break;
      [sum, worst, end] = [next, ratio, end + 1];
    }
    const thick = side > 0 ? sum / side : 0;
    let along = 0;
    for (; at < end; at++) {
      const long = thick > 0 ? (items[at].bytes * scale) / thick : 0;
      if (w >= h) put(items[at], x, y + along, thick, long);
      else put(items[at], x + along, y, long, thick);
      along += long;
    }
    if (w >= h) { x += thick; w = Math.max(0, w - thick); } else { y += thick; h = Math.max(0, h - thick); }
  }
};
const sorted = (node) => [...node.children.values()].sort((a, b) => b.bytes - a.bytes || (a.path < b.path ? -1 : 1));

const map = by("map");
let zoomed = root, leaves = [], words = "";
const colorClass = (one) => "t" + ((by("color").value === "role" ? one.role : one.dtype) % 8);
const isHit = (one) => words !== "" && one.key.includes(words);
const describe = (one) => {
  const share = data.sizes.tensors ? ((100 * one.bytes) / data.sizes.tensors).toPrecision(3) : "0";
  const tie = one.tie ? `, tie T${one.tie}` : "";
  return `${one.text}: ${size(one.bytes)} (${Number(share)}%), ${one.dtypeName}, ${shape(one.sides)}, ${one.roleName}${tie}`;
};
// The part one level below the zoom that holds a tensor.
const below = (node) => {
  while (node.parent && node.parent !== zoomed) node = node.parent;
  return node;
};
const draw = () => {
  const [width, height] = [map.clientWidth, map.clientHeight];
  const pieces = document.createDocumentFragment();
  leaves = [];
  const left = [[zoomed, 0, 0, width, height]];
  while (left.length) {
    const [node, x, y, w, h] = left.pop();
    squarify(sorted(node), x, y, w, h, (child, cx, cy, cw, ch) => {
      if (!child.tensor) {
        if (node === zoomed && cw > 4 && ch > 4) {
          const frame = make("div", undefined, "group");
          Object.assign(frame.style, { left: cx + "px", top: cy + "px", width: cw + "px", height: ch + "px" });
          pieces.append(frame);
        }
        left.push([child, cx, cy, cw, ch]);
        return;
      }
      const one = child.tensor;
      const leaf = make("div", undefined, "leaf " + colorClass(one) + (one.tie ? " tied" : "") + (isHit(one) ? " hit" : ""));
      Object.assign(leaf.style, { left: cx + "px", top: cy + "px", width: cw + "px", height: ch + "px" });
      if (one.tie) leaf.style.setProperty("--tie", data.ties[one.tie - 1].color);
      leaf.dataset.n = one.n;
      leaf.tabIndex = -1;
      leaf.setAttribute("role", "button");
      leaf.setAttribute("aria-label", describe(one));
      leaf.node = child;
      if (cw > 44 && ch > 20) {
        const label = plain(child.path.slice(zoomed.path ? zoomed.path.length + 1 : 0));
        leaf.append(make("span", (one.tie ? `T${one.tie} ` : "") + label + (ch > 52 ? `\n${size(one.bytes)}` : "")));
        leaf.firstChild.style.whiteSpace = "pre-wrap";
      }
      pieces.append(leaf);
      leaves.push(leaf);
    });
  }
  leaves.sort((a, b) => b.node.bytes - a.node.bytes);
  if (leaves.length) leaves[0].tabIndex = 0;
  map.replaceChildren(pieces);
  map.classList.toggle("searching", words !== "");
  crumbs();
};
const crumbs = () => {
  const trail = [];
  for (let node = zoomed; node; node = node.parent) trail.unshift(node);
  by("crumbs").replaceChildren(...trail.flatMap((node, i) => {
    const button = make("button", (i ? plain(node.name) : "all") + " · " + size(node.bytes));
    button.type = "button";
    if (node === zoomed) button.setAttribute("aria-current", "location");
    button.addEventListener("click", () => zoom(node));
    return i ? [document.createTextNode(" / "), button] : [button];
  }));
};
const zoom = (node) => {
  zoomed = node;
  draw();
};
const legend = () => {
  const names = by("color").value === "role" ? data.roles : data.dtypes;
  by("legend").replaceChildren(...names.map((name, i) => {
    const item = make("span");
    item.append(make("i", "", "t" + (i % 8)), name);
    return item;
  }));
  if (data.ties.length) by("legend").append(make("span", "a colored edge below: tied"));
};
const show = (leaf) => { by("detail").textContent = describe(leaf.node.tensor); };
const enter = (leaf) => {
  show(leaf);
  const target = below(leaf.node);
  if (!target.tensor) zoom(target);
};
const leafOf = (event) => event.target.closest(".leaf");
map.addEventListener("pointerover", (event) => { const leaf = leafOf(event); if (leaf) show(leaf); });
map.addEventListener("focusin", (event) => { const leaf = leafOf(event); if (leaf) show(leaf); });
map.addEventListener("click", (event) => { const leaf = leafOf(event); if (leaf) enter(leaf); });
map.addEventListener("keydown", (event) => {
  const leaf = leafOf(event);
  if (!leaf) return;
  const at = leaves.indexOf(leaf);
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (step) {
    const next = leaves[at + step];
    if (next) { leaf.tabIndex = -1; next.tabIndex = 0; next.focus(); }
  } else if (event.key === "Enter" || event.key === " ") {
    enter(leaf);
    if (leaves.length) leaves[0].focus();
  } else if (event.key === "Escape" && zoomed.parent) {
    zoom(zoomed.parent);
    if (leaves.length) leaves[0].focus();
  } else return;
  event.preventDefault();
});

// Lists: what was searched for is marked.
const marked = (tag, text) => {
  const node = make(tag);
  const lower = text.toLowerCase();
  // Where lower case has another length, positions would be wrong.
  if (words === "" || lower.length !== text.length) return node.append(text), node;
  let at = 0;
  for (let hit = lower.indexOf(words); hit >= 0; hit = lower.indexOf(words, at)) {
    node.append(text.slice(at, hit), make("mark", text.slice(hit, hit + words.length)));
    at = hit + words.length;
  }
  node.append(text.slice(at));
  return node;
};
const LISTED = 200;
const fill = (box, items, empty, build) => {
  const shown = items.slice(0, LISTED).map(build);
  if (!items.length) shown.push(make("p", empty, "soft"));
  if (items.length > LISTED) shown.push(make("p", `… ${items.length - LISTED} more: search narrows the list`, "soft"));
  box.replaceChildren(...shown);
};
const item = (chip, lines, side) => {
  const box = make("div", undefined, "item");
  const list = make("ul");
  list.append(...lines.slice(0, 50));
  if (lines.length > 50) list.append(make("li", `… ${lines.length - 50} more`, "soft"));
  box.append(chip, list, make("span", side, "soft"));
  return box;
};
const lists = () => {
  const ties = data.ties.map((tie, n) => ({ ...tie, n: n + 1 })).filter((tie) =>
    words === "" || [...tie.slots.flat(), tie.dtype].join("\n").toLowerCase().includes(words));
  fill(by("ties"), ties, data.ties.length ? "No tie is found." : "No variable is in two places.", (tie) => {
    const chip = make("span", "T" + tie.n, "chip");
    Object.assign(chip.style, { background: tie.color, color: tie.ink });
    const lines = tie.slots.map(([path, view]) => {
      const line = marked("li", plain(path));
      if (view) line.append(make("span", " = " + view, "soft"));
      return line;
    });
    return item(chip, lines, `${tie.dtype}, ${shape(tie.shape)}; saves ${size(tie.saved)}`);
  });
  const shared = data.shared.filter((one) => words === "" || [one.class_name, ...one.paths].join("\n").toLowerCase().includes(words));
  fill(by("shared"), shared, data.shared.length ? "No shared object is found." : "No layer or model is in two places.", (one) =>
    item(make("span", `${one.paths.length} x`, "soft"), one.paths.map((path) => marked("li", plain(path) || "''")), plain(one.class_name)));
};

// The table
const COLUMNS = [["Tensor", "text"], ["Dtype", "dtypeName"], ["Shape", "sides"], ["Size", "bytes"], ["Use", "roleName"], ["Tie", "tie"]];
const NUMERIC = new Set(["bytes", "tie", "sides"]);
let order = ["bytes", -1], rows = LISTED;
const table = () => {
  const [key, way] = order;
  const value = key === "sides" ? (one) => one.sides.reduce((a, b) => a * b, 1) : (one) => one[key];
  const found = tensors.filter((one) => words === "" || one.key.includes(words));
  found.sort((a, b) => way * (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) || a.n - b.n);
  const head = make("tr");
  for (const [label, name] of COLUMNS) {
    const cell = make("th", undefined, NUMERIC.has(name) ? "num" : "");
    const button = make("button", label + (name === key ? (way > 0 ? " ▲" : " ▼") : ""));
    button.type = "button";
    button.dataset.key = name;
    cell.scope = "col";
    cell.setAttribute("aria-sort", name === key ? (way > 0 ? "ascending" : "descending") : "none");
    button.addEventListener("click", () => {
      order = [name, name === key ? -way : NUMERIC.has(name) ? -1 : 1];
      table();
      by("tensors").querySelector(`[data-key=${name}]`).focus();
    });
    cell.append(button);
    head.append(cell);
  }
  const grid = by("tensors");
  grid.tHead.replaceChildren(head);
  grid.tBodies[0].replaceChildren(...found.slice(0, rows).map((one) => {
    const row = make("tr");
    row.append(marked("td", one.text), make("td", one.dtypeName), make("td", shape(one.sides), "num"), make("td", size(one.bytes), "num"),
      make("td", one.roleName), make("td", one.tie ? "T" + one.tie : "", "num"));
    return row;
  }));
  by("more").hidden = found.length <= rows;
  by("more").textContent = `Show more of ${found.length.toLocaleString("en")} tensors`;
  by("found").textContent = words === "" ? "" : `${found.length.toLocaleString("en")} of ${tensors.length.toLocaleString("en")} tensors`;
};
by("more").addEventListener("click", () => { rows += 1000; table(); });

const search = () => {
  words = by("search").value.trim().toLowerCase();
  rows = LISTED;
  map.classList.toggle("searching", words !== "");
  for (const leaf of leaves) leaf.classList.toggle("hit", isHit(leaf.node.tensor));
  lists();
  table();
};
let waiting = 0;
by("search").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, tensors.length > 2000 ? 150 : 0); });
by("color").addEventListener("change", () => { legend(); draw(); });
by("manifest").addEventListener("toggle", () => {
  const pre = by("manifest").querySelector("pre");
  if (!pre.textContent) pre.textContent = JSON.stringify(read("manifest-data"), null, 2);
});
let resizing = 0, width = map.clientWidth;
// Not only the window changes it: a scroll bar that comes with the lists does, too.
new ResizeObserver(() => {
  if (map.clientWidth === width) return;
  width = map.clientWidth;
  clearTimeout(resizing);
  resizing = setTimeout(draw, 100);
}).observe(map);
legend();
draw();
lists();
table();
document.documentElement.dataset.ready = "yes";
